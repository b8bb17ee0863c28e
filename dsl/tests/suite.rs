//! The language suite: `cases/*.mlp`, many cases to a file, each mistake annotated above the line it hits.
//!
//! A case begins with a line `--- what it shows`. Lines that begin with `//~` are the expected diagnostics and no part
//! of the text that is checked; `//$` lines direct the case: `//$ param NAME=VALUE`, `//$ missing`, `//$ not-utf8`.
//! A line `=== PATH` begins a module that the case uses; its mistakes are annotated there. Lines `NAME: VALUE` below
//! `=== mlp.yaml` are what profile `prod` gives, for one pipeline alone where they read `PIPELINE/NAME: VALUE`;
//! `//$ variable NAME=VALUE` is what the environment gives. The world has another pipeline, `demand`, with `horizon`.
//! A case without `//~` must give a pipeline. `MLP_BLESS=1 cargo test -p mlp-dsl` writes what is found into the files.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use mlp_dsl::{
    Assignment, Assignments, Checked, Diagnostic, Giver, Severity, SourceText, WorldError, Written, to_json,
};

fn case_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let entries = std::fs::read_dir(folder).expect("the cases are there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

#[test]
fn every_case_gives_the_annotated_diagnostics() {
    let bless = std::env::var_os("MLP_BLESS").is_some();
    let mut differences = String::new();
    let mut distinct = BTreeSet::new();
    for file in case_files() {
        let written = std::fs::read_to_string(&file).expect("readable");
        let mut found = String::new();
        for (title, body) in cases_of(&written) {
            distinct.insert(without_literals(&body));
            let annotated = annotate(&body, title);
            if annotated != body {
                writeln!(differences, "{}: {title}\n{annotated}", file.display()).expect("to a string");
            }
            write!(found, "--- {title}\n{annotated}").expect("to a string");
        }
        if bless && found != written {
            std::fs::write(&file, found).expect("writable");
        }
    }
    println!("{} distinct cases", distinct.len());
    assert!(distinct.len() >= 300, "only {} distinct cases were found", distinct.len());
    assert!(bless || differences.is_empty(), "cases give other diagnostics than annotated:\n{differences}");
}

/// Returns the text of a case without what is written in numbers and strings: cases that differ in nothing else count once.
fn without_literals(body: &str) -> String {
    let checked = body.lines().filter(|line| !line.trim_start().starts_with("//~"));
    let (mut bare, mut is_string) = (String::new(), false);
    for c in checked.flat_map(|line| line.chars().chain(['\n'])) {
        is_string ^= c == '"';
        if !is_string && !c.is_ascii_digit() {
            bare.push(c);
        }
    }
    bare
}

/// Returns the title and the text of each case.
fn cases_of(written: &str) -> Vec<(&str, String)> {
    let mut cases: Vec<(&str, String)> = Vec::new();
    for line in written.split_inclusive('\n') {
        match (line.strip_prefix("--- "), cases.last_mut()) {
            (Some(title), _) => cases.push((title.trim_end(), String::new())),
            (None, Some((_, body))) => body.push_str(line),
            (None, None) => panic!("`{line}` stands before the first case"),
        }
    }
    cases
}

/// Returns the case with the diagnostics it really gives.
fn annotate(body: &str, title: &str) -> String {
    let (mut params, mut directives) = (Vec::new(), Vec::new());
    // The pipeline, then each module, by lines.
    let mut files: Vec<(&str, Vec<&str>)> = vec![("churn.mlp", Vec::new())];
    let mut world_text = Ok(());
    for line in body.lines() {
        let trimmed = line.trim_start();
        if let Some(path) = line.strip_prefix("=== ") {
            files.push((path, Vec::new()));
        } else if let Some(directive) = trimmed.strip_prefix("//$ ") {
            directives.push(line);
            match directive.split_once(' ').unwrap_or((directive, "")) {
                ("param", param) => params.push((param.split_once('=').expect("NAME=VALUE"), Giver::Argument)),
                ("variable", param) => params.push((param.split_once('=').expect("NAME=VALUE"), Giver::Variable)),
                ("missing", _) => world_text = Err(WorldError::NotFound),
                ("not-utf8", _) => world_text = Err(WorldError::NotUtf8 { offset: 17 }),
                ("locked", _) => world_text = Err(WorldError::Other("permission denied".into())),
                other => panic!("{title}: {other:?} is no directive"),
            }
        } else if !trimmed.starts_with("//~") {
            files.last_mut().expect("the pipeline is there").1.push(line);
        }
    }
    let texts: Vec<_> = files.iter().map(|(path, lines)| (*path, lines.join("\n") + "\n")).collect();
    let world = support::Modules {
        pipeline: support::Memory(world_text.map(|()| texts[0].1.as_str())),
        modules: texts[1..].iter().map(|(path, text)| (*path, text.as_str())).collect(),
    };
    let checked = support::check_given(&world, &assignments(&params, &texts));
    assert_consistent(&checked, title);

    let mut by_line: BTreeMap<Option<(usize, usize)>, Vec<&Diagnostic>> = BTreeMap::new();
    for diagnostic in &checked.diagnostics {
        let json = to_json(diagnostic, &checked.sources);
        let place = json["line"].as_u64().zip(json["file"].as_str()).map(|(line, file)| {
            let file = files.iter().position(|(path, _)| Path::new("flows").join(path) == Path::new(file));
            let file = file.unwrap_or_else(|| panic!("{title}: {diagnostic:?} is in no file of the case"));
            (file, (line as usize).min(files[file].1.len()))
        });
        by_line.entry(place).or_default().push(diagnostic);
    }
    let mut annotated = String::new();
    let note = |diagnostics: Option<&Vec<&Diagnostic>>, indent: &str, annotated: &mut String| {
        for d in diagnostics.into_iter().flatten() {
            writeln!(annotated, "{indent}//~ {}[{}]: {}", d.severity.word(), d.code, d.message).expect("to a string");
            if let Some(help) = &d.help {
                writeln!(annotated, "{indent}//~   help: {help}").expect("to a string");
            }
            // Where a mistake in a body is called from belongs to what is told.
            for label in d.labels.iter().filter(|label| label.text.contains("called here")) {
                let source = &checked.sources[label.span.source].text;
                let call = &source[label.span.start..label.span.end];
                writeln!(annotated, "{indent}//~   {}: {call}", label.text).expect("to a string");
            }
        }
    };
    for directive in directives {
        writeln!(annotated, "{directive}").expect("to a string");
    }
    note(by_line.get(&None), "", &mut annotated);
    for (file, (path, lines)) in files.iter().enumerate() {
        if file > 0 {
            writeln!(annotated, "=== {path}").expect("to a string");
        }
        for (i, line) in lines.iter().enumerate() {
            let indent = &line[..line.len() - line.trim_start().len()];
            note(by_line.get(&Some((file, i + 1))), indent, &mut annotated);
            writeln!(annotated, "{line}").expect("to a string");
        }
    }
    annotated
}

/// Returns what the directives and the lines of `mlp.yaml` give.
fn assignments(params: &[((&str, &str), Giver)], texts: &[(&str, String)]) -> Assignments {
    let given = params.iter().map(|((name, value), by)| Assignment {
        name: (*name).to_owned(),
        written: Written::Text((*value).to_owned()),
        by: by.clone(),
    });
    let mut list: Vec<_> = given.collect();
    let Some((path, text)) = texts.iter().find(|(path, _)| *path == "mlp.yaml") else {
        return Assignments { list, settings: None };
    };
    let place = |part: &str| {
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        start..start + part.len()
    };
    for line in text.lines() {
        let (name, value) = line.split_once(": ").expect("NAME: VALUE");
        let (only, name) = name.split_once('/').map_or((None, name), |(only, name)| (Some(only), name));
        let written = match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
            Some(quoted) => Written::Quoted(quoted.to_owned()),
            None if value == "null" => Written::Nothing,
            None => Written::Text(value.to_owned()),
        };
        let pipeline = only.map(|only| (only.to_owned(), place(only)));
        let by = Giver::Profile { profile: "prod".into(), pipeline, name: place(name), value: place(value) };
        list.push(Assignment { name: name.to_owned(), written, by });
    }
    let settings = Some(SourceText { path: Path::new("flows").join(path), text: text.clone() });
    Assignments { list, settings }
}

fn assert_consistent(checked: &Checked, title: &str) {
    let has_errors = checked.diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(checked.pipeline.is_none(), has_errors, "{title}: a pipeline exactly without errors");
    for diagnostic in &checked.diagnostics {
        let message = &diagnostic.message;
        assert!(!message.ends_with('.'), "{title}: `{message}` ends with a period");
        for colour in [false, true] {
            let text = mlp_dsl::render(diagnostic, &checked.sources, colour, 100);
            assert!(text.contains(&*diagnostic.code) && !text.contains("Failed to read"), "{title}: {text}");
        }
    }
}

#[test]
fn every_code_has_a_case_and_a_line_in_the_table() {
    let table: BTreeSet<&str> = mlp_dsl::codes::ALL.iter().map(|(code, _)| *code).collect();
    assert_eq!(table.len(), mlp_dsl::codes::ALL.len(), "a code stands twice in the table");
    let mut in_code = BTreeSet::new();
    for text in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        in_code.extend(codes_in(&text, "\""));
    }
    let in_table: BTreeSet<String> = table.iter().map(|code| (*code).to_owned()).collect();
    assert_eq!(in_code, in_table, "codes used in the compiler, and those of the table");
    let mut in_cases = BTreeSet::new();
    for file in case_files() {
        in_cases.extend(codes_in(&std::fs::read_to_string(file).expect("readable"), "["));
    }
    let without_case: Vec<_> = in_table.difference(&in_cases).collect();
    assert!(without_case.is_empty(), "no case gives {without_case:?}");
}

fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.file_name().is_some_and(|name| name != "codes.rs") {
            texts.push(std::fs::read_to_string(path).expect("readable"));
        }
    }
    texts
}

/// Finds `E0123` behind `before`.
fn codes_in(text: &str, before: &str) -> Vec<String> {
    let pattern = format!("{before}E0");
    let starts = text.match_indices(&pattern).map(|(at, _)| at + before.len());
    let codes = starts.filter_map(|at| text.get(at..at + 5));
    codes.filter(|code| code.bytes().skip(1).all(|b| b.is_ascii_digit())).map(str::to_owned).collect()
}
