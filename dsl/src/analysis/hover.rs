//! What a word is, told in Markdown.

use std::ops::Range;
use std::rc::Rc;

use mlp_model::Type;

use super::callee::{self, Callee, Template};
use super::describe;
use super::index::{Symbol, SymbolKind};
use super::meaning::{LOOP_SOURCES, Meaning};
use super::spot;
use super::tree::{self, Label};
use super::view::View;
use crate::check::EFFECT;

/// A text about a range of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hover {
    pub range: Range<usize>,
    pub markdown: String,
}

/// Returns what is known about the word at a byte.
pub fn hover(view: &View<'_>, at: usize) -> Option<Hover> {
    let mention = view.mention_at(at)?;
    let word = mention.word;
    let markdown = match mention.meaning {
        Meaning::Declared(symbol) | Meaning::Symbol(symbol) => self::symbol(view, symbol),
        Meaning::Output { node } => {
            let output = view.node(node)?.outputs.iter().find(|output| output.name == word.text)?;
            let name = view.index.symbols.get(node)?.name.text;
            let may_be = if output.optional { ", may be left out" } else { "" };
            format!("`{name}.{}`: {}{may_be}", output.name, describe::ty(&output.ty))
        }
        Meaning::Metric { node } => {
            let name = view.index.symbols.get(node)?.name.text;
            let has = |ty: &Type| matches!(ty, Type::Report(report) if report.metrics.iter().any(|m| m == word.text));
            let is_known = view.node(node)?.outputs.iter().any(|output| has(&output.ty));
            is_known.then(|| format!("`{name}.{}`: metric of report `{name}`", word.text))?
        }
        Meaning::Export { module, symbol } => {
            let module = view.modules.get(module)?;
            let symbol = module.index.symbols.get(symbol)?;
            let called = tree::read(module.document, module.document.pieces().get(symbol.piece)?);
            let name = format!("{}.{}", module.alias, symbol.name.text);
            let doc = module.document.doc_of(symbol.piece);
            let template = called.and_then(|decl| Template::read(&decl, module.document.text(), name, doc));
            if let Some(template) = template.filter(|_| symbol.kind == SymbolKind::Template) {
                let markdown = describe::callee(&Callee::Template(Rc::new(template)));
                return Some(Hover { range: word.range(), markdown });
            }
            let line = module.document.line(module.document.line_of(symbol.start));
            let code = module.document.text().get(line).unwrap_or_default();
            format!("```mlp\n{}\n```\n\n{}", code.trim(), module.document.doc_of(symbol.piece)).trim_end().to_owned()
        }
        Meaning::Operation { is_effect } => {
            describe::callee(&Callee::Operation(callee::operation(view.catalogue, word.text, is_effect)?))
        }
        Meaning::Constructor => describe::callee(&constructor(view, at, word.text)?),
        Meaning::Argument(name) => argument(view, at, name)?,
        Meaning::Column { schema, node } => column(view, schema, node, Label { word }.name())?,
        Meaning::ColumnDeclared { schema } => column(view, Some(schema), None, Label { word }.name())?,
        Meaning::Champion => match view.release() {
            Some((_, release)) => {
                let name = view.index.symbols.get(release)?.name.text;
                format!("what release `{name}` has live when the run starts; absent before the first release")
            }
            None => "the live version of the pipeline's release; this file declares none".to_owned(),
        },
        Meaning::Part => {
            let ty = view.type_of(&[tree::Word { text: "champion", start: 0, end: 0 }, word], None);
            match ty {
                Some(ty) => format!("part `{}` of the release: {}", word.text, describe::ty(ty)),
                None => format!("part `{}` of the release", word.text),
            }
        }
        Meaning::Keyword => loop_source(word.text).or_else(|| keyword(word.text))?.to_owned(),
        Meaning::Type => type_word(word.text)?.to_owned(),
        Meaning::Mark => mark(word.text)?.to_owned(),
        Meaning::Choice | Meaning::Member | Meaning::CheckDeclared | Meaning::Check | Meaning::Unknown => return None,
        Meaning::ShortFor(param) => self::symbol(view, param),
    };
    Some(Hover { range: word.range(), markdown })
}

/// Returns the declaration of a symbol in a few lines, what is known about it, and its documentation.
fn symbol(view: &View<'_>, at: usize) -> String {
    let Some(symbol) = view.index.symbols.get(at) else { return String::new() };
    let name = symbol.name.text;
    let mut text = match symbol.kind {
        kind if kind.is_node() => node(view, at, symbol),
        SymbolKind::Param | SymbolKind::Constant | SymbolKind::Variable => {
            let mut text = format!("```mlp\n{}\n```", code(view, symbol));
            if let Some(value) = view.value(symbol) {
                let whose = match symbol.within.map(|holder| view.index.symbols[holder].kind) {
                    Some(SymbolKind::Loop) => " in the first round",
                    Some(SymbolKind::Template) => " in the first call",
                    _ => "",
                };
                text.push_str(&format!("\n\nvalue{whose}: `{}`", describe::value(value)));
            }
            text
        }
        SymbolKind::Schema => match view.facts.schemas.get(name).filter(|_| symbol.within.is_none()) {
            Some(schema) => {
                let open = if schema.open { "open, " } else { "" };
                let n = describe::plural(schema.columns.len(), "column");
                format!("schema `{name}`: {open}{n}\n\n```mlp\n{}\n```", describe::columns(&schema.columns))
            }
            None => format!("schema `{name}`"),
        },
        SymbolKind::Gate
        | SymbolKind::Release
        | SymbolKind::Template
        | SymbolKind::Loop
        | SymbolKind::Module
        | SymbolKind::Test => format!("```mlp\n{}\n```", code(view, symbol)),
        kind => format!("{} `{name}`", kind.word()),
    };
    let doc = if symbol.kind == SymbolKind::Pipeline {
        [view.document.file_doc(), view.document.doc_of(symbol.piece)].join("\n")
    } else {
        view.doc_of(symbol)
    };
    if !doc.trim().is_empty() {
        text.push_str("\n\n---\n\n");
        text.push_str(doc.trim());
    }
    text
}

/// Tells what a source or step is, or what a template is given.
fn node(view: &View<'_>, at: usize, symbol: &Symbol<'_>) -> String {
    let name = symbol.name.text;
    let is_given = symbol.kind == SymbolKind::Artifact;
    let Some(node) = view.node(at) else {
        return match symbol.kind {
            SymbolKind::Artifact => format!("```mlp\n{}\n```", code(view, symbol).trim_end()),
            kind if view.index.is_in_template(symbol.within) => {
                format!("{} `{name}`: its type is known where the `def` is called", kind.word())
            }
            kind if symbol.within.is_some() => format!("{} `{name}`", kind.word()),
            kind => format!("{} `{name}`: its type is not known while something in it is wrong", kind.word()),
        };
    };
    let mut text = match is_given {
        true => format!("{} `{name}`", symbol.kind.word()),
        false => format!("{} `{name}` = `{}`", symbol.kind.word(), node.op.trim_start_matches(EFFECT)),
    };
    match node.outputs.as_slice() {
        [only] if node.lists.is_empty() => text.push_str(&format!(": {}", describe::ty(&only.ty))),
        outputs => {
            for output in outputs {
                let list = if node.lists.contains(&output.name) { "list of: " } else { "" };
                text.push_str(&format!("\n- `{name}.{}`: {list}{}", output.name, describe::output(output)));
            }
            if let Some(Type::Table(table)) = outputs.first().map(|output| &output.ty) {
                text.push_str(&format!("\n\n```mlp\n{}\n```", describe::columns(&table.columns)));
            }
        }
    }
    if node.reads_champion {
        text.push_str("\n\nReads the champion: skipped before the first release.");
    }
    if !node.params.is_empty() {
        let params: Vec<_> =
            node.params.iter().map(|(name, value)| format!("{name}: {}", describe::value(value))).collect();
        text.push_str(&format!("\n\n```mlp\n{}\n```", params.join("\n")));
    }
    if let Some(whose) = describe::whose(node, view.place(symbol).as_str()) {
        text.push_str(&format!("\n\n{whose}"));
    }
    text
}

/// Returns the first lines of a declaration as they are written.
fn code<'a>(view: &View<'a>, symbol: &Symbol<'_>) -> &'a str {
    const MOST_LINES: usize = 12;
    let text = view.document.text().get(symbol.range()).unwrap_or_default();
    let end = text.match_indices('\n').nth(MOST_LINES - 1).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

fn constructor<'a>(view: &View<'a>, at: usize, name: &str) -> Option<Callee<'a>> {
    let (_, piece) = view.document.pieces_in(at..at).next()?;
    let decl = tree::read(view.document, piece)?;
    let spot = spot::find(view, &decl, at);
    let is_effect = spot.scope.is_effect;
    callee::find(view.catalogue, name, Some(spot.takes), is_effect).or_else(|| {
        let takes = spot.calls.iter().rev().filter_map(|call| Some(call.formal()?.takes));
        takes.filter_map(|takes| callee::find(view.catalogue, name, Some(takes), is_effect)).next()
    })
}

fn argument(view: &View<'_>, at: usize, name: &str) -> Option<String> {
    let (_, piece) = view.document.pieces_in(at..at).next()?;
    let decl = tree::read(view.document, piece)?;
    let spot = spot::find(view, &decl, at);
    let call = spot.calls.last()?;
    let formal = call.formals.iter().find(|formal| formal.name == name)?;
    Some(format!("```mlp\n{}\n```\n\n{}", describe::formal(formal), formal.doc).trim_end().to_owned())
}

fn column(view: &View<'_>, schema: Option<&str>, node: Option<usize>, name: &str) -> Option<String> {
    let found = match node.and_then(|node| view.node(node)) {
        Some(node) => node.outputs.iter().find_map(|output| match &output.ty {
            Type::Table(table) => table.column(name),
            _ => None,
        }),
        None => None,
    };
    let declared = || view.facts.schemas.get(schema?)?.columns.iter().find(|column| column.name == name);
    let column = found.or_else(declared)?;
    let of = schema.map_or(String::new(), |schema| format!("\n\ncolumn of schema `{schema}`"));
    Some(format!("```mlp\n{}: {}\n```{of}", describe::label(name), describe::column(column)))
}

/// Explains what a loop goes over.
fn loop_source(word: &str) -> Option<&'static str> {
    Some(match word {
        _ if !LOOP_SOURCES.contains(&word) => return None,
        "values" => "`values(TABLE.COLUMN)`: each value of the column, known once the table is.",
        "rows" => "`rows(TABLE)`: each row, called after its key; `ROW.COLUMN` is a value of it.",
        _ => "`files(\"PATTERN\")`: the files that match; the value is the path of one.",
    })
}

/// Explains a word of the language in one sentence.
pub fn keyword(word: &str) -> Option<&'static str> {
    Some(match word {
        "pipeline" => "`pipeline NAME`: names the pipeline; exactly one in a file.",
        "param" => {
            "`param NAME: TYPE = DEFAULT RULES`: a value that can be given when the file is run: `--param NAME=VALUE`."
        }
        "let" => "`let NAME = VALUE`: a named constant.",
        "schema" => {
            "`schema NAME { COLUMN: TYPE MARKS RULES .. }`: the shape of a table; `open` lets further columns pass."
        }
        "source" => "`source NAME = OPERATION(..)`: reads the outside world.",
        "step" => "`step NAME = OPERATION(..)`: depends on nothing but its arguments.",
        "effect" => "`effect NAME = sh(..) when GATE`: writes outside; done once for its command and inputs.",
        "gate" => "`gate NAME { CHECK EXPRESSION .. }`: passes when all its checks do; evaluated in every run.",
        "release" => "`release NAME = MODEL when GATE`: what is released, and which gates guard it.",
        "use" => "`use \"FILE\" as NAME`: makes what another file declares known as `NAME.X`.",
        "def" => "`def NAME(PARAMETERS) { STEPS }`: a template of steps, called like an operation.",
        "for" => "`for VALUE in VALUES as NAME { STEPS }`: the steps once for each value; `NAME.STEP` is a list.",
        "limit" => "`limit N`: so many steps of the loop run at once.",
        "tolerate" => "`tolerate N`: up to so many rounds of the loop may fail, and the run does not.",
        "random" | "seed" => "`random COUNT seed SEED`: so many of the combinations only, drawn by chance.",
        "as" => "`as NAME`: how it is called in this file.",
        "result" => "`result = NODE`: what a template gives.",
        "test" => "`test \"NAME\" { GIVEN .. EXPECT .. }`: what comes out of given rows; `mlp test` runs it.",
        "given" => "`given NAME = \"\"\"ROWS\"\"\"`: in a test, rows in the place of a source or step.",
        "expect" => {
            "`expect NODE == \"\"\"ROWS\"\"\"`, `expect rows(NODE) == 3`, `expect REPORT.METRIC >= 0.9` or `expect NODE fails CODE`: what a test is about."
        }
        "with" => "`with { OPTION: VALUE }`: how to run, not what to compute; no part of the cache key.",
        "when" => "`when`: under which condition.",
        "first" => "`first CHECK .. only` or `first refuse`: what the gate does before the first release.",
        "only" => "`first CHECK .. only`: just these checks decide before the first release.",
        "refuse" => "`first refuse`: the gate refuses as long as there is no champion.",
        "bundle" => "`bundle { PART: VALUE, .. }`: what is released moves as one.",
        "none" => "no value, where one may be left out.",
        "in" => "`in LOW..=HIGH` or `in [A, B]`: which values fit.",
        _ => return None,
    })
}

fn type_word(word: &str) -> Option<&'static str> {
    Some(match word {
        "int" => "64 bits with sign.",
        "float" => "IEEE double.",
        "bool" => "`true` or `false`.",
        "str" => "UTF-8 text.",
        "date" => "a day, without a time zone.",
        "timestamp" => "an instant in UTC, to the microsecond.",
        "decimal" => "`decimal(p, s)`: `p` digits in all (1 to 38), `s` of them after the point.",
        "duration" => "a span of time, to the millisecond: `30m`, `1h30m`.",
        "list" => "`list(T)`: a list.",
        _ => return None,
    })
}

/// Explains a mark of a column in one sentence.
pub fn mark(word: &str) -> Option<&'static str> {
    Some(match word {
        "key" => "identifies a row: unique, never blank, never a feature.",
        "personal" => "masked in every message, log and report; never a feature.",
        "protected" => "may reach fairness figures, never a model.",
        "label" => "what a model predicts.",
        "group" => "rows with an equal value belong together and stay on one side of a split.",
        "known_at" => {
            "`known_at COLUMN`: known only at that time, so no feature until `table.join` has brought it in as of a time."
        }
        "unusable" => "`unusable \"REASON\"`: never a feature; the text says why.",
        _ => return None,
    })
}
