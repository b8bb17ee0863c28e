//! Columns and types, as tables and in words.

use mlp_dsl::analysis::describe;
use mlp_dsl::reference;
use mlp_model::{Column, Output, Type};

use super::markdown;
use super::page::{Writer, code};
use crate::picture::escaped;

const HEAD: [&str; 4] = ["column", "type", "marks", "rules"];

/// Adds the columns of a schema.
pub fn declared(writer: &mut Writer, columns: &[reference::Column]) {
    let rows: Vec<_> = columns
        .iter()
        .map(|column| vec![code(&column.name), code(&column.ty), marks(&column.marks), list(&column.rules)])
        .collect();
    writer.table(&HEAD, &rows);
}

/// Adds the outputs of a step with what is in them.
pub fn outputs(writer: &mut Writer, outputs: &[Output]) {
    for output in outputs {
        let name = if output.name == "out" { String::new() } else { format!("{} ", code(&output.name)) };
        let summary = format!("{name}{}", markdown::inline(&describe::output(output)));
        match &output.ty {
            Type::Table(table) if !table.columns.is_empty() => {
                writer.html(format!("<details><summary>gives {summary}</summary>"));
                known(writer, &table.columns);
                if table.open {
                    writer.text("p", "Further columns pass, typed as found.");
                }
                writer.html("</details>");
            }
            Type::Report(report) if !report.metrics.is_empty() => {
                writer.html(format!(
                    "<details><summary>gives {summary}</summary>\n<p>{}</p></details>",
                    list(&report.metrics)
                ));
            }
            Type::Model(model) => {
                writer.html(format!(
                    "<details><summary>gives {summary}</summary>\n<p>Predicts {} from:</p>",
                    code(&model.target.name)
                ));
                known(writer, &model.features);
                writer.html("</details>");
            }
            _ => {
                writer.html(format!("<p class=\"gives\">gives {summary}</p>"));
            }
        }
    }
}

fn known(writer: &mut Writer, columns: &[Column]) {
    let rows: Vec<_> = columns
        .iter()
        .map(|column| {
            let optional = if column.optional { "?" } else { "" };
            let rules: Vec<String> = column.rules.iter().map(describe::rule).collect();
            vec![
                code(&column.name),
                code(&format!("{}{optional}", column.scalar)),
                marks(&describe::marks(&column.marks)),
                list(&rules),
            ]
        })
        .collect();
    writer.table(&HEAD, &rows);
}

fn marks(marks: &[String]) -> String {
    let marks: Vec<String> =
        marks.iter().map(|mark| format!("<span class=\"mark\">{}</span>", escaped(mark))).collect();
    marks.join(" ")
}

/// Returns pieces of code side by side.
pub fn list(items: &[String]) -> String {
    items.iter().map(|item| code(item)).collect::<Vec<_>>().join(" ")
}
