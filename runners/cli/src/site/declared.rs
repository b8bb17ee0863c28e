//! Declarations on a page: what pipelines and modules have in common.

use mlp_dsl::reference::{Content, Declared, Param, Reference, Used};

use super::page::{Writer, block, code};
use super::{Site, Target, columns, markdown};
use crate::picture::escaped;

/// Where declarations stand: names are looked up from there.
pub struct Place<'s> {
    pub site: &'s Site<'s>,
    pub reference: &'s Reference,
    pub page: &'s str,
    /// The file's path, where it is one of the workspace.
    pub file: Option<&'s str>,
}

impl Place<'_> {
    pub fn find(&self, name: &str) -> Option<Target> {
        self.site.find(self.reference, self.page, self.file, name)
    }

    /// Returns a name as code, linked where it leads somewhere.
    pub fn name(&self, writer: &Writer, name: &str) -> String {
        match self.find(name) {
            Some(target) => writer.link(&target, &code(name)),
            None => code(name),
        }
    }

    pub fn doc(&self, writer: &mut Writer, doc: &str) {
        if !doc.is_empty() {
            let find = |name: &str| self.find(name).map(|target| writer.address(&target));
            let html = markdown::to_html(doc, &find);
            writer.html(html.trim_end());
        }
    }

    /// Adds the modules that the file uses.
    pub fn uses(&self, writer: &mut Writer) {
        let uses: Vec<_> = self
            .reference
            .declared
            .iter()
            .filter_map(|one| match &one.content {
                Content::Use(used) => {
                    let written = match used {
                        Used::File(path) => path.clone(),
                        Used::Standard(name) => format!("std.{name}"),
                    };
                    let name = one.name.clone().unwrap_or_default();
                    let module =
                        self.find(&name).map_or_else(|| code(&written), |to| writer.link(&to, &code(&written)));
                    Some(vec![format!("<span id=\"{0}\">{1}</span>", escaped(&name), code(&name)), module])
                }
                _ => None,
            })
            .collect();
        if !uses.is_empty() {
            writer.heading(2, "section-uses", "Uses").table(&["as", "module"], &uses);
        }
    }

    /// Adds parameters and named values.
    pub fn values(&self, writer: &mut Writer) {
        let params: Vec<_> = self
            .reference
            .declared
            .iter()
            .filter_map(|one| match &one.content {
                Content::Param(param) => Some(self.param(writer, param, Some(&one.doc))),
                _ => None,
            })
            .collect();
        if !params.is_empty() {
            writer.heading(2, "section-parameters", "Parameters").table(&PARAM_HEAD, &params);
        }
        let lets: Vec<&Declared> = self.reference.declared.iter().filter(|one| one.word == "let").collect();
        if !lets.is_empty() {
            writer.heading(2, "section-values", "Named values");
            lets.into_iter().for_each(|one| self.written(writer, one));
        }
    }

    fn param(&self, writer: &Writer, param: &Param, doc: Option<&str>) -> Vec<String> {
        let name = code(&param.name);
        let name = if doc.is_some() { format!("<span id=\"{}\">{name}</span>", escaped(&param.name)) } else { name };
        let default = param.default.as_deref().map_or_else(|| "<em>must be given</em>".to_owned(), code);
        let find = |name: &str| self.find(name).map(|target| writer.address(&target));
        let doc = doc.map(|doc| markdown::to_html(doc, &find)).unwrap_or_default();
        vec![name, code(&param.ty), default, columns::list(&param.rules), doc.trim_end().to_owned()]
    }

    pub fn schemas(&self, writer: &mut Writer) {
        let mut is_first = true;
        for one in &self.reference.declared {
            let Content::Schema { open, columns } = &one.content else { continue };
            if std::mem::take(&mut is_first) {
                writer.heading(2, "section-schemas", "Schemas");
            }
            let name = one.name.as_deref().unwrap_or_default();
            writer.heading(3, name, &format!("schema {}", code(name)));
            self.doc(writer, &one.doc);
            columns::declared(writer, columns);
            if *open {
                writer.text("p", "Open: further columns pass, typed as found.");
            }
        }
    }

    pub fn defs(&self, writer: &mut Writer) {
        let mut is_first = true;
        for one in &self.reference.declared {
            let Content::Def { params, results, calls } = &one.content else { continue };
            if std::mem::take(&mut is_first) {
                writer.heading(2, "section-defs", "Defs");
            }
            let name = one.name.as_deref().unwrap_or_default();
            writer.heading(3, name, &format!("def {}", code(name)));
            if !calls.is_empty() {
                let calls: Vec<String> = calls.iter().map(|name| self.name(writer, name)).collect();
                writer.html(format!("<p class=\"calls\">calls {}</p>", calls.join(", ")));
            }
            self.doc(writer, &one.doc);
            let rows: Vec<_> = params.iter().map(|param| self.param(writer, param, None)).collect();
            writer.table(&PARAM_HEAD, &rows);
            if !results.is_empty() {
                writer.html(format!("<p class=\"gives\">gives {}</p>", columns::list(results)));
            }
            writer.html(format!("<details><summary>its text</summary>\n{}</details>", block(&one.text)));
        }
    }

    /// Adds a declaration whose text says all.
    pub fn written(&self, writer: &mut Writer, one: &Declared) {
        let name = one.name.as_deref().unwrap_or_default();
        writer.html(format!("<div id=\"{}\">", escaped(name)));
        self.doc(writer, &one.doc);
        writer.html(block(&one.text)).html("</div>");
    }
}

const PARAM_HEAD: [&str; 5] = ["name", "type", "default", "rules", "about"];
