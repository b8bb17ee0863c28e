//! The pages of the standard library: each operation, and the modules that come with the program.

use mlp_dsl::analysis::{Callee, Formal, describe};
use mlp_dsl::reference::Reference;
use mlp_model::{ArgType, CallClass, Constructor, InputType, ParamType, RoleRule, Signature};

use super::declared::Place;
use super::page::{Page, Writer, block, code};
use super::{Module, Site, Target};
use crate::picture::escaped;

/// Returns the page of an operation.
pub fn page_of(name: &str) -> String {
    format!("operations/{name}.html")
}

pub fn operation(site: &Site<'_>, signature: &Signature) -> Page {
    let page = page_of(signature.name);
    let mut writer = Writer::new(&page);
    let nothing = Reference::default();
    let place = Place { site, reference: &nothing, page: &page, file: None };
    writer.html(format!("<h1>{}</h1>", code(signature.name)));
    let word = match signature.class {
        CallClass::Source => "Declared by source, or by step where its file comes from another node.",
        CallClass::Step => "Declared by step.",
        CallClass::Effect => "Declared by effect, where it is called without the first part of its name.",
    };
    writer.html(format!(
        "<p class=\"path\">{word} Version {}, runner {}.</p>",
        signature.version,
        code(signature.runner)
    ));
    place.doc(&mut writer, &describe::doc(signature.doc));
    let callee = Callee::Operation(signature);
    writer.heading(2, "section-arguments", "Arguments");
    arguments(&place, &mut writer, &callee.formals());
    for argument in &signature.args {
        if let ArgType::Input(input) = &argument.ty
            && let Some(rule) = refused_rows(argument.name, input)
        {
            writer.html(rule);
        }
    }
    let constructors: Vec<&Constructor> = signature
        .args
        .iter()
        .filter_map(|argument| match &argument.ty {
            ArgType::Param(ty) => Some(made(ty)),
            ArgType::Input(_) => None,
        })
        .flatten()
        .collect();
    for constructor in constructors {
        writer.heading(3, constructor.name, &code(constructor.name));
        place.doc(&mut writer, &describe::doc(constructor.doc));
        arguments(&place, &mut writer, &Callee::Constructor(constructor).formals());
    }
    used_by(site, &mut writer, signature.name);
    writer.finish(signature.name)
}

fn made(ty: &ParamType) -> &[Constructor] {
    match ty {
        ParamType::Call(constructors) => constructors,
        ParamType::List(item) | ParamType::Map(item) => made(item),
        _ => &[],
    }
}

fn arguments(place: &Place<'_>, writer: &mut Writer, formals: &[Formal<'_>]) {
    let rows: Vec<_> = formals
        .iter()
        .map(|formal| {
            let default = match &formal.default {
                None => "<em>must be given</em>".to_owned(),
                Some(mlp_model::Value::Null) => String::new(),
                Some(default) => code(&describe::value(default)),
            };
            let find = |name: &str| place.find(name).map(|target| writer.address(&target));
            let doc = super::markdown::to_html(formal.doc, &find);
            vec![code(formal.name), code(&describe::takes(formal.takes)), default, doc.trim_end().to_owned()]
        })
        .collect();
    writer.table(&["name", "takes", "default", "about"], &rows);
}

/// Says which rows a table must not hold.
fn refused_rows(argument: &str, input: &InputType) -> Option<String> {
    let (rule, name) = match input {
        InputType::Table(rule) => (rule, argument),
        InputType::Predictions { data_role, data, .. } => (data_role, *data),
        _ => return None,
    };
    let RoleRule::Not { roles, allow, why } = rule else { return None };
    let roles: Vec<String> = roles.iter().map(|role| code(&role.to_string())).collect();
    let allow = allow.map_or(String::new(), |allow| format!(", unless {}", code(&format!("{allow}: true"))));
    Some(format!("<p>{} takes no {} rows{allow}: {}.</p>", code(name), roles.join(" or "), escaped(why)))
}

fn used_by(site: &Site<'_>, writer: &mut Writer, op: &str) {
    let callers = site.callers.get(op).map_or(&[][..], Vec::as_slice);
    if callers.is_empty() {
        return;
    }
    writer.heading(2, "section-used", "Used by").html("<ul>");
    for file in callers.iter().filter_map(|at| site.files.get(*at)) {
        let target = Target { page: file.page.clone(), anchor: String::new() };
        let link = writer.link(&target, &code(&file.title()));
        writer.html(format!("<li>{link} <span class=\"path\">{}</span></li>", escaped(&file.source.path)));
    }
    writer.html("</ul>");
}

pub fn module(site: &Site<'_>, module: &Module) -> Page {
    let mut writer = Writer::new(&module.page);
    let place = Place { site, reference: &module.reference, page: &module.page, file: None };
    let name = format!("std.{}", module.name);
    writer.html(format!("<h1>module {}</h1>", code(&name)));
    place.doc(&mut writer, &module.reference.doc);
    writer.html(block(&format!("use {name} as {}", module.name)));
    place.uses(&mut writer);
    place.values(&mut writer);
    place.schemas(&mut writer);
    place.defs(&mut writer);
    writer.finish(&format!("module {name}"))
}
