//! `mlp explain` is true: each wrong example gives exactly its code, each right one gives none, and no code lacks a page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use mlp_dsl::explain::{self, Example, Page};
use mlp_dsl::{CheckInput, Checked, Listed, PathKind, World, WorldError, codes, lint};
use mlp_model::Catalogue;
use mlp_tabular::SqlInfer;

/// A world with one pipeline and what the examples read.
struct Memory {
    name: &'static str,
    text: Result<String, WorldError>,
}

impl World for Memory {
    fn read(&self, path: &Path) -> Result<String, WorldError> {
        match path.to_str() {
            Some(path) if path == self.name => self.text.clone(),
            Some("lib/pipeline.mlp") => Ok("pipeline other\nschema Row { id: str key }\n".to_owned()),
            _ => Err(WorldError::NotFound),
        }
    }

    fn kind(&self, path: &Path) -> PathKind {
        match path.to_str() {
            Some("customers.csv" | "data/orders.csv" | "clean.py" | "words.txt") => PathKind::File,
            Some("images") => PathKind::Folder,
            _ => PathKind::Missing,
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<Listed>, WorldError> {
        let names = if path == Path::new("") { &["customers.csv", "words.txt"][..] } else { &[] };
        let listed = |name: &&str| Listed { name: (*name).to_owned(), kind: PathKind::File, is_link: false };
        Ok(names.iter().map(listed).collect())
    }
}

#[test]
fn each_wrong_example_gives_its_code_and_each_right_one_gives_none() {
    let catalogue = mlp_stdlib::catalogue(Arc::new(SqlInfer));
    let mut wrong = Vec::new();
    for page in explain::pages() {
        let examples = page.examples();
        let verdicts: Vec<_> = examples.iter().map(|example| example.is_right).collect();
        assert_eq!(verdicts, [false, true], "{}: a wrong example, then a right one", page.code);
        if page.prose().len() <= 60 {
            wrong.push(format!("{} says too little", page.code));
        }
        for example in examples {
            let found = codes_of(&page, &example, &catalogue);
            let expected = if example.is_right { Vec::new() } else { vec![page.code.to_owned()] };
            if found.iter().cloned().collect::<BTreeSet<_>>() != expected.iter().cloned().collect() {
                wrong.push(format!("{} gives {found:?}:\n{}", page.code, example.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{} pages are not what they say:\n{}", wrong.len(), wrong.join("\n"));
}

fn codes_of(page: &Page, example: &Example, catalogue: &Catalogue) -> Vec<String> {
    let mut params = BTreeMap::new();
    for (flag, value) in example.arguments.iter().zip(example.arguments.iter().skip(1)) {
        if *flag == "--param" {
            let (name, value) = value.split_once('=').expect("NAME=VALUE");
            params.insert(name.to_owned(), value.to_owned());
        }
    }
    let (name, file) = match example.language {
        "sh" => ("churn.mlp", example.text.split_whitespace().last().expect("a file")),
        _ => ("example.mlp", "example.mlp"),
    };
    let text = if example.language == "sh" { explain::CONTEXT.to_owned() } else { in_context(example.text) };
    let text = if example.arguments.contains(&"latin-1") {
        // In Latin-1 the first letter outside ASCII is a byte that begins no character of UTF-8.
        Err(WorldError::NotUtf8 { offset: text.find(|c: char| !c.is_ascii()).expect("such a letter") })
    } else {
        Ok(text)
    };
    let world = Memory { name, text };
    let params = mlp_dsl::Assignments::of_arguments(params);
    let checked = mlp_dsl::check(&CheckInput { file: Path::new(file), params: &params, catalogue, world: &world });
    let is_lint = page.code.starts_with('L');
    let mut found: Vec<String> = checked.diagnostics.iter().map(|d| d.code.to_string()).collect();
    if is_lint {
        assert!(found.is_empty(), "{} does not check: {:#?}\n{}", page.code, checked.diagnostics, example.text);
        found.extend(lints(&checked, catalogue));
    }
    found
}

fn lints(checked: &Checked, catalogue: &Catalogue) -> Vec<String> {
    let pipeline = checked.pipeline.as_ref().expect("checks");
    let linted = lint::lint(pipeline, &checked.diagnostics, catalogue);
    linted.diagnostics.iter().map(|diagnostic| diagnostic.code.to_string()).collect()
}

/// Puts the declarations of the context before an example, but for those that it makes itself.
fn in_context(example: &str) -> String {
    let head = |text: &str| {
        let mut words = text.split_whitespace().map(|word| word.trim_end_matches(|c: char| !c.is_alphanumeric()));
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    let words = ["pipeline", "param", "schema", "source", "step", "gate", "release"];
    let own: BTreeSet<_> =
        example.lines().filter_map(head).filter(|(word, _)| words.contains(&word.as_str())).collect();
    let is_free = |declaration: &&str| {
        let (word, name) = head(declaration).expect("a declaration");
        !own.iter().any(|(w, n)| *n == name || (*w == "pipeline" && word == "pipeline"))
    };
    let around: Vec<&str> = explain::CONTEXT.split("\n\n").filter(is_free).collect();
    format!("{}\n\n{example}", around.join("\n\n"))
}

#[test]
fn no_code_lacks_a_page_and_no_page_lacks_a_code() {
    let operations = mlp_stdlib::codes::ALL.iter().filter(|(code, _)| code.starts_with('E'));
    let known: BTreeMap<&str, &str> =
        codes::ALL.iter().chain(lint::ALL).chain(operations).map(|(code, meaning)| (*code, *meaning)).collect();
    let pages: BTreeMap<&str, &str> = explain::pages().map(|page| (page.code, page.title)).collect();
    let without: Vec<_> = known.keys().filter(|code| !pages.contains_key(*code)).collect();
    assert!(without.is_empty(), "no page about {without:?}: add one to dsl/src/explain");
    for (code, title) in &pages {
        if let Some(meaning) = known.get(code) {
            assert_eq!(title, meaning, "the page of {code} has another title than the table of codes");
        } else {
            assert!(code.starts_with("E036"), "{code} is the code of nothing");
        }
    }
    // The codes of queries stand in no table: they are looked for where they are given.
    for code in codes_of_queries() {
        assert!(pages.contains_key(code.as_str()), "no page about {code}");
    }
    assert_eq!(pages.len(), explain::pages().count(), "two pages about one code");
}

fn codes_of_queries() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib/tabular/src/sql");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let text = std::fs::read_to_string(entry.expect("readable").path()).expect("readable");
        for (at, _) in text.match_indices("\"E0") {
            let code = &text[at + 1..at + 6];
            if code.bytes().skip(1).all(|byte| byte.is_ascii_digit()) {
                found.insert(code.to_owned());
            }
        }
    }
    assert!(found.len() >= 8, "{found:?}");
    found
}

#[test]
fn the_context_and_the_right_examples_have_the_style() {
    assert_eq!(mlp_dsl::format(explain::CONTEXT).expect("readable"), explain::CONTEXT);
    let mut wrong = Vec::new();
    for page in explain::pages() {
        for example in page.examples().iter().filter(|e| e.is_right && e.language == "mlp") {
            match mlp_dsl::format(example.text) {
                Ok(formatted) if formatted == example.text => {}
                Ok(formatted) => wrong.push(format!("{}:\n{}is written\n{formatted}", page.code, example.text)),
                Err(error) => wrong.push(format!("{}: {error}", page.code)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_context_checks_without_a_doubt() {
    let catalogue = mlp_stdlib::catalogue(Arc::new(SqlInfer));
    let world = Memory { name: "example.mlp", text: Ok(explain::CONTEXT.to_owned()) };
    let params = mlp_dsl::Assignments::default();
    let input = CheckInput { file: Path::new("example.mlp"), params: &params, catalogue: &catalogue, world: &world };
    let checked = mlp_dsl::check(&input);
    assert!(checked.diagnostics.is_empty(), "{:#?}", checked.diagnostics);
    assert_eq!(lints(&checked, &catalogue), Vec::<String>::new());
}
