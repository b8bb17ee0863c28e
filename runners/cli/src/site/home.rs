//! The first page: all others.

use std::collections::BTreeMap;

use mlp_dsl::reference::Content;

use super::declared::Place;
use super::page::{Page, Writer, code};
use super::{File, Site, Target, library, markdown};
use crate::picture::escaped;

pub fn page(site: &Site<'_>) -> Page {
    let mut writer = Writer::new("index.html");
    writer.html("<h1>Reference</h1>");
    files(site, &mut writer, "section-pipelines", "Pipelines", &|file| !file.is_module());
    files(site, &mut writer, "section-modules", "Modules", &|file| file.is_module());

    writer.heading(2, "section-operations", "Operations");
    let mut families: BTreeMap<&str, Vec<Vec<String>>> = BTreeMap::new();
    for signature in site.catalogue.iter() {
        let family = signature.name.split('.').next().unwrap_or_default();
        let target = Target { page: library::page_of(signature.name), anchor: String::new() };
        let row = vec![writer.link(&target, &code(signature.name)), sentence(signature.doc)];
        families.entry(family).or_default().push(row);
    }
    let rows: Vec<_> = families.into_values().flatten().collect();
    writer.table(&["operation", "about"], &rows);

    let rows: Vec<_> = site
        .library
        .iter()
        .map(|module| {
            let target = Target { page: module.page.clone(), anchor: String::new() };
            vec![writer.link(&target, &code(&format!("std.{}", module.name))), sentence(&module.reference.doc)]
        })
        .collect();
    if !rows.is_empty() {
        writer.heading(2, "section-library", "Modules of the standard library").table(&["module", "about"], &rows);
    }
    writer.finish("Reference")
}

fn files(site: &Site<'_>, writer: &mut Writer, id: &str, title: &str, wanted: &dyn Fn(&File<'_>) -> bool) {
    let rows: Vec<_> = site
        .files
        .iter()
        .filter(|file| wanted(file))
        .map(|file| {
            let target = Target { page: file.page.clone(), anchor: String::new() };
            let declared: Vec<String> = file
                .reference
                .declared
                .iter()
                .filter(|one| matches!(one.content, Content::Def { .. } | Content::Schema { .. }) && file.is_module())
                .filter_map(|one| one.name.as_deref().map(code))
                .collect();
            let place = Place { site, reference: &file.reference, page: &file.page, file: Some(&file.source.path) };
            let own = |one: &&mlp_dsl::reference::Declared| one.word == "pipeline" && !one.doc.is_empty();
            let doc = place.reference.declared.iter().find(own).map_or(file.reference.doc.as_str(), |one| &one.doc);
            vec![
                writer.link(&target, &code(&file.title())),
                escaped(&file.source.path),
                sentence(doc),
                declared.join(" "),
            ]
        })
        .collect();
    if !rows.is_empty() {
        writer.heading(2, id, title).table(&["name", "file", "about", "declares"], &rows);
    }
}

fn sentence(doc: &str) -> String {
    markdown::inline(&markdown::first_sentence(doc))
}
