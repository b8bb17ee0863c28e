//! Parameters: the files they come from, their names and types in the pipeline, and how they are written there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::notes::Notes;
use super::tree::{self, Data, Node, Origin, Text};

/// The files of values, each read once.
pub struct Files {
    /// The folder of `dvc.yaml`.
    folder: PathBuf,
    read: BTreeMap<String, Option<Node>>,
}

impl Files {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, read: BTreeMap::new() }
    }

    pub fn exists(&self, path: &str) -> bool {
        self.folder.join(path).is_file()
    }

    /// Reads a file of values; what keeps it from being read is noted, once.
    pub fn load(&mut self, path: &str, line: usize, notes: &mut Notes) -> Option<Node> {
        if let Some(known) = self.read.get(path) {
            return known.clone();
        }
        let read = match std::fs::read_to_string(self.folder.join(path)) {
            Err(e) => Err(e.to_string()),
            Ok(text) => match tree::parse(path, &text) {
                Ok(node) if node.as_map().is_some() => Ok(node.with_origin(path)),
                Ok(Node { data: Data::Null, .. }) => Ok(Node::new(0, Data::Map(Vec::new()))),
                Ok(_) => Err("it is no map of values".to_owned()),
                Err(e) if e.line > 0 => Err(format!("line {}: {}", e.line, e.message)),
                Err(e) => Err(e.message),
            },
        };
        let read = read.map_err(|problem| notes.mistake(line, path, format!("cannot read it: {problem}"))).ok();
        self.read.insert(path.to_owned(), read.clone());
        read
    }
}

/// Types of values that can be a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Int,
    Float,
    Bool,
    Str,
}

/// A type, and whether there is a list of it.
pub fn kind(node: &Node) -> Option<(Kind, bool)> {
    match &node.data {
        Data::List(items) => {
            let kinds: Vec<Kind> = items.iter().map(|item| scalar_kind(item, true)).collect::<Option<_>>()?;
            let first = *kinds.first()?;
            let is_number = |kind: &Kind| matches!(kind, Kind::Int | Kind::Float);
            match kinds.iter().all(|kind| *kind == first) {
                true => Some((first, true)),
                false => kinds.iter().all(is_number).then_some((Kind::Float, true)),
            }
        }
        _ => Some((scalar_kind(node, false)?, false)),
    }
}

fn scalar_kind(node: &Node, in_list: bool) -> Option<Kind> {
    match &node.data {
        Data::Int(_) => Some(Kind::Int),
        Data::Float(..) => Some(Kind::Float),
        Data::Bool(_) => Some(Kind::Bool),
        // Quotes in the items of a list cannot be written around each of them.
        Data::Str(Text { text, is_plain }) => {
            let is_simple = !text.chars().any(|c| c.is_control() || matches!(c, '{' | '}'));
            let fits = !in_list || !text.contains(['\'', '"', '\\']) && !(*is_plain && is_odd(text));
            (is_simple && fits).then_some(Kind::Str)
        }
        Data::Null | Data::List(_) | Data::Map(_) => None,
    }
}

/// Whether some reader of YAML takes a text without quotes for something else: a date, `yes`, `0x10`.
pub fn is_odd(text: &str) -> bool {
    let is_word = ["y", "n", "yes", "no", "on", "off"].iter().any(|word| text.eq_ignore_ascii_case(word));
    is_word || text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | '='))
}

/// Names that are taken in the pipeline.
#[derive(Debug, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// Returns a name like the wished one that is free, and takes it.
    pub fn take(&mut self, wish: &str) -> String {
        let mut name: String = wish.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        while name.contains("__") {
            name = name.replace("__", "_");
        }
        let name = match name.trim_matches('_') {
            "" => "x".to_owned(),
            name if name.starts_with(|c: char| c.is_ascii_digit()) => format!("n{name}"),
            name => name.to_owned(),
        };
        let free = |name: &String| !self.0.contains(name) && !mlp_dsl::is_reserved(name);
        let name = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}_{n}"))).find(free);
        let name = name.unwrap_or_default();
        self.0.insert(name.clone());
        name
    }

    fn is_free(&self, name: &str) -> bool {
        !self.0.contains(name) && !mlp_dsl::is_reserved(name)
    }
}

/// What the pipeline declares of values.
pub struct Parameters {
    pub names: Names,
    fixed: BTreeSet<Origin>,
    known: BTreeMap<Origin, Parameter>,
}

struct Parameter {
    name: String,
    default: Node,
    kind: (Kind, bool),
}

impl Parameters {
    pub fn new(names: Names, fixed: BTreeSet<Origin>) -> Self {
        Self { names, fixed, known: BTreeMap::new() }
    }

    /// Returns the name and the type under which the pipeline has a value; `None` where it must stand as it is.
    pub fn refer(&mut self, node: &Node, notes: &mut Notes) -> Option<(String, (Kind, bool))> {
        let origin = node.origin.clone().filter(|_| node.in_list.is_none())?;
        let shown = format!("{}:{}", origin.file, origin.keys.join("."));
        if self.fixed.contains(&origin) {
            let why = "it decides where files stand or which steps there are, so it is written out and is no parameter";
            notes.tell(0, &shown, why);
            return None;
        }
        let Some(kind) = kind(node) else {
            if !matches!(&node.data, Data::Map(_)) {
                notes.tell(
                    0,
                    &shown,
                    "it is of no type that a parameter has, and is written out: change it in the pipeline",
                );
            }
            return None;
        };
        if let Some(known) = self.known.get(&origin) {
            return Some((known.name.clone(), known.kind));
        }
        let wish = origin.keys.join("_");
        let stem = origin.file.rsplit('/').next().unwrap_or_default().split('.').next().unwrap_or_default();
        let wish = if self.names.is_free(&wish) { wish } else { format!("{stem}_{wish}") };
        let name = self.names.take(&wish);
        self.known.insert(origin, Parameter { name: name.clone(), default: node.clone(), kind });
        Some((name, kind))
    }

    /// Returns the declarations, those of a file together.
    pub fn declarations(&self) -> String {
        let mut text = String::new();
        let mut file = "";
        for (origin, parameter) in &self.known {
            if origin.file != file {
                file = &origin.file;
                text.push_str(&format!("\n// {file}\n"));
            }
            let Parameter { name, default, kind } = parameter;
            let value = literal(default);
            match file {
                "dvc.yaml" => text.push_str(&format!("let {name} = {value}\n")),
                _ => text.push_str(&format!("param {name}: {} = {value}\n", type_name(*kind))),
            }
        }
        text
    }

    pub fn n_params(&self) -> usize {
        self.known.keys().filter(|origin| origin.file != "dvc.yaml").count()
    }
}

fn type_name((kind, is_list): (Kind, bool)) -> String {
    let word = match kind {
        Kind::Int => "int",
        Kind::Float => "float",
        Kind::Bool => "bool",
        Kind::Str => "str",
    };
    if is_list { format!("list({word})") } else { word.to_owned() }
}

/// Writes a value as the language does.
fn literal(node: &Node) -> String {
    match &node.data {
        Data::Int(n) => n.to_string(),
        Data::Float(x, _) => format!("{x:?}"),
        Data::Bool(b) => b.to_string(),
        Data::Str(text) => quoted(&text.text),
        Data::List(items) => {
            let has_floats = items.iter().any(|item| matches!(item.data, Data::Float(..)));
            let item = |node: &Node| match &node.data {
                Data::Int(n) if has_floats => format!("{:?}", *n as f64),
                _ => literal(node),
            };
            format!("[{}]", items.iter().map(item).collect::<Vec<_>>().join(", "))
        }
        Data::Null | Data::Map(_) => "none".to_owned(),
    }
}

/// Writes a string of the language on one line.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{{{:X}}}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::tree::parse_yaml;
    use super::*;

    #[test]
    fn values_have_the_type_that_they_are_written_in() {
        let text = "i: -3\nf: 1e-3\nb: True\ns: a'b\nn: [1, 2]\nm: [1, 0.5]\nt: [a, b]\nq: [a'b]\nnone: ~\nempty: []\nmixed: [1, a]\nmap: {a: 1}\nday: [2020-01-01]\n";
        let node = parse_yaml(text).unwrap().with_origin("params.yaml");
        let mut parameters = Parameters::new(Names::default(), BTreeSet::new());
        let mut notes = Notes::default();
        for (_, value) in node.as_map().unwrap() {
            parameters.refer(value, &mut notes);
        }
        let expected = "\n// params.yaml\nparam b: bool = true\nparam f: float = 0.001\nparam i: int = -3\n\
                        param m: list(float) = [1.0, 0.5]\nparam n: list(int) = [1, 2]\nparam s: str = \"a'b\"\n\
                        param t: list(str) = [\"a\", \"b\"]\n";
        assert_eq!(parameters.declarations(), expected);
        let told: Vec<_> = notes.told.iter().map(|note| note.about.as_str()).collect();
        assert_eq!(told, ["q", "none", "empty", "mixed", "day"].map(|key| format!("params.yaml:{key}")));
    }

    #[test]
    fn names_are_free_and_no_words_of_the_language() {
        let mut names = Names::default();
        let taken = ["a-b", "a.b", "1st", "step", "", "__", "train@us"].map(|wish| names.take(wish));
        assert_eq!(taken, ["a_b", "a_b_2", "n1st", "step_2", "x", "x_2", "train_us"]);
    }
}
