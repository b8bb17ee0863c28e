//! Files that a stage uses without saying so: named in its command, or imported by its Python files. DVC finds them since
//! it runs in the project's folder; a step sees its inputs alone.

use std::collections::BTreeSet;
use std::path::Path;

use super::files::{From, Input, Step, list, makers};
use super::interpolate::{Piece, as_python};
use super::notes::Notes;
use super::paths::{self, is_within};
use super::stages::Stage;
use super::tree::{Data, Node};

/// Returns a command with the values that stand in the project.
pub fn plain(command: &[Piece]) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Value(node) | Piece::Word(node) => as_python(node).unwrap_or_default(),
        Piece::Flag(flag, _) => flag.clone(),
    };
    command.iter().map(piece).collect()
}

/// Whether a command sends its output there, `> PATH`, which makes it a file.
pub fn is_written_by_shell(path: &str, stage: &Stage) -> bool {
    stage.commands.iter().any(|command| {
        let command = plain(command);
        let targets = command.split('>').skip(1).filter_map(|rest| rest.split_whitespace().next());
        targets.into_iter().any(|target| paths::join(&stage.wdir, target).is_ok_and(|target| target == path))
    })
}

/// A search for such files, which go to the inputs.
pub struct Search<'a> {
    pub step: &'a Step,
    pub steps: &'a [Step],
    pub root: &'a Path,
    pub param_files: &'a BTreeSet<String>,
    pub inputs: &'a mut Vec<Input>,
    pub notes: &'a mut Notes,
}

impl Search<'_> {
    /// Looks at commands and Python files. Returns whether Python files import DVC itself.
    pub fn in_programs(&mut self) -> bool {
        for command in &self.step.stage.commands {
            self.words(&plain(command), "the command names it");
        }
        self.imports()
    }

    /// Looks at the parameters of the step, which `file` holds.
    pub fn in_values(&mut self, values: &Node, file: &str) {
        match &values.data {
            Data::Map(fields) => fields.iter().for_each(|(_, node)| self.in_values(node, file)),
            Data::Str(text) if text.text.contains(['/', '.']) && !text.text.contains(char::is_whitespace) => {
                self.words(&text.text, &format!("`{file}` names it"));
            }
            _ => {}
        }
    }

    /// Whether the step has the file already, or makes it, or some other step does.
    fn is_known(&self, path: &str) -> bool {
        self.inputs.iter().any(|input| is_within(path, &input.path))
            || self.param_files.contains(path)
            || makers(self.steps).any(|(_, _, out)| is_within(path, out))
    }

    fn push(&mut self, path: &str, from: From, why: &str) {
        let text = format!("`{path}` is no dependency, but {why}: it is an input");
        self.notes.tell(self.step.stage.line, &self.step.stage.name, text);
        self.inputs.push(Input { path: path.to_owned(), from });
    }

    fn words(&mut self, command: &str, why: &str) {
        let words: Vec<&str> = command
            .split(|c: char| c.is_whitespace() || ";|&()<>\"'=,`".contains(c))
            .filter(|w| !w.is_empty())
            .collect();
        for (i, word) in words.iter().enumerate() {
            let is_module = i > 0 && words[i - 1] == "-m";
            let name = if is_module { format!("{}.py", word.replace('.', "/")) } else { (*word).to_owned() };
            let Ok(path) = paths::join(&self.step.stage.wdir, &name) else { continue };
            if path.is_empty() || self.is_known(&path) {
                continue;
            }
            let Ok(found) = std::fs::metadata(self.root.join(&path)) else { continue };
            if found.is_file() {
                self.push(&path, From::File, why);
            } else if found.is_dir() {
                // A folder of which some is declared is declared as far as it matters.
                let holds = |other: &str| is_within(other, &path);
                let is_used = self.inputs.iter().any(|input| holds(&input.path))
                    || makers(self.steps).any(|(_, _, out)| holds(out));
                if !is_used && !self.step.stage.wdir.starts_with(&path) {
                    self.push(&path, From::Folder, why);
                }
            }
        }
    }

    /// Follows `import` and `from .. import` to files of the project.
    fn imports(&mut self) -> bool {
        let mut wants_dvc = false;
        let mut open: Vec<String> = Vec::new();
        for input in self.inputs.iter() {
            match input.from {
                From::File => open.push(input.path.clone()),
                From::Folder => list(self.root, &input.path, &mut open),
                From::Step { .. } => {}
            }
        }
        let mut seen = BTreeSet::new();
        while let Some(file) = open.pop() {
            if !file.ends_with(".py") || !seen.insert(file.clone()) {
                continue;
            }
            let Ok(text) = std::fs::read_to_string(self.root.join(&file)) else { continue };
            for (n_up, module) in text.lines().flat_map(imported) {
                wants_dvc |= n_up == 0 && ["dvc", "dvclive"].iter().any(|name| module.split('.').next() == Some(name));
                let above = file.rsplit_once('/').map_or("", |(above, _)| above);
                let bases = match n_up {
                    0 => vec![above.to_owned(), self.step.stage.wdir.clone()],
                    n => paths::join(above, &"../".repeat(n - 1)).into_iter().collect(),
                };
                for base in bases {
                    for path in module_files(&base, &module) {
                        if self.root.join(&path).is_file() {
                            if !self.is_known(&path) {
                                self.push(&path, From::File, &format!("`{file}` imports it"));
                            }
                            open.push(path);
                        }
                    }
                }
            }
        }
        wants_dvc
    }
}

/// Returns the modules that a line of Python imports, with the number of dots before each.
fn imported(line: &str) -> Vec<(usize, String)> {
    let line = line.trim_start().split('#').next().unwrap_or_default();
    let name = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    if let Some(names) = line.strip_prefix("import ") {
        return names.split(',').map(|part| (0, name(part))).filter(|(_, name)| !name.is_empty()).collect();
    }
    let Some((module, names)) = line.strip_prefix("from ").and_then(|rest| rest.split_once(" import ")) else {
        return Vec::new();
    };
    let module = module.trim();
    let above = module.trim_start_matches('.');
    let n_up = module.len() - above.len();
    let mut found = vec![(n_up, above.to_owned())];
    // Each could be a module itself.
    for part in names.split([',', '(', ')']) {
        let dot = if above.is_empty() { "" } else { "." };
        let name = name(part);
        if !name.is_empty() && name != "*" {
            found.push((n_up, format!("{above}{dot}{name}")));
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

/// Returns where a module and the packages around it could stand.
fn module_files(base: &str, module: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut path = base.to_owned();
    for part in module.split('.') {
        let Ok(joined) = paths::join(&path, part) else { break };
        path = joined;
        files.push(format!("{path}/__init__.py"));
        files.push(format!("{path}.py"));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_read_with_what_they_could_mean() {
        let shown =
            |line: &str| imported(line).iter().map(|(n, name)| format!("{n}:{name}")).collect::<Vec<_>>().join(" ");
        let cases = [
            ("import os, a.b as c", "0:os 0:a.b"),
            ("from lib import read, write as w  # x", "0:lib 0:lib.read 0:lib.write"),
            ("    from . import util", "1:util"),
            ("from ..x.y import (a", "2:x.y 2:x.y.a"),
            ("from x import *", "0:x"),
            ("important = 1", ""),
        ];
        for (line, expected) in cases {
            assert_eq!(shown(line), expected, "{line}");
        }
        assert_eq!(module_files("src", "a.b"), ["src/a/__init__.py", "src/a.py", "src/a/b/__init__.py", "src/a/b.py"]);
    }
}
