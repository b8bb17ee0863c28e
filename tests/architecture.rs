//! Keeps what `docs/architecture.md` promises: which crate may name which, who names a heavy dependency, and that the
//! documents name no path that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Which of our crates each may name, outside tests. `mlp` knows them all.
const ARROWS: &[(&str, &[&str])] = &[
    ("mlp-model", &[]),
    ("mlp-artifact", &["mlp-model"]),
    ("mlp-store", &["mlp-model"]),
    ("mlp-engine", &["mlp-model", "mlp-artifact"]),
    ("mlp-dsl", &["mlp-model"]),
    ("mlp-lsp", &["mlp-model", "mlp-dsl"]),
    ("mlp-stdlib", &["mlp-model", "mlp-artifact"]),
    ("mlp-tabular", &["mlp-model", "mlp-artifact"]),
    ("mlp-process", &["mlp-model"]),
    ("mlp-worker", &["mlp-model"]),
    ("mlp-wasm", &["mlp-model", "mlp-artifact", "mlp-worker"]),
    ("mlp-torch", &["mlp-model", "mlp-artifact", "mlp-worker"]),
    ("mlp-torch-client", &["mlp-model", "mlp-worker"]),
];

/// The only crate that may name each heavy dependency.
const HOMES: &[(&str, &str)] = &[
    ("pest", "mlp-dsl"),
    ("ls-types", "mlp-lsp"),
    ("lsp-server", "mlp-lsp"),
    ("sled", "mlp-store"),
    ("aes-gcm", "mlp-store"),
    ("petgraph", "mlp-engine"),
    ("datafusion", "mlp-tabular"),
    ("wasmtime", "mlp-wasm"),
    ("tch", "mlp-torch"),
    ("clap", "mlp"),
    ("saphyr-parser", "mlp"),
    ("serde_yaml", "mlp"),
];

#[test]
fn crates_name_only_the_crates_that_the_architecture_allows() {
    let crates = workspace();
    let ours: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
    for (name, dependencies) in &crates {
        if name == "mlp" {
            continue;
        }
        let (_, allowed) = ARROWS
            .iter()
            .find(|(crate_name, _)| crate_name == name)
            .unwrap_or_else(|| panic!("crate `{name}` is not in the architecture: add it there and here"));
        for dependency in dependencies.iter().filter(|d| ours.contains(d.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "`{name}` must not name `{dependency}`");
        }
    }
    assert_eq!(crates.len(), ARROWS.len() + 1, "ARROWS lists a crate that is gone");
}

#[test]
fn each_heavy_dependency_has_one_home() {
    let crates = workspace();
    for (dependency, home) in HOMES {
        let users: Vec<&String> =
            crates.iter().filter(|(_, deps)| deps.contains(*dependency)).map(|(n, _)| n).collect();
        assert_eq!(users, [home], "who names `{dependency}`");
    }
}

#[test]
fn the_top_level_holds_only_what_the_layout_names() {
    let allowed = "Cargo.toml Cargo.lock LICENSE README.md engine dsl stdlib pipelines runners tests docs target";
    let allowed: BTreeSet<&str> = allowed.split(' ').collect();
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || allowed.contains(name.as_str()), "`{name}` does not belong at the top level");
    }
}

#[test]
fn every_path_named_in_the_documents_exists() {
    let mut documents = vec![root().join("README.md")];
    collect_markdown(&root().join("docs"), &mut documents);
    let mut n_paths = 0;
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for path in paths_in(&text) {
            n_paths += 1;
            let beside = document.parent().unwrap().join(&path);
            assert!(
                root().join(&path).exists() || beside.exists(),
                "{} names `{path}`, which is not there",
                document.display()
            );
        }
    }
    assert!(n_paths > 20, "found only {n_paths} paths: the search itself is broken");
}

/// Returns what stands in backquotes or link targets and begins like a path of this repository.
fn paths_in(text: &str) -> Vec<String> {
    let folders = ["engine/", "dsl/", "stdlib/", "pipelines/", "runners/", "tests/", "docs/", ".ci/"];
    let in_quotes = text.split('`').skip(1).step_by(2);
    let in_links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    in_quotes
        .flat_map(str::split_whitespace)
        .chain(in_links)
        .map(|word| {
            word.split('#').next().unwrap_or(word).trim_start_matches("./").trim_end_matches(['.', ',', ':', '/'])
        })
        .filter(|word| {
            folders.iter().any(|folder| word.starts_with(folder)) || (word.ends_with(".md") && !word.contains(':'))
        })
        .filter(|word| !word.contains(['*', '<', '{']))
        .map(str::to_owned)
        .collect()
}

fn collect_markdown(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_markdown(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// Returns each crate of the workspace with the packages it names outside `[dev-dependencies]`.
fn workspace() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            let names =
                dependencies.iter().filter(|d| d["kind"] != "dev").map(|d| d["name"].as_str().unwrap().to_owned());
            (package["name"].as_str().unwrap().to_owned(), names.collect())
        })
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn no_two_crates_give_one_code_to_different_failures() {
    // Codes of the language (E) are told by operations as well, and those of training (T) by the worker and its client.
    let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for krate in ["engine/artifact", "engine/store", "engine/core", "dsl", "stdlib", "stdlib/tabular", "runners"] {
        let mut folders = vec![root().join(krate)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder of the repository") {
                let path = entry.expect("an entry").path();
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
                // Crates within crates are looked at by themselves.
                if path.is_dir()
                    && !matches!(name.as_str(), "tests" | "benches" | "examples" | "tabular" | "lsp" | "editors")
                {
                    folders.push(path);
                } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                    let text = std::fs::read_to_string(&path).expect("a source file");
                    let codes = text.split('"').filter(|text| is_code(text));
                    codes.for_each(|code| _ = owners.entry(code.to_owned()).or_default().insert(krate.to_owned()));
                }
            }
        }
    }
    assert!(owners.len() > 100, "the codes are found: {}", owners.len());
    let shared: Vec<_> = owners.iter().filter(|(code, crates)| crates.len() > 1 && !code.starts_with('E')).collect();
    assert!(shared.is_empty(), "{shared:#?}");
}

/// Returns whether a text is a letter and four digits.
fn is_code(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 5 && bytes[0].is_ascii_uppercase() && bytes[1..].iter().all(u8::is_ascii_digit)
}
