//! Reads a pipeline's file and the modules it uses, each once, and parses them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use mlp_model::{SourceText, Span};

use super::CheckInput;
use super::order::sort;
use crate::ast::{DeclKind, File, ModuleRef, UseDecl};
use crate::diagnostic::Diagnostic;
use crate::outline::{self, Outline};
use crate::parse;
use crate::shelf::Shelf;
use crate::suggest::{self, listed};
use crate::world::WorldError;

/// A file and its tree; number 0 is the pipeline.
#[derive(Clone)]
pub struct Unit<'a> {
    pub path: PathBuf,
    pub text: &'a str,
    pub outline: &'a Outline<'a>,
    pub tree: &'a File<'a>,
    /// By `use` declaration, in order: the file it means, unless it cannot be read.
    pub modules: Vec<Option<usize>>,
}

impl<'a> Unit<'a> {
    /// The pipeline's own file.
    pub fn root(input: &CheckInput<'_>, text: &'a str, outline: &'a Outline<'a>, tree: &'a File<'a>) -> Self {
        Self { path: input.file.to_owned(), text, outline, tree, modules: Vec::new() }
    }
}

/// Loads all modules of a pipeline whose own file is parsed already.
pub fn load<'a>(
    input: &CheckInput<'a>,
    root: Unit<'a>,
    texts: &'a Shelf<String>,
    outlines: &'a Shelf<Outline<'a>>,
    trees: &'a Shelf<File<'a>>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Unit<'a>> {
    let parse = |source: usize, path: PathBuf, text: &'a str, diagnostics: &mut Vec<Diagnostic>| {
        let outline = outlines.put(outline::cut(source, text, diagnostics));
        let tree = trees.put(parse::parse_file(source, outline, diagnostics));
        Unit { path, text, outline, tree, modules: Vec::new() }
    };
    let mut units = vec![root];
    let mut known = HashMap::from([(plain(input.file), 0)]);
    let mut at = 0;
    while let Some(unit) = units.get(at) {
        let (tree, here) = (unit.tree, unit.path.clone());
        for decl in uses(tree) {
            let Some((path, span)) = place_of(&decl.module, &here) else {
                units[at].modules.push(None);
                continue;
            };
            if let Some(module) = known.get(&path) {
                units[at].modules.push(Some(*module));
                continue;
            }
            let module = match read(input, &decl.module, &path, span) {
                Ok(text) => {
                    let text = match text {
                        Cow::Borrowed(text) => text,
                        Cow::Owned(text) => texts.put(text).as_str(),
                    };
                    let source = units.len();
                    units.push(parse(source, path.clone(), text, diagnostics));
                    known.insert(path, source);
                    Some(source)
                }
                Err(problem) => {
                    diagnostics.push(problem);
                    None
                }
            };
            units[at].modules.push(module);
        }
        at += 1;
    }
    refuse_circles(&units, diagnostics);
    units
}

/// Returns the texts that spans refer to.
pub fn sources(units: &[Unit<'_>]) -> Vec<SourceText> {
    units.iter().map(|unit| SourceText { path: unit.path.clone(), text: unit.text.to_owned() }).collect()
}

pub fn uses<'a>(tree: &'a File<'a>) -> impl Iterator<Item = &'a UseDecl<'a>> {
    tree.decls.iter().filter_map(|decl| match &decl.kind {
        DeclKind::Use(decl) => Some(decl),
        _ => None,
    })
}

fn place_of(module: &ModuleRef<'_>, from: &Path) -> Option<(PathBuf, Span)> {
    match module {
        ModuleRef::File(text) => {
            let folder = from.parent().unwrap_or(Path::new(""));
            Some((plain(&folder.join(text.value.as_ref())), text.span))
        }
        ModuleRef::Standard(name) => Some((PathBuf::from(format!("{}.mlp", name.text.replace('.', "/"))), name.span)),
        ModuleRef::Wrong => None,
    }
}

fn read<'a>(
    input: &CheckInput<'a>,
    module: &ModuleRef<'_>,
    path: &Path,
    span: Span,
) -> Result<Cow<'a, str>, Diagnostic> {
    let text = match module {
        ModuleRef::Standard(name) => {
            let known = || input.catalogue.modules().map(|(name, _)| name);
            let found = name.text.strip_prefix("std.").and_then(|name| input.catalogue.module(name));
            return found.map(Cow::Borrowed).ok_or_else(|| {
                let mut names: Vec<String> = known().map(|name| format!("std.{name}")).collect();
                names.sort();
                let listed = listed(names.iter().map(String::as_str), "and");
                Diagnostic::error("E0221", format!("there is no module `{}`", name.text))
                    .at(span, format!("the modules that come with mlp are {listed}"))
                    .help("a module of your own is a path in quotes: `use \"lib/features.mlp\" as features`")
                    .maybe_help(suggest::help(name.text, names.iter().map(String::as_str)))
            });
        }
        ModuleRef::File(text) => text.value.as_ref(),
        ModuleRef::Wrong => "",
    };
    let problem = match input.world.read(path) {
        Ok(text) => return Ok(Cow::Owned(text)),
        Err(WorldError::NotFound) => "file not found".to_owned(),
        Err(WorldError::Other(reason)) => reason,
        Err(WorldError::NotUtf8 { offset }) => format!("byte {offset} is not UTF-8"),
    };
    Err(Diagnostic::error("E0221", format!("cannot read module `{text}`: {problem}"))
        .at(span, "")
        .help("paths are relative to the folder of the file that writes them"))
}

fn refuse_circles(units: &[Unit<'_>], diagnostics: &mut Vec<Diagnostic>) {
    let edges: Vec<Vec<(usize, Span)>> = units
        .iter()
        .map(|unit| {
            let uses = uses(unit.tree).zip(&unit.modules);
            uses.filter_map(|(decl, module)| Some(((*module)?, decl.name.span))).collect()
        })
        .collect();
    let shown = |unit: usize| {
        let name = units[unit].path.file_name().map(|name| name.to_string_lossy().into_owned());
        format!("`{}`", name.unwrap_or_default())
    };
    sort(
        &edges,
        |edge| edge.0,
        |circle| {
            let mut chain: Vec<_> = circle.iter().map(|(unit, _)| shown(*unit)).collect();
            chain.extend(chain.first().cloned());
            let mut problem = Diagnostic::error("E0222", format!("modules use each other: {}", chain.join(" -> ")))
                .help("move what both need into a module of its own");
            for (i, (unit, (to, span))) in circle.iter().enumerate() {
                let text = format!("{} uses {}", shown(*unit), shown(*to));
                problem = if i == 0 { problem.at(*span, text) } else { problem.and(*span, text) };
            }
            diagnostics.push(problem);
        },
    );
}

/// Writes a path without `.` and, where that can be, without `..`: the same file, the same path.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
