//! Reads the stages of a `dvc.yaml`: templates are written out, values put in place, paths made comparable. Looks at no
//! file but those of parameters, which it is handed.

use std::collections::BTreeSet;

use super::interpolate::{Context, Piece, as_python};
use super::notes::Notes;
use super::params::Files;
use super::paths::{self, Outside};
use super::tree::{Data, Node, Origin};

pub const DEFAULT_PARAMS: &str = "params.yaml";

/// One stage with everything in place.
#[derive(Debug)]
pub struct Stage {
    /// As DVC names it: `train@us`.
    pub name: String,
    pub line: usize,
    /// Commands, each with a shell of its own.
    pub commands: Vec<Vec<Piece>>,
    /// Relative to the folder of `dvc.yaml`, as all paths here.
    pub wdir: String,
    pub deps: Vec<Dep>,
    pub outs: Vec<Dep>,
    pub params: Vec<Params>,
    pub desc: Option<String>,
    /// Never done again: its outputs are taken as they are.
    pub is_frozen: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dep {
    pub path: String,
    pub line: usize,
    /// Written with a `/` behind it.
    pub says_folder: bool,
}

/// The parameters of one file that a stage depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    pub file: String,
    /// `None`: all of them.
    pub keys: Option<Vec<String>>,
    pub line: usize,
}

pub struct Reader<'a> {
    pub files: &'a mut Files,
    pub notes: &'a mut Notes,
    /// Values that decide where files stand, or how many stages there are: no parameters.
    pub fixed: BTreeSet<Origin>,
    stages: Vec<Stage>,
}

/// What DVC knows in a stage. Those with a text are left out, and the text says what that means.
const STAGE_KEYS: &[(&str, Option<&str>)] = &[
    ("cmd", None),
    ("wdir", None),
    ("deps", None),
    ("params", None),
    ("vars", None),
    ("outs", None),
    ("metrics", None),
    ("plots", None),
    ("desc", None),
    ("frozen", None),
    ("matrix", None),
    ("always_changed", None),
    ("meta", Some("`meta` is left out")),
];

impl<'a> Reader<'a> {
    pub fn new(files: &'a mut Files, notes: &'a mut Notes) -> Self {
        Self { files, notes, fixed: BTreeSet::new(), stages: Vec::new() }
    }

    /// Reads the whole file. Mistakes and what is left out are noted.
    pub fn read(mut self, root: &Node) -> (Vec<Stage>, BTreeSet<Origin>) {
        let Some(fields) = root.as_map() else {
            self.notes.mistake(root.line, "dvc.yaml", "it is no map with `stages`");
            return (Vec::new(), BTreeSet::new());
        };
        for (key, node) in fields {
            let why = match key.as_str() {
                "stages" | "vars" => continue,
                "metrics" | "params" => {
                    "names files for `dvc metrics` and `dvc params`; `mlp show` and `mlp why` look at the steps themselves"
                }
                "plots" => "says how `dvc plots` draws; what stages write is kept, nothing draws it",
                "artifacts" => "names models for a registry; a `release` does that: see docs/releases.md",
                "datasets" => "names versions of data elsewhere; bring them here and declare the files",
                _ => "is not known to DVC as this program knows it",
            };
            self.notes.tell(node.line, key, why);
        }
        let mut context = Context::new();
        if self.files.exists(DEFAULT_PARAMS)
            && let Some(values) = self.files.load(DEFAULT_PARAMS, 0, self.notes)
        {
            context.merge(&values);
        }
        self.vars(root.get("vars"), "vars", "", &mut context);
        match root.get("stages") {
            Some(Node { data: Data::Map(stages), .. }) if !stages.is_empty() => {
                for (name, definition) in stages {
                    self.definition(name, definition, &context);
                }
            }
            Some(Node { data: Data::Map(_) | Data::Null, line, .. }) => {
                self.notes.mistake(*line, "stages", "there are none");
            }
            Some(other) => self.notes.mistake(other.line, "stages", "it is no map of stages"),
            None => self.notes.mistake(root.line, "stages", "there are none"),
        }
        (self.stages, self.fixed)
    }

    /// Adds what `vars` says: files, parts of files (`params.yaml:train`) and values.
    fn vars(&mut self, vars: Option<&Node>, about: &str, wdir: &str, context: &mut Context) {
        let Some(vars) = vars else { return };
        let Data::List(items) = &vars.data else {
            self.notes.mistake(vars.line, about, "`vars` is no list");
            return;
        };
        for item in items {
            match &item.data {
                Data::Map(_) => context.merge(&item.clone().with_origin("dvc.yaml")),
                Data::Str(text) => {
                    let (file, keys) = match text.text.split_once(':') {
                        Some((file, keys)) => (file, Some(keys)),
                        None => (text.text.as_str(), None),
                    };
                    let Ok(path) = paths::join(wdir, file) else {
                        self.notes.mistake(item.line, about, format!("`{file}` is no file of the project"));
                        continue;
                    };
                    let Some(values) = self.files.load(&path, item.line, self.notes) else { continue };
                    for key in keys.map_or_else(Vec::new, |keys| keys.split(',').map(str::trim).collect()) {
                        match values.get(key) {
                            Some(node) => {
                                context.merge(&Node::new(item.line, Data::Map(vec![(key.to_owned(), node.clone())])));
                            }
                            None => self.notes.mistake(item.line, about, format!("`{path}` has no `{key}`")),
                        }
                    }
                    if keys.is_none() {
                        context.merge(&values);
                    }
                }
                _ => self.notes.mistake(item.line, about, "an item of `vars` is neither a file nor a map"),
            }
        }
    }

    /// Writes out `foreach` and `matrix`.
    fn definition(&mut self, name: &str, definition: &Node, context: &Context) {
        if let Some(items) = definition.get("foreach") {
            let Some(template) = definition.get("do") else {
                self.notes.mistake(definition.line, name, "`foreach` has no `do`");
                return;
            };
            let Some(items) = self.resolved(items, name, context) else { return };
            self.fixed.extend(Origin::of(&items));
            let rounds: Vec<(String, Node)> = match items.data {
                Data::Map(fields) => fields,
                Data::List(items) => {
                    let has_maps = items.iter().any(|item| !item.is_leaf());
                    let key = |i: usize, item: &Node| {
                        if has_maps { i.to_string() } else { as_python(item).unwrap_or_default() }
                    };
                    items.into_iter().enumerate().map(|(i, item)| (key(i, &item), item)).collect()
                }
                _ => {
                    self.notes.mistake(items.line, name, "`foreach` goes over a list or a map");
                    return;
                }
            };
            for (key, item) in rounds {
                let context = context.with("key", Node::str(item.line, key.clone())).with("item", item);
                self.stage(&format!("{name}@{key}"), template, &context);
            }
        } else if let Some(matrix) = definition.get("matrix") {
            for (key, item) in self.matrix(name, matrix, context) {
                let context = context.with("key", Node::str(item.line, key.clone())).with("item", item);
                self.stage(&format!("{name}@{key}"), definition, &context);
            }
        } else {
            self.stage(name, definition, context);
        }
    }

    /// Returns all combinations, each with its key: `cnn-f1`; a list or a map in it goes by its place.
    fn matrix(&mut self, name: &str, matrix: &Node, context: &Context) -> Vec<(String, Node)> {
        let Some(axes) = matrix.as_map() else {
            self.notes.mistake(matrix.line, name, "`matrix` is no map of lists");
            return Vec::new();
        };
        let mut rounds = vec![(Vec::<String>::new(), Vec::<(String, Node)>::new())];
        for (axis, values) in axes {
            let Some(Node { data: Data::List(values), .. }) = self.resolved(values, name, context) else {
                self.notes.mistake(values.line, name, format!("`{axis}` of the matrix is no list"));
                return Vec::new();
            };
            self.fixed.extend(values.iter().filter_map(Origin::of));
            let mut more = Vec::new();
            for (keys, fields) in &rounds {
                for (i, value) in values.iter().enumerate() {
                    let key = as_python(value).unwrap_or_else(|| format!("{axis}{i}"));
                    let (mut keys, mut fields) = (keys.clone(), fields.clone());
                    keys.push(key);
                    fields.push((axis.clone(), value.clone()));
                    more.push((keys, fields));
                }
            }
            rounds = more;
        }
        rounds.into_iter().map(|(keys, fields)| (keys.join("-"), Node::new(matrix.line, Data::Map(fields)))).collect()
    }

    /// Returns a value of `dvc.yaml` with `${..}` in it replaced.
    fn resolved(&mut self, node: &Node, name: &str, context: &Context) -> Option<Node> {
        let mut list = |items: Vec<(String, Node)>| -> Option<Vec<(String, Node)>> {
            items.into_iter().map(|(key, item)| Some((key, self.resolved(&item, name, context)?))).collect()
        };
        let data = match &node.data {
            Data::Map(fields) => Data::Map(list(fields.clone())?),
            Data::List(items) => {
                let items = items.iter().map(|item| (String::new(), item.clone())).collect();
                Data::List(list(items)?.into_iter().map(|(_, item)| item).collect())
            }
            Data::Str(text) => match context.value(&text.text) {
                Ok(Some(value)) => return Some(value.clone()),
                Ok(None) => return Some(Node::str(node.line, self.text(&text.text, node.line, name, context)?)),
                Err(problem) => {
                    self.notes.mistake(node.line, name, problem);
                    return None;
                }
            },
            other => other.clone(),
        };
        Some(Node { data, ..node.clone() })
    }

    /// Returns a text that decides about files. What goes into it can be no parameter.
    fn text(&mut self, text: &str, line: usize, name: &str, context: &Context) -> Option<String> {
        match context.text(text) {
            Ok((text, used)) => {
                self.fixed.extend(used.iter().filter_map(Origin::of));
                Some(text)
            }
            Err(problem) => {
                self.notes.mistake(line, name, problem);
                None
            }
        }
    }

    fn stage(&mut self, name: &str, definition: &Node, context: &Context) {
        let line = definition.line;
        let Some(fields) = definition.as_map() else {
            self.notes.mistake(line, name, "it is no map with a `cmd`");
            return;
        };
        for (key, node) in fields {
            match STAGE_KEYS.iter().find(|(known, _)| known == key) {
                Some((_, None)) => {}
                Some((_, Some(why))) => self.notes.tell(node.line, name, *why),
                None => self.notes.tell(node.line, name, format!("`{key}` is not known and is left out")),
            }
        }
        let wdir = match definition.get("wdir").map(|node| (node, node.as_str())) {
            None => String::new(),
            Some((node, text)) => {
                let Some(text) = text.and_then(|text| self.text(text, node.line, name, context)) else {
                    self.notes.mistake(node.line, name, "`wdir` is no path");
                    return;
                };
                match paths::join("", &text) {
                    Ok(wdir) => wdir,
                    Err(outside) => {
                        let what = outside.word();
                        self.notes.tell(node.line, name, format!("it is left out: its `wdir` is {what}, `{text}`"));
                        return;
                    }
                }
            }
        };
        let mut context = context.clone();
        self.vars(definition.get("vars"), name, &wdir, &mut context);
        let Some(commands) = self.commands(name, definition, &context) else { return };
        let mut stage = Stage {
            name: name.to_owned(),
            line,
            commands,
            deps: Vec::new(),
            outs: Vec::new(),
            params: self.params(name, definition.get("params"), &wdir, &context),
            desc: definition.get("desc").and_then(Node::as_str).map(str::to_owned),
            is_frozen: definition.get("frozen").is_some_and(|node| node.data == Data::Bool(true)),
            wdir,
        };
        if definition.get("always_changed").is_some_and(|node| node.data == Data::Bool(true)) {
            let why = "`always_changed` is left out: a step runs again when its inputs, parameters or command change; \
                       what it reads from elsewhere must become an input";
            self.notes.tell(line, name, why);
        }
        let mut is_left_out = false;
        for (list, is_out) in [("deps", false), ("outs", true), ("metrics", true), ("plots", true)] {
            for (text, line, details) in self.entries(name, list, definition.get(list)) {
                let Some(path) = self.text(&text, line, name, &context) else { continue };
                if is_out {
                    self.details(name, line, &path, details);
                }
                match paths::join(&stage.wdir, &path) {
                    Ok(joined) => {
                        let dep = Dep { path: joined, line, says_folder: path.ends_with('/') };
                        let into = if is_out { &mut stage.outs } else { &mut stage.deps };
                        if into.iter().all(|other| other.path != dep.path) {
                            into.push(dep);
                        }
                    }
                    Err(outside) => is_left_out |= self.outside(name, line, &path, is_out, outside),
                }
            }
        }
        if !is_left_out {
            self.stages.push(stage);
        }
    }

    /// Notes a file that is not in the project. Returns whether its stage cannot be carried over.
    fn outside(&mut self, name: &str, line: usize, path: &str, is_out: bool, outside: Outside) -> bool {
        let what = outside.word();
        let text = if is_out {
            format!("it is left out: its output `{path}` is {what}, and outputs stand in the step's folder")
        } else {
            format!(
                "its input `{path}` is {what}: it is left out, and changes of it are not seen; bring it here as a file"
            )
        };
        self.notes.tell(line, name, text);
        is_out
    }

    fn commands(&mut self, name: &str, definition: &Node, context: &Context) -> Option<Vec<Vec<Piece>>> {
        let Some(node) = definition.get("cmd") else {
            self.notes.mistake(definition.line, name, "it has no `cmd`");
            return None;
        };
        let lines: Vec<(usize, String)> = match &node.data {
            // As DVC does: each line has a shell of its own.
            Data::Str(text) => text.text.lines().map(|line| (node.line, line.to_owned())).collect(),
            Data::List(items) => items.iter().filter_map(|item| Some((item.line, item.as_str()?.to_owned()))).collect(),
            _ => Vec::new(),
        };
        let lines: Vec<_> = lines.into_iter().filter(|(_, text)| !text.trim().is_empty()).collect();
        if lines.is_empty() {
            self.notes.mistake(node.line, name, "its `cmd` is no command");
            return None;
        }
        let mut commands = Vec::new();
        for (line, text) in lines {
            match context.command(&text) {
                Ok(pieces) => {
                    let in_lists = pieces.iter().filter_map(|piece| match piece {
                        Piece::Value(node) | Piece::Word(node) | Piece::Flag(_, node) => Some(node),
                        Piece::Text(_) => None,
                    });
                    self.fixed.extend(in_lists.filter(|node| node.in_list.is_some()).filter_map(Origin::of));
                    commands.push(pieces);
                }
                Err(problem) => self.notes.mistake(line, name, problem),
            }
        }
        Some(commands)
    }

    /// Returns the entries of a list of files, each with what is said about it.
    fn entries<'n>(
        &mut self,
        name: &str,
        list: &str,
        node: Option<&'n Node>,
    ) -> Vec<(String, usize, Option<&'n Node>)> {
        let Some(node) = node else { return Vec::new() };
        let Data::List(items) = &node.data else {
            if node.data != Data::Null {
                self.notes.mistake(node.line, name, format!("`{list}` is no list"));
            }
            return Vec::new();
        };
        let mut entries = Vec::new();
        for item in items {
            match &item.data {
                Data::Str(text) => entries.push((text.text.clone(), item.line, None)),
                Data::Map(fields) => {
                    entries.extend(fields.iter().map(|(path, details)| (path.clone(), item.line, Some(details))));
                }
                _ => self.notes.mistake(item.line, name, format!("an entry of `{list}` is no path")),
            }
        }
        entries
    }

    /// Notes what is said about an output and has no meaning here.
    fn details(&mut self, name: &str, line: usize, path: &str, details: Option<&Node>) {
        let mut drawn = Vec::new();
        for (key, node) in details.and_then(Node::as_map).unwrap_or_default() {
            match key.as_str() {
                // Every output is kept in the store; the others are words for people, or about remote storage.
                "cache" | "desc" | "type" | "labels" | "meta" | "remote" | "push" => {}
                "persist" | "checkpoint" if node.data == Data::Bool(true) => {
                    let why = format!("`{key}` of `{path}` is left out: a step never sees what it made before");
                    self.notes.tell(line, name, why);
                }
                "persist" | "checkpoint" => {}
                other => drawn.push(format!("`{other}`")),
            }
        }
        if !drawn.is_empty() {
            self.notes.tell(line, name, format!("how `{path}` is drawn is left out: {}", drawn.join(", ")));
        }
    }

    fn params(&mut self, name: &str, node: Option<&Node>, wdir: &str, context: &Context) -> Vec<Params> {
        let mut found: Vec<Params> = Vec::new();
        for (text, line, details) in self.entries(name, "params", node) {
            let Some(text) = self.text(&text, line, name, context) else { continue };
            let (file, keys) = match details {
                None => (DEFAULT_PARAMS.to_owned(), Some(vec![text])),
                Some(Node { data: Data::Null, .. }) => (text, None),
                Some(Node { data: Data::List(keys), .. }) if keys.is_empty() => (text, None),
                Some(keys) => {
                    let keys = self.entries(name, "params", Some(keys));
                    let keys = keys.into_iter().filter_map(|(key, line, _)| self.text(&key, line, name, context));
                    (text, Some(keys.collect()))
                }
            };
            match paths::join(wdir, &file) {
                Ok(file) => match found.iter_mut().find(|params| params.file == file) {
                    Some(params) => match (&mut params.keys, keys) {
                        (Some(all), Some(keys)) => all.extend(keys),
                        (all, _) => *all = None,
                    },
                    None => found.push(Params { file, keys, line }),
                },
                Err(outside) => {
                    self.outside(name, line, &file, false, outside);
                }
            }
        }
        found
    }
}
