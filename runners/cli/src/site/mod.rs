//! The reference of a workspace as plain HTML pages: its pipelines and modules, and the standard library.
//!
//! Pages are made from what files say and what their check found out, never from a store or a run; the same files give
//! the same bytes wherever they are. There is no script and nothing is loaded from elsewhere. Knows no disk: the command
//! brings texts and takes pages.

mod columns;
mod declared;
mod home;
mod library;
mod markdown;
mod page;
mod pipeline;

use std::collections::BTreeMap;
use std::path::PathBuf;

use mlp_dsl::reference::{self, Content, Reference, Used};
use mlp_dsl::{Checked, Facts};
use mlp_model::{Catalogue, Pipeline};

pub use page::Page;

/// The stylesheet, a page like any other to who writes them.
const STYLE: &str = include_str!("style.css");

/// A file of the workspace and what its check found.
pub struct Source {
    /// Relative to the workspace, with `/`.
    pub path: String,
    pub text: String,
    /// `None` for a module.
    pub checked: Option<Checked>,
    /// What is known of a file with mistakes.
    pub facts: Facts,
}

/// All that the pages are about.
pub struct Site<'a> {
    catalogue: &'a Catalogue,
    files: Vec<File<'a>>,
    library: Vec<Module>,
    /// Who calls an operation: page and name of the pipeline, each once.
    callers: BTreeMap<String, Vec<usize>>,
}

struct File<'a> {
    source: &'a Source,
    reference: Reference,
    page: String,
}

impl File<'_> {
    fn pipeline(&self) -> Option<&Pipeline> {
        self.source.checked.as_ref()?.pipeline.as_ref()
    }

    fn is_module(&self) -> bool {
        self.source.checked.is_none()
    }

    /// Returns how the file is called: as its pipeline, else as the file.
    fn title(&self) -> String {
        let declared = self.reference.declared.iter().find(|one| one.word == "pipeline");
        let named = declared.and_then(|one| one.name.clone());
        named.unwrap_or_else(|| {
            let name = self.source.path.rsplit('/').next().unwrap_or_default();
            name.trim_end_matches(".mlp").to_owned()
        })
    }
}

/// A module of the standard library.
struct Module {
    name: &'static str,
    reference: Reference,
    page: String,
}

impl<'a> Site<'a> {
    pub fn new(catalogue: &'a Catalogue, sources: &'a [Source]) -> Self {
        let files: Vec<File<'_>> = sources
            .iter()
            .map(|source| File {
                reference: reference::read(&source.text),
                page: format!("files/{}.html", source.path),
                source,
            })
            .collect();
        let library = catalogue
            .modules()
            .map(|(name, text)| Module { name, reference: reference::read(text), page: format!("std/{name}.html") })
            .collect();
        let mut callers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, file) in files.iter().enumerate() {
            for op in called(&file.reference.declared) {
                let callers = callers.entry(op.to_owned()).or_default();
                if callers.last() != Some(&at) {
                    callers.push(at);
                }
            }
        }
        Self { catalogue, files, library, callers }
    }

    /// Makes all pages.
    pub fn pages(&self) -> Vec<Page> {
        let mut pages = vec![home::page(self), Page { path: "style.css".to_owned(), text: STYLE.to_owned() }];
        pages.extend(self.files.iter().map(|file| pipeline::page(self, file)));
        pages.extend(self.catalogue.iter().map(|signature| library::operation(self, signature)));
        pages.extend(self.library.iter().map(|module| library::module(self, module)));
        pages
    }

    /// Returns where a name of a file leads to, as its author writes it: an operation, or what the file and the modules
    /// it uses declare.
    fn find(&self, reference: &Reference, page: &str, file: Option<&str>, name: &str) -> Option<Target> {
        if let Some(signature) = self.catalogue.get(name) {
            return Some(Target { page: library::page_of(signature.name), anchor: String::new() });
        }
        let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
        let is_there = |reference: &Reference, name: &str| {
            reference.declared.iter().any(|one| one.name.as_deref() == Some(name) && one.word != "pipeline")
        };
        let declared =
            reference.declared.iter().find(|one| one.name.as_deref() == Some(first) && one.word != "pipeline")?;
        let Content::Use(used) = &declared.content else {
            return Some(Target { page: page.to_owned(), anchor: first.to_owned() });
        };
        let (page, reference) = self.module(used, file)?;
        match rest.map(|rest| rest.split('.').next().unwrap_or_default()) {
            Some(name) if is_there(reference, name) => Some(Target { page: page.to_owned(), anchor: name.to_owned() }),
            Some(_) => None,
            None => Some(Target { page: page.to_owned(), anchor: String::new() }),
        }
    }

    /// Returns page and content of the module that a `use` of a file means.
    fn module(&self, used: &Used, file: Option<&str>) -> Option<(&str, &Reference)> {
        match used {
            Used::Standard(name) => {
                let module = self.library.iter().find(|module| module.name == name)?;
                Some((&module.page, &module.reference))
            }
            Used::File(path) => {
                let mut parts: Vec<&str> = file?.split('/').collect();
                parts.pop();
                for part in path.split('/') {
                    match part {
                        "." | "" => {}
                        ".." => _ = parts.pop()?,
                        part => parts.push(part),
                    }
                }
                let path = parts.join("/");
                let file = self.files.iter().find(|file| file.source.path == path)?;
                Some((&file.page, &file.reference))
            }
        }
    }
}

/// Where a link leads to.
struct Target {
    page: String,
    /// Empty for the page as a whole.
    anchor: String,
}

/// Returns what is called by declarations and those within them.
fn called(declared: &[reference::Declared]) -> Vec<&str> {
    let mut found = Vec::new();
    for one in declared {
        match &one.content {
            Content::Call { callee: Some(callee) } => found.push(callee.as_str()),
            Content::Def { calls, .. } => found.extend(calls.iter().map(String::as_str)),
            Content::Loop(body) => found.extend(called(body)),
            _ => {}
        }
    }
    found
}

/// Returns the folder of the workspace-relative path, for messages.
pub fn page_path(path: &str) -> PathBuf {
    path.split('/').collect()
}
