//! The texts of parameter files with the values of the run in them, as expressions of the language.

use super::notes::Notes;
use super::params::{Kind, Parameters, is_odd, quoted};
use super::tree::{Data, Node};

/// How a file writes values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Yaml,
    Json,
    Toml,
}

/// A part of a line: text, or an expression of the language.
pub enum Part {
    Text(String),
    Value(String),
}

pub type Line = Vec<Part>;

/// Returns an expression that gives the text of the file with these values.
pub fn expression(file: &str, values: &Node, parameters: &mut Parameters, notes: &mut Notes) -> String {
    let format = match file.rsplit_once('.').map(|(_, ending)| ending) {
        Some("json") => Format::Json,
        Some("toml") => Format::Toml,
        _ => Format::Yaml,
    };
    let mut writer = Writer { format, lines: Vec::new(), parameters, notes };
    match format {
        Format::Yaml => writer.yaml(values, 0),
        Format::Json => writer.json(values, 0, Vec::new(), ""),
        Format::Toml => writer.toml(values, ""),
    }
    joined(&writer.lines)
}

/// Writes lines as one string.
pub fn joined(lines: &[Line]) -> String {
    let mut lines: Vec<String> = lines.iter().map(written).collect();
    match lines.len() {
        0 => "\"\"".to_owned(),
        1 => lines.remove(0),
        _ => format!(
            "join([\n{}\n], \"\\n\")",
            lines.iter().map(|line| format!("{line},")).collect::<Vec<_>>().join("\n")
        ),
    }
}

/// Writes parts as one string.
fn written(line: &Line) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut text = String::new();
    for part in line {
        match part {
            Part::Text(more) => text.push_str(more),
            Part::Value(value) => {
                // The first operand decides that `+` joins strings.
                if !text.is_empty() || parts.is_empty() {
                    parts.push(quoted(&std::mem::take(&mut text)));
                }
                parts.push(value.clone());
            }
        }
    }
    if !text.is_empty() || parts.is_empty() {
        parts.push(quoted(&text));
    }
    parts.join(" + ")
}

struct Writer<'a> {
    format: Format,
    lines: Vec<Line>,
    parameters: &'a mut Parameters,
    notes: &'a mut Notes,
}

impl Writer<'_> {
    fn yaml(&mut self, map: &Node, n_levels: usize) {
        let indent = "  ".repeat(n_levels);
        for (key, node) in map.as_map().unwrap_or_default() {
            let mut line = vec![Part::Text(format!("{indent}{}:", yaml_key(key)))];
            match &node.data {
                Data::Map(fields) if !fields.is_empty() => {
                    self.lines.push(line);
                    self.yaml(node, n_levels + 1);
                }
                _ => {
                    line.push(Part::Text(" ".to_owned()));
                    line.extend(self.value(node));
                    self.lines.push(line);
                }
            }
        }
    }

    fn json(&mut self, node: &Node, n_levels: usize, mut line: Line, behind: &str) {
        match &node.data {
            Data::Map(fields) if !fields.is_empty() => {
                line.push(Part::Text("{".to_owned()));
                self.lines.push(line);
                for (i, (key, node)) in fields.iter().enumerate() {
                    let head = format!("{}{}: ", "  ".repeat(n_levels + 1), json_text(key));
                    let comma = if i + 1 < fields.len() { "," } else { "" };
                    self.json(node, n_levels + 1, vec![Part::Text(head)], comma);
                }
                self.lines.push(vec![Part::Text(format!("{}}}{behind}", "  ".repeat(n_levels)))]);
            }
            _ => {
                line.extend(self.value(node));
                line.push(Part::Text(behind.to_owned()));
                self.lines.push(line);
            }
        }
    }

    /// Dotted keys, so that no table has to be opened.
    fn toml(&mut self, map: &Node, above: &str) {
        for (key, node) in map.as_map().unwrap_or_default() {
            let key = format!("{above}{}", toml_key(key));
            match &node.data {
                Data::Map(fields) if !fields.is_empty() => self.toml(node, &format!("{key}.")),
                Data::Null => {}
                _ => {
                    let mut line = vec![Part::Text(format!("{key} = "))];
                    line.extend(self.value(node));
                    self.lines.push(line);
                }
            }
        }
    }

    fn value(&mut self, node: &Node) -> Line {
        let Some((name, (kind, is_list))) = self.parameters.refer(node, self.notes) else {
            return vec![Part::Text(self.constant(node))];
        };
        let text = |text: &str| Part::Text(text.to_owned());
        // A reader of YAML 1.1 takes `1e-5` for a text.
        let is_tagged = self.format == Format::Yaml && kind == Kind::Float && has_point(node);
        let before = if is_tagged { "!!float " } else { "" };
        let quote = if self.format == Format::Yaml { "'" } else { "\"" };
        match (kind, is_list) {
            (Kind::Str, false) if self.is_bare(node) => vec![Part::Value(name)],
            (Kind::Str, false) => {
                let escaped = match self.format {
                    Format::Yaml => format!("replace({name}, \"'\", \"''\")"),
                    _ => format!(r#"replace(replace({name}, "\\", "\\\\"), "\"", "\\\"")"#),
                };
                vec![text(quote), Part::Value(escaped), text(quote)]
            }
            (Kind::Str, true) => {
                let items = format!("join({name}, {})", quoted(&format!("{quote}, {quote}")));
                let (open, close) = (quoted(&format!("[{quote}")), quoted(&format!("{quote}]")));
                vec![Part::Value(format!("(if len({name}) == 0 then \"[]\" else {open} + {items} + {close})"))]
            }
            (_, false) => vec![text(before), Part::Value(name)],
            (_, true) if before.is_empty() => {
                vec![text("["), Part::Value(format!("join({name}, \", \")")), text("]")]
            }
            (_, true) => {
                let items = format!("join({name}, \", {before}\")");
                vec![Part::Value(format!("(if len({name}) == 0 then \"[]\" else \"[{before}\" + {items} + \"]\")"))]
            }
        }
    }

    /// Whether a text stands without quotes.
    fn is_bare(&self, node: &Node) -> bool {
        let Data::Str(text) = &node.data else { return false };
        text.is_plain && (self.format == Format::Toml || self.format == Format::Yaml && is_odd(&text.text))
    }

    fn constant(&self, node: &Node) -> String {
        match &node.data {
            Data::Null => "null".to_owned(),
            Data::Bool(b) => b.to_string(),
            Data::Int(n) => n.to_string(),
            Data::Float(_, text) => text.clone(),
            Data::Str(text) if self.is_bare(node) => text.text.clone(),
            Data::Str(text) => json_text(&text.text),
            Data::List(items) => {
                let items = items.iter().filter(|item| self.format != Format::Toml || item.data != Data::Null);
                format!("[{}]", items.map(|item| self.constant(item)).collect::<Vec<_>>().join(", "))
            }
            Data::Map(fields) => {
                let field = |(key, node): &(String, Node)| match self.format {
                    Format::Toml => format!("{} = {}", toml_key(key), self.constant(node)),
                    Format::Yaml => format!("{}: {}", yaml_key(key), self.constant(node)),
                    Format::Json => format!("{}: {}", json_text(key), self.constant(node)),
                };
                format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn has_point(node: &Node) -> bool {
    match &node.data {
        Data::Float(_, text) => text.contains('.'),
        Data::List(items) => items.iter().any(has_point),
        _ => false,
    }
}

/// Writes a text in double quotes; YAML and TOML read it as JSON does.
fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn yaml_key(key: &str) -> String {
    let is_plain =
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    if is_plain && !key.starts_with('-') { key.to_owned() } else { json_text(key) }
}

fn toml_key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if is_bare { key.to_owned() } else { json_text(key) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::params::Names;
    use super::super::tree::parse;
    use super::*;

    fn expression_of(file: &str, text: &str) -> String {
        let values = parse(file, text).unwrap().with_origin(file);
        let mut parameters = Parameters::new(Names::default(), BTreeSet::new());
        expression(file, &values, &mut parameters, &mut Notes::default())
    }

    #[test]
    fn values_stand_where_they_stood() {
        let yaml = "t:\n  lr: 0.1\n  n: 3\n  s: it's\n  day: 2020-01-01\n  xs: [a]\n  ys: [0.5]\n  z: ~\n  odd: [{a: 'yes'}]\n";
        let expected = r#"join([
"t:",
"  lr: !!float " + t_lr,
"  n: " + t_n,
"  s: '" + replace(t_s, "'", "''") + "'",
"  day: " + t_day,
"  xs: " + (if len(t_xs) == 0 then "[]" else "['" + join(t_xs, "', '") + "']"),
"  ys: " + (if len(t_ys) == 0 then "[]" else "[!!float " + join(t_ys, ", !!float ") + "]"),
"  z: null",
"  odd: [{a: \"yes\"}]",
], "\n")"#;
        assert_eq!(expression_of("p.yaml", yaml), expected);
        let toml = "a.b = 1\nd = 2020-01-01\n\"x y\" = 'q'\n";
        let expected = r#"join([
"a.b = " + a_b,
"d = " + d,
"\"x y\" = \"" + replace(replace(x_y, "\\", "\\\\"), "\"", "\\\"") + "\"",
], "\n")"#;
        assert_eq!(expression_of("p.toml", toml), expected);
        let json = "{\"a\": {\"b\": [1, 2]}, \"c\": null}";
        let expected = r#"join([
"{",
"  \"a\": {",
"    \"b\": [" + join(a_b, ", ") + "]",
"  },",
"  \"c\": null",
"}",
], "\n")"#;
        assert_eq!(expression_of("p.json", json), expected);
        assert_eq!(expression_of("p.yaml", "seed: 7"), "\"seed: \" + seed");
        assert_eq!(expression_of("p.yaml", ""), "\"\"");
    }
}
