//! `mlp explain [CODE]`: what a code means, with a wrong example and a right one.

use mlp_dsl::did_you_mean;
use mlp_dsl::explain::{self, Page};
use serde_json::json;

use crate::exit::Exit;
use crate::output::{Failure, Output};

/// The word that shows what the examples go on from.
const CONTEXT: &str = "example";

pub fn explain(code: Option<&str>, output: &Output) -> Result<Exit, Failure> {
    match code {
        None => list(output),
        Some(CONTEXT) if output.json => output.print_json(&json!({ "text": explain::CONTEXT })),
        Some(CONTEXT) => output.print(explain::CONTEXT),
        Some(code) => show(code, output)?,
    }
    Ok(Exit::Done)
}

fn list(output: &Output) {
    if output.json {
        let codes: Vec<_> = explain::pages().map(|page| json!({ "code": page.code, "title": page.title })).collect();
        return output.print_json(&json!({ "codes": codes }));
    }
    let mut family = "";
    for page in explain::pages() {
        if !family.is_empty() && family != &page.code[..3] {
            output.print("\n");
        }
        family = &page.code[..3];
        output.print(format!("{}  {}", page.code, page.title));
    }
}

fn show(code: &str, output: &Output) -> Result<(), Failure> {
    if let Some(page) = explain::page(code) {
        if output.json {
            let examples: Vec<_> = page
                .examples()
                .iter()
                .map(|e| json!({ "right": e.is_right, "arguments": e.arguments, "text": e.text }))
                .collect();
            let Page { code, title, .. } = page;
            output.print_json(&json!({ "code": code, "title": title, "text": page.prose(), "examples": examples }));
        } else {
            output.print(page_text(&page));
        }
        return Ok(());
    }
    // What is told while a pipeline runs has its place and its advice in the message itself.
    if let Some((code, meaning)) = mlp_stdlib::codes::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)) {
        if output.json {
            output.print_json(&json!({ "code": code, "title": meaning, "text": null, "examples": [] }));
        } else {
            output.print(format!(
                "{code}: {meaning}\n\nThis is found while a pipeline runs: the message names step, row and column, and what to do."
            ));
        }
        return Ok(());
    }
    let codes: Vec<&str> = explain::pages().map(|page| page.code).collect();
    let upper = code.to_uppercase();
    let help = match did_you_mean(&upper, codes.iter().copied()) {
        Some(near) if upper.starts_with(|c: char| "EL".contains(c)) => {
            format!("did you mean `{near}`? `mlp explain` lists all")
        }
        _ => "`mlp explain` lists the codes that have a page".to_owned(),
    };
    Err(Failure::usage(format!("there is no page about `{code}`")).with_help(help))
}

fn page_text(page: &Page) -> String {
    let mut text = format!("{}: {}\n\n{}\n", page.code, page.title, page.prose());
    let mut has_context = false;
    for example in page.examples() {
        let verdict = if example.is_right { "right" } else { "wrong" };
        let with: Vec<&str> = example.arguments.iter().copied().filter(|word| *word != "latin-1").collect();
        let with = if with.is_empty() { String::new() } else { format!(", with `{}`", with.join(" ")) };
        text.push_str(&format!("\n{verdict}{with}:\n\n"));
        for line in example.text.lines() {
            text.push_str(if line.is_empty() { "" } else { "    " });
            text.push_str(line);
            text.push('\n');
        }
        let names = ["customers", "parts", "model", "quality", "good_enough", "Customer"];
        has_context |= example.language == "mlp" && names.iter().any(|name| example.text.contains(name));
    }
    if has_context {
        text.push_str(&format!("\nThe examples go on from a small pipeline: `mlp explain {CONTEXT}` shows it.\n"));
    }
    text
}
