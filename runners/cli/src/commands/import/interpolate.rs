//! `${..}` in the texts of a DVC project: finds the values, and keeps them apart from the text around them. Unaware of
//! what a text is for.

use super::tree::{Data, Node};

/// Values by their keys; what is said later covers what was said before.
#[derive(Debug, Clone)]
pub struct Context {
    root: Node,
}

/// A part of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Text(String),
    /// A value as it stands.
    Value(Node),
    /// A text as one word of the shell.
    Word(Node),
    /// `--name` if the value is true.
    Flag(String, Node),
}

impl Context {
    pub fn new() -> Self {
        Self { root: Node::new(0, Data::Map(Vec::new())) }
    }

    /// Adds the fields of a map; maps within are merged.
    pub fn merge(&mut self, map: &Node) {
        merge(&mut self.root, map);
    }

    /// Returns the same with one value more.
    pub fn with(&self, name: &str, node: Node) -> Self {
        let mut context = self.clone();
        if let Data::Map(fields) = &mut context.root.data {
            fields.retain(|(key, _)| key != name);
            fields.push((name.to_owned(), node));
        }
        context
    }

    fn find(&self, expression: &str) -> Result<&Node, String> {
        let path = expression.trim().replace('[', ".").replace(']', "");
        let keys: Vec<&str> = path.split('.').map(str::trim).collect();
        self.root.at(&keys).ok_or_else(|| {
            let found = (1..keys.len()).rev().find_map(|n| Some((keys[..n].join("."), self.root.at(&keys[..n])?)));
            let there = match found {
                Some((path, Node { data: Data::Map(fields), .. })) => format!("`{path}` has {}", listed(fields)),
                Some((path, _)) => format!("`{path}` has nothing below it"),
                None => match self.root.as_map() {
                    Some(fields) if !fields.is_empty() => format!("there are {}", listed(fields)),
                    _ => "there are no values at all".to_owned(),
                },
            };
            format!("`${{{}}}` is not known; {there}", expression.trim())
        })
    }

    /// Returns the value if the text is nothing but one `${..}`.
    pub fn value(&self, text: &str) -> Result<Option<&Node>, String> {
        match split(text).as_slice() {
            [Part::Value(expression)] => self.find(expression).map(Some),
            _ => Ok(None),
        }
    }

    /// Returns a text with its values in place, and those that went into it.
    pub fn text(&self, text: &str) -> Result<(String, Vec<Node>), String> {
        let (mut written, mut used) = (String::new(), Vec::new());
        for part in split(text) {
            match part {
                Part::Text(text) => written.push_str(&text),
                Part::Value(expression) => {
                    let node = self.find(&expression)?;
                    let plain = as_python(node).ok_or_else(|| {
                        format!("`${{{expression}}}` is a list or a map, and stands within a text that is no command")
                    })?;
                    written.push_str(&plain);
                    used.push(node.clone());
                }
            }
        }
        Ok((written, used))
    }

    /// Returns the parts of a command. A map becomes options: `--lr 0.1 --verbose`.
    pub fn command(&self, text: &str) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        for part in split(text) {
            match part {
                Part::Text(text) => pieces.push(Piece::Text(text)),
                Part::Value(expression) => match self.find(&expression)? {
                    node if node.is_leaf() => pieces.push(Piece::Value(node.clone())),
                    node if node.as_map().is_some() => options(node, "", &mut pieces)?,
                    _ => return Err(format!("`${{{expression}}}` is a list, which DVC does not write into a command")),
                },
            }
        }
        Ok(pieces)
    }
}

fn merge(into: &mut Node, from: &Node) {
    let (Data::Map(fields), Data::Map(more)) = (&mut into.data, &from.data) else {
        *into = from.clone();
        return;
    };
    for (key, node) in more {
        match fields.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => merge(old, node),
            None => fields.push((key.clone(), node.clone())),
        }
    }
}

fn listed(fields: &[(String, Node)]) -> String {
    let names: Vec<_> = fields.iter().take(8).map(|(name, _)| format!("`{name}`")).collect();
    let more = if fields.len() > names.len() { ", .." } else { "" };
    format!("{}{more}", names.join(", "))
}

enum Part {
    Text(String),
    Value(String),
}

/// Cuts a text at `${..}`; `\${` stands for `${`.
fn split(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut before = String::new();
    let mut rest = text;
    while let Some(place) = rest.find("${") {
        let (head, tail) = rest.split_at(place);
        if let Some(head) = head.strip_suffix('\\') {
            before.push_str(head);
            before.push_str("${");
            rest = &tail[2..];
        } else if let Some((expression, after)) = tail[2..].split_once('}') {
            before.push_str(head);
            if !before.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut before)));
            }
            parts.push(Part::Value(expression.to_owned()));
            rest = after;
        } else {
            break;
        }
    }
    before.push_str(rest);
    if !before.is_empty() {
        parts.push(Part::Text(before));
    }
    parts
}

/// Writes a scalar as DVC does in a text.
pub fn as_python(node: &Node) -> Option<String> {
    match &node.data {
        Data::Null => Some("None".to_owned()),
        Data::Bool(b) => Some(b.to_string()),
        Data::Int(n) => Some(n.to_string()),
        Data::Float(x, _) => Some(format!("{x:?}")),
        Data::Str(text) => Some(text.text.clone()),
        Data::List(_) | Data::Map(_) => None,
    }
}

/// Writes a map as options of a program, names of nested ones with dots.
fn options(node: &Node, above: &str, pieces: &mut Vec<Piece>) -> Result<(), String> {
    let blank = |pieces: &mut Vec<Piece>, text: String| {
        let gap = if matches!(pieces.last(), None | Some(Piece::Text(_))) { "" } else { " " };
        pieces.push(Piece::Text(format!("{gap}{text}")));
    };
    let scalar = |node: &Node| match &node.data {
        Data::Str(_) => Piece::Word(node.clone()),
        _ => Piece::Value(node.clone()),
    };
    for (key, node) in node.as_map().unwrap_or_default() {
        let name = format!("{above}{key}");
        match &node.data {
            Data::Map(_) => options(node, &format!("{name}."), pieces)?,
            Data::Bool(_) => {
                blank(pieces, String::new());
                pieces.push(Piece::Flag(format!("--{name}"), node.clone()));
            }
            Data::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    if !item.is_leaf() {
                        return Err(format!(
                            "`{name}` is a list of lists or maps, which DVC does not write as an option"
                        ));
                    }
                    blank(pieces, if i == 0 { format!("--{name} ") } else { String::new() });
                    pieces.push(scalar(item));
                }
            }
            _ => {
                blank(pieces, format!("--{name} "));
                pieces.push(scalar(node));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tree::parse_yaml;
    use super::*;

    fn context() -> Context {
        let mut context = Context::new();
        let text = "train: {lr: 0.1, name: a b, on: true, off: false, sizes: [1, 2], deep: {n: 3}}\nlist: [x, y]\n";
        context.merge(&parse_yaml(text).unwrap());
        context
    }

    fn command(text: &str) -> Result<String, String> {
        let shown = context().command(text)?.into_iter().map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Value(node) => format!("<{}>", as_python(&node).unwrap()),
            Piece::Word(node) => format!("<'{}'>", as_python(&node).unwrap()),
            Piece::Flag(flag, node) => format!("<{flag} {}>", as_python(&node).unwrap()),
        });
        Ok(shown.collect())
    }

    #[test]
    fn values_stand_apart_from_the_text_around_them() {
        let cases = [
            ("fit --lr ${train.lr}", "fit --lr <0.1>"),
            ("${ train.lr }${list[1]}", "<0.1><y>"),
            (r"echo \${HOME} $HOME ${list.0}", "echo ${HOME} $HOME <x>"),
            (
                "fit ${train} x",
                "fit --lr <0.1> --name <'a b'> <--on true> <--off false> --sizes <1> <2> --deep.n <3> x",
            ),
            ("open ${", "open ${"),
        ];
        for (text, expected) in cases {
            assert_eq!(command(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_value_that_is_not_there_is_told_with_those_that_are() {
        let cases = [
            ("${nope}", "`${nope}` is not known; there are `train`, `list`"),
            ("${train.l}", "`${train.l}` is not known; `train` has `lr`, `name`, `on`, `off`, `sizes`, `deep`"),
            ("${train.lr.x}", "`${train.lr.x}` is not known; `train.lr` has nothing below it"),
            ("${list}", "`${list}` is a list, which DVC does not write into a command"),
        ];
        for (text, expected) in cases {
            assert_eq!(command(text), Err(expected.to_owned()), "{text}");
        }
        assert_eq!(context().text("a/${list[0]}.csv").unwrap().0, "a/x.csv");
        assert!(context().text("a/${train}").is_err());
        assert!(context().value("${train}").unwrap().is_some() && context().value("a${list.0}").unwrap().is_none());
    }
}
