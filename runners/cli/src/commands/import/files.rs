//! What each stage reads and makes, as inputs and outputs of a step: other steps, files, texts of parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::implied::Programs;
use super::notes::Notes;
use super::params::{Files, Names};
use super::paths::is_within;
use super::stages::{DEFAULT_PARAMS, Dep, Params, Stage};
use super::tree::{self, Node};
use super::undeclared::{self, Search};

/// So many files at most stand for a folder that is not an input as a whole.
const MOST_FILES: usize = 1_000;

/// A stage with everything it needs.
#[derive(Debug)]
pub struct Step {
    pub stage: Stage,
    pub name: String,
    pub inputs: Vec<Input>,
    pub outputs: Vec<Output>,
    pub texts: Vec<Params>,
    /// It uses DVC from Python, which looks for the project that it is in.
    pub wants_dvc: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Input {
    /// Relative to the folder of `dvc.yaml`.
    pub path: String,
    pub from: From,
}

#[derive(Debug, PartialEq, Eq)]
pub enum From {
    File,
    Folder,
    Step { step: usize, output: usize },
}

#[derive(Debug)]
pub struct Output {
    pub name: String,
    pub path: String,
    pub is_folder: bool,
}

pub struct Options {
    /// Each step sees all parameters of its files.
    pub whole_params: bool,
}

/// Finds inputs and outputs. `root` is the folder of `dvc.yaml`.
pub fn steps(
    stages: Vec<Stage>,
    root: &Path,
    files: &mut Files,
    names: &mut Names,
    options: &Options,
    notes: &mut Notes,
) -> Vec<Step> {
    let lock = std::fs::read_to_string(root.join("dvc.lock")).ok().and_then(|text| tree::parse_yaml(&text).ok());
    let (frozen, stages): (Vec<_>, Vec<_>) = stages.into_iter().partition(|stage| stage.is_frozen);
    for stage in &frozen {
        notes.tell(stage.line, &stage.name, "it is frozen, so it is no step: what it made is taken as it is");
    }
    let all_deps: Vec<String> = stages.iter().flat_map(|stage| &stage.deps).map(|dep| dep.path.clone()).collect();
    let mut steps: Vec<Step> = Vec::new();
    for stage in stages {
        let mut own = Names::default();
        let outputs = stage.outs.iter().map(|out| {
            let is_folder = is_folder(out, &stage, root, lock.as_ref(), &all_deps, notes);
            Output { name: own.take(stem(&out.path)), path: out.path.clone(), is_folder }
        });
        let outputs = outputs.collect();
        let name = names.take(&stage.name);
        steps.push(Step { name, inputs: Vec::new(), outputs, texts: Vec::new(), wants_dvc: false, stage });
    }
    check_outputs(&steps, notes);
    let mut param_files: BTreeSet<String> =
        steps.iter().flat_map(|step| &step.stage.params).map(|params| params.file.clone()).collect();
    if files.exists(DEFAULT_PARAMS) {
        param_files.insert(DEFAULT_PARAMS.to_owned());
    }
    for i in 0..steps.len() {
        let mut finder = Finder { steps: &steps, step: i, root, inputs: Vec::new(), notes };
        let mut texts = finder.declared(&param_files);
        let mut inputs = finder.inputs;
        let wants_dvc = {
            let (param_files, inputs) = (&param_files, &mut inputs);
            Search { step: &steps[i], steps: &steps, root, param_files, inputs, notes }.in_programs()
        };
        if options.whole_params {
            texts.iter_mut().for_each(|params| params.keys = None);
            if files.exists(DEFAULT_PARAMS) && texts.iter().all(|params| params.file != DEFAULT_PARAMS) {
                texts.push(Params { file: DEFAULT_PARAMS.to_owned(), keys: None, line: 0 });
            }
        }
        complete(&steps[i].stage, root, &param_files, &inputs, &mut texts, files, notes);
        for params in &texts {
            if let Some(values) = values(params, &steps[i].stage.name, files, notes) {
                let (param_files, inputs) = (&param_files, &mut inputs);
                let mut search = Search { step: &steps[i], steps: &steps, root, param_files, inputs, notes };
                search.in_values(&values, &params.file);
            }
        }
        // A file within a folder comes with it.
        let folders: Vec<String> =
            inputs.iter().filter(|input| input.from == From::Folder).map(|input| input.path.clone()).collect();
        inputs.retain(|input| {
            let is_from_disk = matches!(input.from, From::File | From::Folder);
            !is_from_disk || !folders.iter().any(|folder| *folder != input.path && is_within(&input.path, folder))
        });
        (steps[i].inputs, steps[i].texts, steps[i].wants_dvc) = (inputs, texts, wants_dvc);
    }
    steps
}

/// Adds the parameters that the programs of a stage ask for although it does not declare them.
fn complete(
    stage: &Stage,
    root: &Path,
    param_files: &BTreeSet<String>,
    inputs: &[Input],
    texts: &mut Vec<Params>,
    files: &mut Files,
    notes: &mut Notes,
) {
    let commands: String = stage.commands.iter().map(|command| undeclared::plain(command) + "\n").collect();
    let programs = Programs::read(root, inputs, &commands);
    for file in param_files.iter().filter(|file| !file.ends_with(".py") && programs.name(file)) {
        let Some(all) = files.load(file, stage.line, notes) else { continue };
        let place = texts.iter().position(|params| params.file == *file).unwrap_or_else(|| {
            texts.push(Params { file: file.clone(), keys: Some(Vec::new()), line: stage.line });
            texts.len() - 1
        });
        let found = programs.complete(&mut texts[place], &all);
        if !found.is_empty() {
            let keys = found.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            let why = format!("its programs ask for {keys} of `{file}`, which it does not declare: it depends on them");
            notes.tell(stage.line, &stage.name, why);
        }
    }
    texts.retain(|params| params.keys.as_ref().is_none_or(|keys| !keys.is_empty()));
}

/// Returns the values of a file of parameters that a step sees.
pub fn values(params: &Params, step: &str, files: &mut Files, notes: &mut Notes) -> Option<Node> {
    let all = files.load(&params.file, params.line, notes)?;
    let Some(keys) = &params.keys else { return Some(all) };
    let mut paths: Vec<Vec<&str>> = Vec::new();
    for key in keys {
        let parts: Vec<&str> = key.split('.').collect();
        let path = if all.get(key).is_some() { vec![key.as_str()] } else { parts };
        match all.at(&path) {
            Some(_) => paths.push(path),
            None => notes.tell(params.line, step, format!("`{}` has no `{key}`: it is left out", params.file)),
        }
    }
    Some(select(&all, &paths.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}

/// Returns the values that the paths lead to, in their places. A list is taken as a whole.
fn select(node: &Node, paths: &[&[&str]]) -> Node {
    let Some(fields) = node.as_map().filter(|_| paths.iter().all(|path| !path.is_empty())) else { return node.clone() };
    let kept = fields.iter().filter_map(|(key, node)| {
        let below: Vec<&[&str]> = paths.iter().filter(|path| path[0] == key).map(|path| &path[1..]).collect();
        (!below.is_empty()).then(|| (key.clone(), select(node, &below)))
    });
    Node { data: tree::Data::Map(kept.collect()), ..node.clone() }
}

/// Returns a name for what stands at a path: `data/raw.csv` is `raw`.
pub fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.split_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}

/// DVC does not say whether an output is a file or a folder.
fn is_folder(out: &Dep, stage: &Stage, root: &Path, lock: Option<&Node>, deps: &[String], notes: &mut Notes) -> bool {
    if let Ok(found) = std::fs::metadata(root.join(&out.path)) {
        return found.is_dir();
    }
    let locked = lock.and_then(|lock| lock.at(&["stages", &stage.name, "outs"])).and_then(|outs| match &outs.data {
        tree::Data::List(outs) => outs.iter().find(|entry| {
            let path = entry.get("path").and_then(Node::as_str);
            path.is_some_and(|path| super::paths::join(&stage.wdir, path).is_ok_and(|path| path == out.path))
        }),
        _ => None,
    });
    if let Some(digest) = locked.and_then(|entry| entry.get("md5")).and_then(Node::as_str) {
        return digest.ends_with(".dir");
    }
    let holds_deps = deps.iter().any(|dep| *dep != out.path && is_within(dep, &out.path));
    if out.says_folder || holds_deps {
        return true;
    }
    if undeclared::is_written_by_shell(&out.path, stage) {
        return false;
    }
    let has_ending = out.path.rsplit('/').next().unwrap_or_default().trim_start_matches('.').contains('.');
    if !has_ending {
        let why = format!(
            "`{}` is taken for a folder, since its name has no ending; if it is a file, write `file`",
            out.path
        );
        notes.tell(out.line, &stage.name, why);
    }
    !has_ending
}

/// Two stages that make the same file would be in each other's way.
fn check_outputs(steps: &[Step], notes: &mut Notes) {
    let mut made: BTreeMap<&str, &str> = BTreeMap::new();
    for step in steps {
        for output in &step.outputs {
            if let Some(other) = made.insert(&output.path, &step.stage.name) {
                let text = format!("`{}` is made by `{other}`, too", output.path);
                notes.mistake(step.stage.line, &step.stage.name, text);
            }
        }
    }
}

struct Finder<'a> {
    steps: &'a [Step],
    step: usize,
    root: &'a Path,
    inputs: Vec<Input>,
    notes: &'a mut Notes,
}

impl Finder<'_> {
    fn push(&mut self, path: &str, from: From) {
        if self.inputs.iter().all(|input| input.path != path) {
            self.inputs.push(Input { path: path.to_owned(), from });
        }
    }

    /// Adds what the stage declares. Returns its parameters.
    fn declared(&mut self, param_files: &BTreeSet<String>) -> Vec<Params> {
        let stage = &self.steps[self.step].stage;
        let mut texts = stage.params.clone();
        for dep in &stage.deps {
            if param_files.contains(&dep.path) && !dep.path.ends_with(".py") {
                texts.retain(|params| params.file != dep.path);
                texts.push(Params { file: dep.path.clone(), keys: None, line: dep.line });
            } else {
                self.add(dep);
            }
        }
        let (programs, texts): (Vec<Params>, Vec<Params>) =
            texts.into_iter().partition(|params: &Params| params.file.ends_with(".py"));
        for params in programs {
            let why =
                format!("its parameters in `{}` are no parameters here: the file is an input as it is", params.file);
            self.notes.tell(params.line, &stage.name, why);
            self.add(&Dep { path: params.file, line: params.line, says_folder: false });
        }
        texts
    }

    fn add(&mut self, dep: &Dep) {
        // Made by a step, alone or with what is around it.
        if let Some((step, output, path)) = makers(self.steps).find(|(_, _, out)| is_within(&dep.path, out)) {
            if step == self.step {
                let text = format!("it depends on `{}`, which it makes itself", dep.path);
                self.notes.mistake(dep.line, &self.steps[step].stage.name, text);
            } else {
                self.push(path, From::Step { step, output });
            }
            return;
        }
        let within: Vec<_> = makers(self.steps).filter(|(_, _, out)| is_within(out, &dep.path)).collect();
        if within.is_empty() && !dep.path.is_empty() {
            match std::fs::metadata(self.root.join(&dep.path)) {
                Ok(found) if found.is_dir() => self.push(&dep.path, From::Folder),
                Ok(_) => self.push(&dep.path, From::File),
                Err(_) => self.missing(dep),
            }
            return;
        }
        // A folder in which steps write: what they make, and the files that are there anyway.
        for (step, output, path) in &within {
            if *step != self.step {
                self.push(path, From::Step { step: *step, output: *output });
            }
        }
        let mut found = Vec::new();
        list(self.root, &dep.path, &mut found);
        found.retain(|file| !within.iter().any(|(_, _, out)| is_within(file, out)));
        if found.len() > MOST_FILES {
            let text = format!("`{}` holds outputs of stages and more than {MOST_FILES} other files", dep.path);
            self.notes.mistake(dep.line, &self.steps[self.step].stage.name, text);
            return;
        }
        if !found.is_empty() {
            let text = format!(
                "`{}` holds outputs of stages, so the files in it are inputs one by one: a new file there is not seen",
                if dep.path.is_empty() { "." } else { &dep.path }
            );
            self.notes.tell(dep.line, &self.steps[self.step].stage.name, text);
        }
        found.iter().for_each(|file| self.push(file, From::File));
    }

    fn missing(&mut self, dep: &Dep) {
        let tracked = self.root.join(format!("{}.dvc", dep.path)).is_file();
        let way = if tracked { "; `dvc pull` brings it" } else { "" };
        let text = format!("its input `{}` is not there{way}", dep.path);
        self.notes.mistake(dep.line, &self.steps[self.step].stage.name, text);
    }
}

/// Returns every output: step, output, path.
pub fn makers(steps: &[Step]) -> impl Iterator<Item = (usize, usize, &str)> {
    steps.iter().enumerate().flat_map(|(i, step)| {
        step.outputs.iter().enumerate().map(move |(output, made)| (i, output, made.path.as_str()))
    })
}

/// Lists the files below a folder, without hidden ones and what tools leave.
pub fn list(root: &Path, folder: &str, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else { return };
    let mut names: Vec<(String, bool)> = entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.file_type().ok()?.is_dir())))
        .filter(|(name, _)| !name.starts_with('.') && name != "__pycache__" && !name.ends_with(".dvc"))
        .collect();
    names.sort();
    for (name, is_folder) in names {
        if found.len() > MOST_FILES {
            return;
        }
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if is_folder { list(root, &path, found) } else { found.push(path) }
    }
}
