//! What is declared and never used.

use mlp_model::{CallClass, Type};

use super::{Subject, place};
use crate::diagnostic::Diagnostic;
use crate::format::lex::Kind;

pub fn lint(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    names(subject, found);
    results(subject, found);
}

/// Parameters and schemas are gone once a file is checked, so their names are looked for in the text. A column or argument
/// of the same name counts as a use: rather a doubt too few.
fn names(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    for chunk in &subject.outline.chunks {
        let code = match chunk.keyword {
            "param" => "L0601",
            "schema" => "L0602",
            _ => continue,
        };
        let Some(name) = chunk.name else { continue };
        let is_used = subject.tokens.iter().enumerate().any(|(i, token)| {
            let is_label = subject.tokens.get(i + 1).is_some_and(|next| next.is(":"));
            let is_part = i > 0 && subject.tokens[i - 1].is(".");
            let is_here = (chunk.start..chunk.end).contains(&token.start);
            token.kind == Kind::Word && token.text == name.text && !is_label && !is_part && !is_here
        });
        if is_used {
            continue;
        }
        let what = if chunk.keyword == "param" { "parameter" } else { "schema" };
        let problem = Diagnostic::warning(code, format!("{what} `{}` is used nowhere", name.text))
            .at(name.span, "declared here")
            .help(if chunk.keyword == "param" {
                "remove it: a `--param` that changes nothing misleads"
            } else {
                "remove it, or read a source with it"
            });
        found.push(problem);
    }
}

fn results(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    let reads = subject.reads();
    for (_, node, call) in subject.calls() {
        let place = place(node);
        let is_read = |output: &str| reads.contains(&(place, None)) || reads.contains(&(place, Some(output)));
        // Reports and files are read by people.
        let is_passed_on = |ty: &Type| matches!(ty, Type::Table(_) | Type::Model(_));
        let name = subject.written(node);
        if call.class == CallClass::Effect {
            continue;
        }
        if !call.outputs.iter().any(|output| is_read(&output.name)) {
            if call.class == CallClass::Source {
                let problem = Diagnostic::warning("L0603", format!("source `{name}` is read by nothing"));
                found.push(problem.at(node.span, "declared here").help("remove it"));
            } else if call.outputs.iter().all(|output| is_passed_on(&output.ty)) {
                let problem = Diagnostic::warning("L0603", format!("the result of step `{name}` is used by nothing"))
                    .at(node.span, "declared here")
                    .help("remove it, or write it to a file: `csv.write` for rows, a release for a model");
                found.push(problem);
            }
            continue;
        }
        for output in &call.outputs {
            if matches!(output.ty, Type::Table(_)) && !is_read(&output.name) {
                let path = format!("{name}.{}", output.name);
                let problem = Diagnostic::warning("L0604", format!("the rows of `{path}` are never read"))
                    .at(node.span, "set aside here")
                    .help(format!("judge a model on `{path}`, or use all rows"));
                found.push(problem);
            }
        }
    }
}
