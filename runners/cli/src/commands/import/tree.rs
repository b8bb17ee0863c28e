//! The values of YAML, JSON and TOML files, in their order, each with its line. Unaware of what they mean.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use toml_edit::{DocumentMut, Item, TableLike};

/// Brackets and indentations within each other.
const MOST_LEVELS: usize = 64;

/// Values of a file, those that aliases repeat counted: a small text can stand for a huge tree.
const MOST_VALUES: usize = 200_000;

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// From 1; 0 where it is not known.
    pub line: usize,
    pub data: Data,
    /// The file and the keys that lead to it, where other values can take its place.
    pub origin: Option<Origin>,
    /// How many keys lead to the list that it is in.
    pub in_list: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Null,
    Bool(bool),
    Int(i64),
    /// With its text as written.
    Float(f64, String),
    Str(Text),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    /// Written without quotes: other readers may take it for something else, a date for example.
    pub is_plain: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    pub file: String,
    pub keys: Vec<String>,
}

impl Origin {
    /// Returns where the value as a whole stands: an item of a list is a part of the outermost list.
    pub fn of(node: &Node) -> Option<Self> {
        let mut origin = node.origin.clone()?;
        if let Some(n_keys) = node.in_list {
            origin.keys.truncate(n_keys);
        }
        Some(origin)
    }
}

/// What is wrong with a text, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct TreeError {
    pub line: usize,
    pub message: String,
}

impl Node {
    pub fn new(line: usize, data: Data) -> Self {
        Self { line, data, origin: None, in_list: None }
    }

    pub fn str(line: usize, text: impl Into<String>) -> Self {
        Self::new(line, Data::Str(Text { text: text.into(), is_plain: false }))
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Data::Str(text) = &self.data { Some(&text.text) } else { None }
    }

    pub fn as_map(&self) -> Option<&[(String, Node)]> {
        if let Data::Map(fields) = &self.data { Some(fields) } else { None }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    pub fn is_leaf(&self) -> bool {
        !matches!(self.data, Data::List(_) | Data::Map(_))
    }

    /// Returns what stands below the keys; the place in a list counts as a key.
    pub fn at(&self, keys: &[impl AsRef<str>]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| match &node.data {
            Data::Map(_) => node.get(key.as_ref()),
            Data::List(items) => items.get(key.as_ref().parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Says of every value where it stands.
    pub fn with_origin(mut self, file: &str) -> Self {
        self.place(file, &mut Vec::new(), None);
        self
    }

    fn place(&mut self, file: &str, keys: &mut Vec<String>, in_list: Option<usize>) {
        self.origin = Some(Origin { file: file.to_owned(), keys: keys.clone() });
        self.in_list = in_list;
        let in_items = in_list.or(Some(keys.len()));
        match &mut self.data {
            Data::Map(fields) => {
                for (key, node) in fields {
                    keys.push(key.clone());
                    node.place(file, keys, in_list);
                    keys.pop();
                }
            }
            Data::List(items) => {
                for (i, node) in items.iter_mut().enumerate() {
                    keys.push(i.to_string());
                    node.place(file, keys, in_items);
                    keys.pop();
                }
            }
            _ => {}
        }
    }

    fn size(&self) -> usize {
        1 + match &self.data {
            Data::Map(fields) => fields.iter().map(|(_, node)| node.size()).sum(),
            Data::List(items) => items.iter().map(Node::size).sum(),
            _ => 0,
        }
    }
}

/// Reads a file by the ending of its name.
pub fn parse(name: &str, text: &str) -> Result<Node, TreeError> {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("toml") => parse_toml(text),
        Some("json") => parse_json(text),
        _ => parse_yaml(text),
    }
}

/// A list or map whose end is not read yet.
struct Open {
    line: usize,
    anchor: usize,
    /// `Some` for a map: its fields, and the key that waits for a value, with its line: values stand where their key does.
    fields: Option<(Vec<(String, Node)>, Option<(String, usize)>)>,
    items: Vec<Node>,
}

pub fn parse_yaml(text: &str) -> Result<Node, TreeError> {
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Node> = HashMap::new();
    let mut root = None;
    let mut n_values = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event
            .map_err(|e| TreeError { line: e.marker().line(), message: format!("it is no YAML: {}", e.info()) })?;
        let line = span.start.line();
        let fail = |message: &str| Err(TreeError { line, message: message.to_owned() });
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                let data =
                    if is_plain { plain(&text) } else { Data::Str(Text { text: text.into_owned(), is_plain: false }) };
                (Node::new(line, data), anchor)
            }
            Event::Alias(anchor) => match anchors.get(&anchor) {
                Some(node) => (node.clone(), 0),
                None => return fail("an alias `*` stands within what it names"),
            },
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) if open.len() >= MOST_LEVELS => {
                let _ = anchor;
                return fail("it is nested too deep");
            }
            Event::SequenceStart(anchor, _) => {
                open.push(Open { line, anchor, fields: None, items: Vec::new() });
                continue;
            }
            Event::MappingStart(anchor, _) => {
                open.push(Open { line, anchor, fields: Some((Vec::new(), None)), items: Vec::new() });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(ended) = open.pop() else { continue };
                let data = match ended.fields {
                    Some((fields, _)) => Data::Map(fields),
                    None => Data::List(ended.items),
                };
                (Node::new(ended.line, data), ended.anchor)
            }
            Event::DocumentStart(_) if root.is_some() => return fail("it holds more than one document"),
            _ => continue,
        };
        n_values += node.size();
        if n_values > MOST_VALUES * MOST_LEVELS || node.size() > MOST_VALUES {
            return fail("it stands for too many values");
        }
        if anchor > 0 {
            anchors.insert(anchor, node.clone());
        }
        match open.last_mut() {
            None => root = Some(node),
            Some(Open { fields: None, items, .. }) => items.push(node),
            Some(Open { fields: Some((fields, key)), .. }) => match key.take() {
                None => *key = Some((as_key(node)?, line)),
                Some((name, line)) => insert(fields, name, Node { line, ..node })?,
            },
        }
    }
    Ok(root.unwrap_or_else(|| Node::new(1, Data::Null)))
}

fn as_key(node: Node) -> Result<String, TreeError> {
    match node.data {
        Data::Str(text) => Ok(text.text),
        Data::Int(n) => Ok(n.to_string()),
        Data::Bool(b) => Ok(b.to_string()),
        Data::Float(_, text) => Ok(text),
        _ => Err(TreeError { line: node.line, message: "a key is no plain text".to_owned() }),
    }
}

/// Adds a field. `<<` brings those of other maps in, which are not said here.
fn insert(fields: &mut Vec<(String, Node)>, name: String, node: Node) -> Result<(), TreeError> {
    if name == "<<" {
        let maps = match node.data {
            Data::List(maps) => maps,
            _ => vec![node],
        };
        for map in maps {
            let line = map.line;
            let Data::Map(more) = map.data else {
                return Err(TreeError { line, message: "`<<` is given something that is no map".to_owned() });
            };
            for (name, node) in more {
                if !fields.iter().any(|(other, _)| *other == name) {
                    fields.push((name, node));
                }
            }
        }
        return Ok(());
    }
    match fields.iter_mut().find(|(other, _)| *other == name) {
        Some((_, old)) => *old = node,
        None => fields.push((name, node)),
    }
    Ok(())
}

/// Reads a scalar without quotes as YAML 1.2 does.
fn plain(text: &str) -> Data {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
        "true" | "True" | "TRUE" => return Data::Bool(true),
        "false" | "False" | "FALSE" => return Data::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = digits.bytes().any(|b| b.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    if is_number {
        // A leading zero is octal to some readers.
        let has_zero = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
        if let (Ok(n), false) = (text.parse(), has_zero) {
            return Data::Int(n);
        }
        if let (Ok(x), true) = (text.parse::<f64>(), digits.contains(['.', 'e', 'E']))
            && x.is_finite()
        {
            return Data::Float(x, text.to_owned());
        }
    }
    Data::Str(Text { text: text.to_owned(), is_plain: true })
}

fn parse_json(text: &str) -> Result<Node, TreeError> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|e| TreeError { line: e.line(), message: format!("it is no JSON: {e}") })?;
    Ok(from_json(value))
}

fn from_json(value: serde_json::Value) -> Node {
    use serde_json::Value;
    let data = match value {
        Value::Null => Data::Null,
        Value::Bool(b) => Data::Bool(b),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(n), _) => Data::Int(n),
            (None, Some(x)) => Data::Float(x, n.to_string()),
            (None, None) => Data::Null,
        },
        Value::String(text) => Data::Str(Text { text, is_plain: false }),
        Value::Array(items) => Data::List(items.into_iter().map(from_json).collect()),
        Value::Object(fields) => Data::Map(fields.into_iter().map(|(key, value)| (key, from_json(value))).collect()),
    };
    Node::new(0, data)
}

fn parse_toml(text: &str) -> Result<Node, TreeError> {
    let document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| TreeError {
        line: e.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1),
        message: format!("it is no TOML: {}", e.message()),
    })?;
    Ok(from_table(document.as_table()))
}

fn from_table(table: &dyn TableLike) -> Node {
    let fields = table.iter().filter_map(|(key, item)| Some((key.to_owned(), from_item(item)?)));
    Node::new(0, Data::Map(fields.collect()))
}

fn from_item(item: &Item) -> Option<Node> {
    match item {
        Item::None => None,
        Item::Table(table) => Some(from_table(table)),
        Item::ArrayOfTables(tables) => {
            Some(Node::new(0, Data::List(tables.iter().map(|table| from_table(table)).collect())))
        }
        Item::Value(value) => Some(from_toml_value(value)),
    }
}

fn from_toml_value(value: &toml_edit::Value) -> Node {
    use toml_edit::Value;
    let data = match value {
        Value::String(text) => Data::Str(Text { text: text.value().clone(), is_plain: false }),
        Value::Integer(n) => Data::Int(*n.value()),
        Value::Float(x) if x.value().is_finite() => Data::Float(*x.value(), format!("{:?}", x.value())),
        Value::Float(x) => Data::Str(Text { text: x.value().to_string().to_lowercase(), is_plain: true }),
        Value::Boolean(b) => Data::Bool(*b.value()),
        Value::Datetime(time) => Data::Str(Text { text: time.value().to_string(), is_plain: true }),
        Value::Array(items) => Data::List(items.iter().map(from_toml_value).collect()),
        Value::InlineTable(table) => return from_table(table),
    };
    Node::new(0, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(node: &Node) -> String {
        match &node.data {
            Data::Null => "null".to_owned(),
            Data::Bool(b) => b.to_string(),
            Data::Int(n) => n.to_string(),
            Data::Float(_, text) => format!("{text}f"),
            Data::Str(Text { text, is_plain: true }) => text.clone(),
            Data::Str(Text { text, is_plain: false }) => format!("{text:?}"),
            Data::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
            Data::Map(fields) => {
                let fields: Vec<_> = fields.iter().map(|(key, node)| format!("{key}:{}", shown(node))).collect();
                format!("{{{}}}", fields.join(" "))
            }
        }
    }

    #[test]
    fn yaml_is_read_with_types_and_lines() {
        let text = "b: &x {seed: 7, lr: 1e-3, day: 2020-01-01}\na:\n  <<: *x\n  seed: 8\n  on: yes\n  z: ['1', ~, True, 010, .5]\n";
        let node = parse_yaml(text).unwrap();
        assert_eq!(shown(node.get("b").unwrap()), "{seed:7 lr:1e-3f day:2020-01-01}");
        assert_eq!(
            shown(node.get("a").unwrap()),
            "{seed:8 lr:1e-3f day:2020-01-01 on:yes z:[\"1\" null true 010 .5f]}"
        );
        assert_eq!(node.at(&["a", "z", "3"]).map(|node| node.line), Some(6));
        assert_eq!(parse_yaml("").unwrap().data, Data::Null);
    }

    #[test]
    fn json_and_toml_give_the_same_values() {
        let json = parse("p.json", r#"{"a": {"n": 1, "x": 0.5, "s": "t", "l": [true, null]}}"#).unwrap();
        assert_eq!(shown(&json), r#"{a:{l:[true null] n:1 s:"t" x:0.5f}}"#);
        let toml = parse("p.toml", "[a]\nn = 1\nx = 0.5\ns = 't'\nd = 2020-01-01\n[[a.t]]\nk = [1]\n").unwrap();
        assert_eq!(shown(&toml), r#"{a:{n:1 x:0.5f s:"t" d:2020-01-01 t:[{k:[1]}]}}"#);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line() {
        let line = |name: &str, text: &str| parse(name, text).unwrap_err().line;
        assert_eq!(line("p.yaml", "a: 1\nb: [1\n"), 3);
        assert_eq!(line("p.json", "{\n\"a\": }"), 2);
        assert_eq!(line("p.toml", "a = 1\nb =\n"), 2);
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(parse_yaml(&deep).unwrap_err().message, "it is nested too deep");
        let mut bomb = "a: &a [1,1,1,1,1,1,1,1,1]\n".to_owned();
        for pair in ["ab", "bc", "cd", "de", "ef", "fg", "gh"] {
            let (from, to) = pair.split_at(1);
            let aliases = vec![format!("*{from}"); 9].join(",");
            bomb.push_str(&format!("{to}: &{to} [{aliases}]\n"));
        }
        assert_eq!(parse_yaml(&bomb).unwrap_err().message, "it stands for too many values");
    }
}
