//! What makes learning unrepeatable, unsafe or different from serving.

use mlp_model::{Input, NodeKind, Part, Role, Rule, Scalar, Span, TableType, Type, Value};

use super::{Subject, known, span_of};
use crate::diagnostic::Diagnostic;
use crate::format::lex::Kind;

pub fn lint(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    seeds(subject, found);
    personal(subject, found);
    categories(subject, found);
    names(subject, found);
    transforms(subject, found);
}

fn seeds(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    for (_, node, call) in subject.calls() {
        let has_seed = subject.catalogue.get(&call.op).is_some_and(|op| op.args.iter().any(|arg| arg.name == "seed"));
        let draws = call
            .params
            .values()
            .all(|value| !matches!(value, Value::Call { name, .. } if known::UNDRAWN_NETS.contains(&name.as_str())));
        if has_seed && draws && !call.arg_spans.contains_key("seed") {
            let problem = Diagnostic::warning(
                "L0606",
                format!("step `{}` draws at random and its seed is not written", node.name),
            )
            .at(node.span, "the seed is the operation's default")
            .help("write it, so that who reads the file sees that figures depend on it: `seed: 7`");
            found.push(problem);
        }
    }
}

/// A program of the user may print or send what it reads.
fn personal(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    for (i, node, call) in subject.calls().filter(|(.., call)| known::PROGRAMS.contains(&call.op.as_ref())) {
        for writer in subject.before(i) {
            let Some(written) = subject.call(writer) else { continue };
            let Some((_, data)) = known::WRITERS.iter().find(|(op, _)| *op == written.op) else { continue };
            let Some(Input::Output { node: table, output }) = written.inputs.get(*data) else { continue };
            let Some(Type::Table(table)) = subject.call(*table).and_then(|call| call.output(output)).map(|o| &o.ty)
            else {
                continue;
            };
            let columns: Vec<_> = table.columns.iter().filter(|column| column.marks.personal).collect();
            let Some(first) = columns.first() else { continue };
            let more = if columns.len() > 1 { format!(" and {} more", columns.len() - 1) } else { String::new() };
            let message = format!("step `{}` hands the personal column `{}`{more} to a program", node.name, first.name);
            let mut problem = Diagnostic::warning("L0610", message)
                .at(
                    call.arg_spans.get("inputs").copied().unwrap_or(node.span),
                    "mlp does not mask what a program prints",
                )
                .help("leave the column out before the table is written, with `sql`");
            if let Some(writer) = subject.pipeline.nodes.get(writer) {
                problem = problem.and(writer.span, "the rows are written here");
            }
            found.push(problem);
        }
    }
}

/// A category that training did not see is all zeros, silently; a rule refuses it at the door.
fn categories(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    let mut told: Vec<(String, String)> = Vec::new();
    for (i, node, call) in subject.calls() {
        let models = call
            .outputs
            .iter()
            .filter_map(|output| if let Type::Model(model) = &output.ty { Some(model) } else { None });
        let features: Vec<_> = models.flat_map(|model| &model.features).filter(|f| f.scalar == Scalar::Str).collect();
        let sources = subject.before(i).into_iter().filter_map(|node| subject.call(node));
        for schema in sources.flat_map(|call| call.params.values().filter_map(Value::as_schema)) {
            for column in
                features.iter().filter(|feature| !feature.rules.iter().any(|rule| matches!(rule, Rule::OneOf(_))))
            {
                let is_declared = schema.columns.iter().any(|c| c.name == column.name && c.rules == column.rules);
                let key = (schema.name.clone(), column.name.clone());
                if !is_declared || told.contains(&key) {
                    continue;
                }
                let Some(span) = column_span(subject, &schema.name, &column.name) else { continue };
                told.push(key);
                let message = format!("column `{}` is a category, and its values are not listed", column.name);
                let problem = Diagnostic::warning("L0611", message)
                    .at(span, "a value that training has not seen counts as none, in silence")
                    .and(node.span, "a feature here")
                    .help("list them: `in [\"..\", ..]`; then a new value is refused where it comes in");
                found.push(problem);
            }
        }
    }
}

/// Returns where a schema of the file declares a column.
fn column_span(subject: &Subject<'_>, schema: &str, column: &str) -> Option<Span> {
    let is_it = |chunk: &&crate::outline::Chunk<'_>| {
        chunk.keyword == "schema" && chunk.name.is_some_and(|name| name.text == schema)
    };
    let chunk = subject.outline.chunks.iter().find(is_it)?;
    let inside = subject.tokens.iter().zip(subject.tokens.iter().skip(1));
    let mut inside = inside.filter(|(token, _)| (chunk.start..chunk.end).contains(&token.start));
    let (token, _) = inside.find(|(token, next)| {
        let is_name = matches!(token.kind, Kind::Word | Kind::Text);
        is_name && next.is(":") && token.text.trim_matches('"') == column
    })?;
    Some(span_of(token))
}

fn names(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    for (_, node, call) in subject.calls() {
        let [output] = call.outputs.as_slice() else { continue };
        let Type::Table(TableType { role, .. }) = &output.ty else { continue };
        let says = |word: &str| node.name.to_lowercase().split('_').any(|part| part == word);
        let wrong = match role {
            Role::Train => ["test", "valid", "holdout"].into_iter().find(|word| says(word)),
            Role::Test | Role::Valid => ["train", "training"].into_iter().find(|word| says(word)),
            Role::All => None,
        };
        if let Some(word) = wrong {
            let problem = Diagnostic::warning("L0612", format!("`{}` says `{word}`, but holds {role} rows", node.name))
                .at(node.span, format!("{role} rows"))
                .help("give it another name, or take the other part of the split");
            found.push(problem);
        }
    }
}

fn transforms(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    for node in &subject.pipeline.nodes {
        let NodeKind::Release(release) = &node.kind else { continue };
        let models = release.parts.values().filter_map(|part| match part {
            Part::Output { node, output } => {
                let ty = &subject.call(*node)?.output(output)?.ty;
                matches!(ty, Type::Model(_)).then_some(*node)
            }
            _ => None,
        });
        for model in models {
            for step in subject.before(model) {
                let is_transform = subject.call(step).is_some_and(|call| known::TRANSFORMS.contains(&call.op.as_ref()));
                let is_released = release.parts.values().any(|part| *part == Part::Transform { node: step });
                let Some(transform) = subject.pipeline.nodes.get(step).filter(|_| is_transform && !is_released) else {
                    continue;
                };
                let (release, name) = (&release.name, &transform.name);
                let problem =
                    Diagnostic::warning("L0613", format!("release `{release}` leaves out the transform `{name}`"))
                        .at(node.span, format!("its model learned from rows that went through `{name}`"))
                        .and(transform.span, "here")
                        .help(format!("release both as one: `bundle {{ model, transform: step {name} }}`"));
                found.push(problem);
            }
        }
    }
}
