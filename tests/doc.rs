//! `mlp doc`: pages that are whole, lead somewhere, say everything and let nothing of a user through as markup.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use support::{Workspace, small_pipeline};

/// Text that would be markup on a page that does not escape it. The marker `evil` stands in every such tag.
const EVIL: &str = r#"<evil onload=\"x\">&'"#;

fn workspace() -> Workspace {
    let workspace = small_pipeline();
    let text = workspace.read("small.mlp");
    let text = text
        .replace("pipeline small", "//! Reads `csv.read` & counts <evil a=\"b\">.\n//!\n//! <evil>\n//! block\n//! </evil>\n\n/// # Head & foot\n///\n/// [x](javascript:alert(1)) ![y](https://example.org/evil.png) <https://example.org/a?b=1&c=2>\npipeline small\n\nuse \"lib/shared module.mlp\" as shared\nuse std.evaluation as evaluation")
        .replace("schema Customer {", "/// Who is asked. See `raw`, `shared.Extra` and `shared.no_such`.\nschema Customer {")
        .replace("plan:   str  in [\"basic\", \"plus\"]", &format!("plan:   str  in [\"basic\", \"plus\", \"{EVIL}\"]\n  \"<evil>\": str? unusable \"<evil>&\""))
        + &format!("\nlet odd = \"{EVIL}\"\nstep kept = shared.first(stayed, n: 3)\nfor word in [\"a\", \"{EVIL}\", \"c\"] as odd_ones {{\n  /// Made of `word`.\n  step made = sh(\"echo > {{o}}\", outputs: {{ o: file }})\n}}\ngate enough {{ least 1.0 <= 2.0 first refuse }}\n");
    workspace.write("deep/er/smäll & co.mlp", text.replace("data/", "../../data/").replace("lib/", "../../lib/"));
    std::fs::remove_file(workspace.path("small.mlp")).expect("moved");
    workspace.write(
        "lib/shared module.mlp",
        "//! For all. <evil>\n\n/// More of it.\nschema Extra { id: str key, since: date >= 2020-01-01 }\n\n\
         /// The first rows; calls `table.split_rows`.\ndef first(data: table, n: int = 2 in 1..=9) {\n  \
         step parts = table.split_rows(data, every: 10, at: n)\n  result = parts.test\n}\n",
    );
    workspace.write(
        "broken.mlp",
        "//! Not right: <evil>.\npipeline broken\n\nsource a = csv.raed(\"<evil>\")\nstep b = (\n",
    );
    workspace
}

/// Returns the pages, by their path.
fn pages(folder: &Path) -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("within").to_string_lossy().into_owned();
                pages.insert(name, std::fs::read_to_string(&path).expect("text"));
            }
        }
    }
    pages
}

/// A tag of a page: its name, its attributes, whether it opens or closes or both.
struct Tag<'t> {
    name: &'t str,
    attributes: Vec<(&'t str, &'t str)>,
    opens: bool,
    closes: bool,
}

/// Reads the tags of a page as strictly as XML; whatever is not well formed is a failed test.
fn tags<'t>(page: &str, text: &'t str) -> Vec<Tag<'t>> {
    let mut rest = text.strip_prefix("<!DOCTYPE html>\n").unwrap_or_else(|| panic!("{page}: no document type"));
    let (mut found, mut open) = (Vec::new(), Vec::new());
    let is_text = |text: &str| {
        assert!(!text.contains('>'), "{page}: a bare `>` in {text:?}");
        for entity in text.split('&').skip(1) {
            let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
            assert!(known.iter().any(|known| entity.starts_with(known)), "{page}: `&` in {text:?}");
        }
    };
    while let Some(at) = rest.find('<') {
        is_text(&rest[..at]);
        let end = at + rest[at..].find('>').unwrap_or_else(|| panic!("{page}: a tag does not end"));
        let inner = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = inner.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{page}: before {:?}", &rest[..rest.len().min(80)]);
            found.push(Tag { name, attributes: Vec::new(), opens: false, closes: true });
            continue;
        }
        let (inner, closes) = inner.strip_suffix('/').map_or((inner, false), |inner| (inner, true));
        let (name, mut written) = inner.split_once([' ', '\n']).unwrap_or((inner, ""));
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()), "{page}: a tag `{name}`");
        let mut attributes = Vec::new();
        while let Some((key, value)) = written.trim().split_once("=\"") {
            let (value, more) = value.split_once('"').unwrap_or_else(|| panic!("{page}: {inner:?}"));
            is_text(value);
            attributes.push((key, value));
            written = more;
        }
        assert_eq!(written.trim(), "", "{page}: in <{inner}>");
        if !closes {
            open.push(name);
        }
        if name == "style" {
            // Its content is no text of a page.
            rest = &rest[rest.find("</style>").expect("an end")..];
        }
        found.push(Tag { name, attributes, opens: true, closes });
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{page}: {open:?} {rest:?}");
    found
}

fn decoded(address: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = address.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: Vec<u8> = rest.by_ref().take(2).collect();
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn resolve(page: &str, address: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in address.split('/') {
        if part == ".." { assert!(parts.pop().is_some(), "{page}: {address}") } else { parts.push(part) }
    }
    parts.join("/")
}

#[test]
fn pages_are_well_formed_links_lead_somewhere_and_nothing_comes_from_elsewhere() {
    let workspace = workspace();
    let ran = workspace.mlp(&["doc", "--out", "site"]).exits(2);
    ran.says(&["broken.mlp has", "its page shows what is known", "index.html"]);
    let mut pages = pages(&workspace.path("site"));
    assert!(pages.remove("style.css").is_some_and(|style| !style.contains("url(") && !style.contains("@import")));
    let list = pages.remove(".mlp-doc").expect("the list of what was written");
    assert_eq!(list.lines().count(), pages.len() + 1);

    let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut links = Vec::new();
    for (page, text) in &pages {
        let tags = tags(page, text);
        for tag in tags.iter().filter(|tag| tag.opens) {
            let allowed = "html head meta title link body header main footer a h1 h2 h3 h4 h5 h6 p ul li div span code pre \
                           table thead tbody tr th td details summary em strong svg style path rect text g";
            assert!(allowed.split_whitespace().any(|name| name == tag.name), "{page}: <{}>", tag.name);
            for (key, value) in &tag.attributes {
                assert!(!key.starts_with("on") && *key != "src", "{page}: {key}");
                match *key {
                    "id" => assert!(ids.entry(page).or_default().insert(value), "{page}: id `{value}` twice"),
                    "href" => links.push((page.as_str(), value.replace("&amp;", "&"))),
                    _ => {}
                }
            }
        }
        assert!(tags.iter().any(|tag| tag.closes));
        assert!(!text.contains("<evil") && !text.contains("evil.png"), "{page}");
        assert!(text.contains("name=\"viewport\""), "{page}: readable on a phone");
    }
    assert!(links.len() > 100);
    for (page, address) in links {
        if address == "https://example.org/a?b=1&c=2" {
            continue;
        }
        let (path, anchor) = address.split_once('#').unwrap_or((&address, ""));
        let target = if path.is_empty() { page.to_owned() } else { decoded(&resolve(page, path)) };
        if target == "style.css" {
            continue;
        }
        assert!(pages.contains_key(&target), "{page} leads to {address}, which is not there");
        let anchor = decoded(anchor);
        assert!(anchor.is_empty() || ids[target.as_str()].contains(anchor.as_str()), "{page}: no anchor for {address}");
    }
}

#[test]
fn every_operation_is_there_and_pages_say_what_the_files_say() {
    let workspace = workspace();
    workspace.mlp(&["doc"]).exits(2);
    let pages = pages(&workspace.path("mlp-doc"));
    let catalogue = mlp_stdlib::catalogue(Arc::new(mlp_tabular::SqlInfer));
    for signature in catalogue.iter() {
        let page = &pages[&format!("operations/{}.html", signature.name)];
        assert!(pages["index.html"].contains(&format!("operations/{}.html", signature.name)));
        for argument in &signature.args {
            assert!(
                page.contains(&format!("<code>{}</code>", argument.name)) || argument.name == "predictions",
                "{}: {}",
                signature.name,
                argument.name
            );
        }
    }
    let says = |page: &str, texts: &[&str]| {
        texts
            .iter()
            .for_each(|text| assert!(pages[page].contains(text), "{page} does not say {text:?}: {}", pages[page]));
    };
    says("operations/torch.train.html", &["torch.mlp", "id=\"torch.logistic\"", "must be given"]);
    says("operations/csv.read.html", &["Used by", "sm%C3%A4ll%20%26%20co.mlp.html"]);
    says("std/evaluation.html", &["use std.evaluation", "id=\"binary\"", "in 0.0..=1.0", "eval.binary.html"]);
    says("files/lib/shared module.mlp.html", &["2020-01-01", "table.split_rows.html", "<code>in 1..=9</code>"]);
    says("files/broken.mlp.html", &["does not check", "E0203", "csv.raed"]);
    says(
        "files/deep/er/smäll & co.mlp.html",
        &[
            "class=\"mlp-graph\"",
            "operations/csv.read.html",
            "shared%20module.mlp.html#Extra",
            "<code>shared.no_such</code>",
            "<span class=\"mark\">personal</span>",
            "parameter",
            "gives",
            "rows</summary>",
            "Made of <code>word</code>.",
            "id=\"odd_ones.made\"",
            "<h4>Head &amp; foot</h4>",
        ],
    );
    let index = &pages["index.html"];
    assert!(
        index.contains("<code>small</code>")
            && index.contains("<code>first</code>")
            && index.contains("std.evaluation")
    );
}

#[test]
fn pages_are_the_same_wherever_they_are_made_and_old_ones_go() {
    let (one, two) = (workspace(), workspace());
    one.mlp(&["doc"]).exits(2);
    std::fs::remove_file(two.path("broken.mlp")).expect("gone");
    two.write("gone.mlp", "pipeline gone\n");
    two.mlp(&["doc"]).exits(0);
    assert!(two.path("mlp-doc/files/gone.mlp.html").exists());
    std::fs::remove_file(two.path("gone.mlp")).expect("gone");
    two.write("broken.mlp", one.read("broken.mlp"));
    let told = two.json(&["doc"]);
    assert_eq!((&told["ok"], &told["broken"][0]), (&false.into(), &"broken.mlp".into()));
    assert!(!two.path("mlp-doc/files/gone.mlp.html").exists(), "a page of a file that is no more");
    assert!(pages(&one.path("mlp-doc")) == pages(&two.path("mlp-doc")), "the same files, other pages");

    two.write("docs/mine.txt", "mine");
    two.mlp(&["doc", "--out", "docs"]).exits(2).says(&["`docs` holds files that `mlp doc` did not write"]);
    two.mlp(&["doc", "--out", "docs/mine.txt"]).exits(2).says(&["is not a folder"]);
    assert_eq!(std::fs::read_dir(two.path("docs")).expect("there").count(), 1);
    two.mlp(&["doc", "nowhere.mlp"]).exits(2).says(&["file not found"]);
}

#[test]
fn the_reference_pipelines_have_pages() {
    for name in ["churn", "demand"] {
        let workspace = Workspace::with_pipeline(name);
        workspace.mlp(&["doc"]).exits(0);
        let page = workspace.read(&format!("mlp-doc/files/{name}/{name}.mlp.html"));
        assert!(page.contains("class=\"mlp-graph\"") && page.contains("Gates and releases"), "{page}");
        tags(name, &page);
    }
}
