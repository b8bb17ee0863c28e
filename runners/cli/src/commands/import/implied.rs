//! Parameters that a stage reads without declaring them. DVC's programs find the whole file; a step sees what is declared,
//! and what its programs plainly ask for.

use std::path::Path;

use super::files::{From, Input, list};
use super::stages::Params;
use super::tree::Node;

/// The programs of a stage, as far as they are files of the project, and its commands.
pub struct Programs(String);

impl Programs {
    pub fn read(root: &Path, inputs: &[Input], commands: &str) -> Self {
        let mut files: Vec<String> = Vec::new();
        for input in inputs {
            match input.from {
                From::File => files.push(input.path.clone()),
                From::Folder => list(root, &input.path, &mut files),
                From::Step { .. } => {}
            }
        }
        files.retain(|file| [".py", ".R", ".jl", ".sh", ".js"].iter().any(|ending| file.ends_with(ending)));
        let mut text = commands.to_owned();
        for file in files {
            text.push('\n');
            text.push_str(&std::fs::read_to_string(root.join(file)).unwrap_or_default());
        }
        Self(text)
    }

    /// Whether they name the file.
    pub fn name(&self, file: &str) -> bool {
        let name = file.rsplit('/').next().unwrap_or(file);
        self.0.contains(name) || name == super::stages::DEFAULT_PARAMS && self.0.contains("params_show")
    }

    /// Whether they ask for a key: `p["key"]`, `p.get("key"`, `p.key`.
    fn ask_for(&self, key: &str) -> bool {
        let quoted = [format!("['{key}']"), format!("[\"{key}\"]"), format!("get('{key}'"), format!("get(\"{key}\"")];
        let dotted = format!(".{key}");
        quoted.iter().any(|text| self.0.contains(text))
            || self.0.match_indices(&dotted).any(|(place, _)| {
                let rest = &self.0[place + dotted.len()..];
                !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '(' | '"' | '\''))
                    && self.0[..place].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ']' | ')'))
            })
    }

    /// Adds the keys that the programs ask for to those that are declared. Returns those that are new.
    pub fn complete(&self, params: &mut Params, values: &Node) -> Vec<String> {
        let Some(keys) = &mut params.keys else { return Vec::new() };
        let mut found = Vec::new();
        self.walk(values, "", keys, &mut found);
        keys.extend(found.iter().cloned());
        found
    }

    fn walk(&self, values: &Node, above: &str, declared: &[String], found: &mut Vec<String>) {
        for (key, node) in values.as_map().unwrap_or_default() {
            let path = format!("{above}{key}");
            if declared.contains(&path) {
                continue;
            }
            let below = format!("{path}.");
            if declared.iter().any(|other| other.starts_with(&below)) {
                self.walk(node, &below, declared, found);
            } else if self.ask_for(key) {
                found.push(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::parse_yaml;
    use super::*;

    #[test]
    fn what_programs_ask_for_is_added_to_what_is_declared() {
        let values =
            parse_yaml("mode: dev\ntrain: {lr: 0.1, seed: 7, depth: 3}\nlog: x\nfit: 1\nother: {a: 1}\n").unwrap();
        let programs = Programs(
            "p = load('conf/params.yaml')\nprint(p['mode'], p[\"train\"][\"lr\"], p.train.depth)\nmodel.fit(x.log)\n"
                .to_owned(),
        );
        let keys = Some(vec!["train.seed".to_owned()]);
        let mut params = Params { file: "conf/params.yaml".to_owned(), keys, line: 1 };
        assert!(programs.name("params.yaml") && !programs.name("other.yaml"));
        assert_eq!(programs.complete(&mut params, &values), ["mode", "train.lr", "train.depth", "log"]);
        assert_eq!(params.keys.unwrap().len(), 5);
    }
}
