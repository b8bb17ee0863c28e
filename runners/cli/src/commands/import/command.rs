//! The command of a stage as that of a `sh` step, written as an expression of the language.

use super::files::Step;
use super::interpolate::{Piece, as_python};
use super::notes::Notes;
use super::params::{Parameters, quoted};
use super::texts::{Line, Part, joined};
use super::tree::{Data, Node};
use super::undeclared::plain;

/// What of a command only bash understands.
const BASH: [&str; 12] =
    ["[[", "<(", ">(", "source ", "$'", "&>", "pipefail", "<<<", "shopt ", "declare ", "((", "function "];

/// Programs that want the network.
const NETWORK: [&str; 8] = ["curl", "wget", "kaggle", "aws", "gsutil", "rclone", "git clone", "pip install"];

/// Variables that every step has.
const KNOWN: [&str; 9] =
    ["PATH", "HOME", "TMPDIR", "LANG", "TZ", "SOURCE_DATE_EPOCH", "CUDA_VISIBLE_DEVICES", "PWD", "OLDPWD"];

/// Where a stage without outputs leaves a file, so that the step has a result.
pub const DONE: &str = ".mlp-done";

/// A command, in text that is for the shell and values that are for the language.
struct Writer<'a> {
    line: Line,
    parameters: &'a mut Parameters,
    notes: &'a mut Notes,
}

/// Returns the expression. `wdir` is the stage's folder in the folder of the step.
pub fn expression(step: &Step, wdir: &str, is_made: bool, parameters: &mut Parameters, notes: &mut Notes) -> String {
    let commands = &step.stage.commands;
    let mut writer = Writer { line: Vec::new(), parameters, notes };
    if !wdir.is_empty() {
        let folder = word(wdir);
        writer.raw(&if is_made { format!("cd {folder}\n") } else { format!("mkdir -p {folder}\ncd {folder}\n") });
    }
    // What follows must not hide that it failed.
    let is_single = commands.len() == 1 && !step.outputs.is_empty();
    for (i, command) in commands.iter().enumerate() {
        if i > 0 {
            writer.raw("\n");
        }
        writer.command(command, is_single, &step.stage.name, step.stage.line);
    }
    if step.outputs.is_empty() {
        writer.raw(&format!("\n: > \"$HOME/{DONE}\""));
    }
    finish(&writer.line)
}

/// Whether the step is given the network.
pub fn wants_network(step: &Step) -> bool {
    let text: String = step.stage.commands.iter().map(|command| plain(command) + "\n").collect();
    NETWORK.iter().any(|program| has_word(&text, program)) || text.contains("https://") || text.contains("http://")
}

/// Returns the variables that the commands read and nothing sets.
pub fn variables(step: &Step) -> Vec<String> {
    let text: String = step.stage.commands.iter().map(|command| plain(command) + "\n").collect();
    let mut found: Vec<String> = Vec::new();
    for (place, _) in text.match_indices('$') {
        let rest = text[place + 1..].trim_start_matches('{');
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let is_set = [format!("{name}="), format!("for {name} "), format!("read {name}")];
        if is_name
            && !KNOWN.contains(&name.as_str())
            && !found.contains(&name)
            && !is_set.iter().any(|set| text.contains(set))
        {
            found.push(name);
        }
    }
    found
}

impl Writer<'_> {
    /// Adds text of the shell. Braces are doubled: single ones are for the names of inputs and outputs.
    fn raw(&mut self, text: &str) {
        self.line.push(Part::Text(text.replace('{', "{{").replace('}', "}}")));
    }

    fn value(&mut self, expression: String) {
        self.line.push(Part::Value(expression));
    }

    /// Adds one command as DVC runs it: in a shell of its own, which goes on after what fails in the middle.
    fn command(&mut self, pieces: &[Piece], is_single: bool, stage: &str, line: usize) {
        let text = plain(pieces);
        let is_bash = BASH.iter().any(|sign| text.contains(sign)) || has_braces(&text);
        let goes_on = text.contains(';') || text.replace("&&", "").replace(">&", "").contains('&');
        if is_bash {
            self.notes.tell(line, stage, "bash runs it, since `sh` would not understand it");
            self.raw("bash -c \"$(cat <<'END_OF_COMMAND'\n");
            self.pieces(pieces);
            self.raw("\nEND_OF_COMMAND\n)\"");
        } else if goes_on || !is_single {
            self.raw(if goes_on { "(set +e; " } else { "(" });
            self.pieces(pieces);
            self.raw(if text.contains('#') { "\n)" } else { ")" });
        } else {
            self.pieces(pieces);
        }
    }

    fn pieces(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.raw(text),
                Piece::Value(node) => match self.name(node) {
                    Some(name) => self.value(name),
                    None => self.raw(&as_python(node).unwrap_or_default()),
                },
                Piece::Word(node) => match self.name(node) {
                    Some(name) => {
                        self.raw("'");
                        self.value(format!(r#"replace({name}, "'", "'\\''")"#));
                        self.raw("'");
                    }
                    None => self.raw(&word(&as_python(node).unwrap_or_default())),
                },
                Piece::Flag(flag, node) => match self.name(node) {
                    Some(name) => self.value(format!("(if {name} then {} else \"\")", quoted(flag))),
                    None if node.data == Data::Bool(true) => self.raw(flag),
                    None => {}
                },
            }
        }
    }

    fn name(&mut self, node: &Node) -> Option<String> {
        let (name, (_, is_list)) = self.parameters.refer(node, self.notes)?;
        (!is_list).then_some(name)
    }
}

/// Writes a command as a string: several lines as such, with values between them as a list of lines.
fn finish(line: &Line) -> String {
    let text: Option<String> = line
        .iter()
        .map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Value(_) => None,
        })
        .collect();
    if let Some(text) = &text {
        let fits = !text.contains("\"\"\"") && !text.contains('\r') && !text.starts_with([' ', '\n']);
        if !text.contains('\n') || !fits {
            return quoted(text);
        }
        let lines: String =
            text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") }).collect();
        return format!("\"\"\"\n{lines}    \"\"\"");
    }
    let mut lines: Vec<Line> = vec![Vec::new()];
    for part in line {
        match part {
            Part::Value(value) => lines.last_mut().into_iter().for_each(|line| line.push(Part::Value(value.clone()))),
            Part::Text(text) => {
                for (i, text) in text.split('\n').enumerate() {
                    if i > 0 {
                        lines.push(Vec::new());
                    }
                    lines.last_mut().into_iter().for_each(|line| line.push(Part::Text(text.to_owned())));
                }
            }
        }
    }
    joined(&lines)
}

/// Writes a text as one word of the shell.
fn word(text: &str) -> String {
    let is_safe = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./,:=@%+".contains(c));
    if is_safe { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn has_word(text: &str, wanted: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    text.match_indices(wanted)
        .any(|(place, _)| !text[..place].ends_with(is_part) && !text[place + wanted.len()..].starts_with(is_part))
}

/// Whether a text has `{a,b}` or `{1..3}`, which bash writes out.
fn has_braces(text: &str) -> bool {
    text.match_indices('{').any(|(place, _)| {
        let inside = text[place + 1..].split_once('}').map_or("", |(inside, _)| inside);
        let is_free = !text[..place].ends_with('$') && !inside.contains([' ', '\'', '"', ':', '{']);
        is_free && (inside.contains(',') || inside.contains(".."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_bash_understands_is_seen() {
        assert!(has_braces("cp a.{csv,json} x") && has_braces("echo {1..3}"));
        assert!(!has_braces("awk '{print $1, $2}'") && !has_braces("echo ${a} '{\"a\":1}'"));
        assert!(has_word("curl -O x", "curl") && !has_word("python curl.py", "curl") && !has_word("mycurl", "curl"));
        assert_eq!([word("a/b.csv"), word("a b"), word("it's")], ["a/b.csv", "'a b'", "'it'\\''s'"]);
    }
}
