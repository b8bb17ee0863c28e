//! What a file declares, as its author wrote it: for reference pages. Works on modules, and on files that do not check.

use mlp_model::Span;

use crate::ast::{CallDecl, Decl, DeclKind, ExprKind, ModuleRef, ParamDecl, ResultContent};
use crate::outline::{self, Chunk, Outline};
use crate::parse;

/// The declarations of one file, in their order.
#[derive(Debug, Default)]
pub struct Reference {
    /// The `//!` lines.
    pub doc: String,
    pub declared: Vec<Declared>,
}

/// One declaration.
#[derive(Debug)]
pub struct Declared {
    /// The word that begins it.
    pub word: String,
    pub name: Option<String>,
    /// The `///` lines.
    pub doc: String,
    /// As it is written, without what its place indents it by.
    pub text: String,
    pub content: Content,
}

/// What there is to say of a declaration beyond its text.
#[derive(Debug)]
pub enum Content {
    Use(Used),
    Param(Param),
    Schema {
        open: bool,
        columns: Vec<Column>,
    },
    Def {
        params: Vec<Param>,
        /// The names of its results; empty where the one result is a step of it.
        results: Vec<String>,
        /// What its steps call, each once.
        calls: Vec<String>,
    },
    Call {
        /// What is called, as written: an operation, a `def`, or one of a module.
        callee: Option<String>,
    },
    Loop(Vec<Declared>),
    Gate {
        /// Name and comparison.
        checks: Vec<(String, String)>,
        /// What it does without a champion.
        first: Option<String>,
    },
    /// Its text says it all, or cannot be parsed.
    Other,
}

/// The module that a `use` names.
#[derive(Debug, PartialEq, Eq)]
pub enum Used {
    /// A path relative to the file that writes it.
    File(String),
    /// One that comes with the program, without `std.`.
    Standard(String),
}

/// A parameter of a pipeline or of a `def`.
#[derive(Debug)]
pub struct Param {
    pub name: String,
    pub ty: String,
    pub default: Option<String>,
    pub rules: Vec<String>,
}

/// A column of a schema.
#[derive(Debug)]
pub struct Column {
    pub name: String,
    pub ty: String,
    /// With what belongs to them: `unusable "the row number"`.
    pub marks: Vec<String>,
    pub rules: Vec<String>,
}

/// Reads what a file declares.
pub fn read(text: &str) -> Reference {
    let outline = outline::cut(0, text, &mut Vec::new());
    let file = parse::parse_file(0, &outline, &mut Vec::new());
    let reader = Reader { text, outline: &outline };
    Reference { doc: outline.doc.clone(), declared: reader.all(&outline.chunks, &file.decls) }
}

struct Reader<'a> {
    text: &'a str,
    outline: &'a Outline<'a>,
}

impl Reader<'_> {
    fn all(&self, chunks: &[Chunk<'_>], decls: &[Decl<'_>]) -> Vec<Declared> {
        chunks.iter().zip(decls).map(|(chunk, decl)| self.declared(chunk, decl)).collect()
    }

    fn declared(&self, chunk: &Chunk<'_>, decl: &Decl<'_>) -> Declared {
        let (word, name) = decl.head();
        Declared {
            word: word.to_owned(),
            name: name.or(chunk.name).map(|name| name.text.to_owned()),
            doc: chunk.doc.clone(),
            text: self.text_of(chunk),
            content: self.content(chunk, decl),
        }
    }

    fn content(&self, chunk: &Chunk<'_>, decl: &Decl<'_>) -> Content {
        match &decl.kind {
            DeclKind::Use(decl) => match &decl.module {
                ModuleRef::File(path) => Content::Use(Used::File(path.value.clone().into_owned())),
                ModuleRef::Standard(name) => {
                    Content::Use(Used::Standard(name.text.trim_start_matches("std.").to_owned()))
                }
                ModuleRef::Wrong => Content::Other,
            },
            DeclKind::Param(decl) => Content::Param(self.param(decl)),
            DeclKind::Schema(decl) => {
                let columns = decl.columns.iter().map(|column| Column {
                    name: column.name.text.clone().into_owned(),
                    ty: self.written(column.ty.span),
                    marks: column
                        .marks
                        .iter()
                        .map(|mark| match &mark.reason {
                            Some(reason) => self.written(Span { end: reason.span.end, ..mark.name.span }),
                            None => mark.name.text.to_owned(),
                        })
                        .collect(),
                    rules: column.rules.iter().map(|rule| self.written(rule.span)).collect(),
                });
                Content::Schema { open: decl.open, columns: columns.collect() }
            }
            DeclKind::Def(decl) => {
                let results = decl.body.iter().filter_map(|decl| match &decl.kind {
                    DeclKind::Result(result) => Some(result),
                    _ => None,
                });
                let fields = results.flat_map(|result| match &result.content {
                    ResultContent::One(_) => &[],
                    ResultContent::Several(fields) => fields.as_slice(),
                });
                let names = fields.filter_map(|field| {
                    let label = field.name.as_ref().map(|label| label.text.clone().into_owned());
                    label.or_else(|| field.value.as_name().map(|name| name.text.to_owned()))
                });
                let mut calls = Vec::new();
                callees(&decl.body, &mut calls);
                Content::Def {
                    calls,
                    params: decl.params.iter().map(|param| self.param(param)).collect(),
                    results: names.collect(),
                }
            }
            DeclKind::Call(decl) => Content::Call { callee: callee(decl).map(str::to_owned) },
            DeclKind::Loop(decl) => {
                let chunks = chunk.body.as_ref().map_or(&[][..], |body| &body.chunks);
                Content::Loop(self.all(chunks, &decl.body))
            }
            DeclKind::Gate(decl) => Content::Gate {
                checks: decl
                    .checks
                    .iter()
                    .map(|check| (check.name.text.to_owned(), self.written(check.expr.span)))
                    .collect(),
                first: decl.firsts.first().map(|first| self.written(first.span)),
            },
            _ => Content::Other,
        }
    }

    fn param(&self, decl: &ParamDecl<'_>) -> Param {
        Param {
            name: decl.name.text.to_owned(),
            ty: self.written(decl.ty.span),
            default: decl.default.as_ref().map(|default| self.written(default.span)),
            rules: decl.rules.iter().map(|rule| self.written(rule.span)).collect(),
        }
    }

    /// Returns what stands at a place, on one line unless a string goes over several.
    fn written(&self, span: Span) -> String {
        let text = self.outline.plain.get(span.start..span.end).unwrap_or_default().trim();
        if text.contains('"') { text.to_owned() } else { text.split_whitespace().collect::<Vec<_>>().join(" ") }
    }

    fn text_of(&self, chunk: &Chunk<'_>) -> String {
        // In the plain text comments are blank: those behind the declaration are not part of it.
        let plain = self.outline.plain.get(chunk.start..chunk.end).unwrap_or_default();
        let text = self.text.get(chunk.start..chunk.start + plain.trim_end().len()).unwrap_or_default();
        let line_start = self.text[..chunk.start].rfind('\n').map_or(0, |at| at + 1);
        let indent = chunk.start - line_start;
        let mut lines = text.lines();
        let mut dedented = lines.next().unwrap_or_default().to_owned();
        for line in lines {
            let n_blanks = line.bytes().take_while(|byte| *byte == b' ').count().min(indent);
            dedented.push('\n');
            dedented.push_str(line[n_blanks..].trim_end());
        }
        dedented
    }
}

fn callee<'a>(decl: &CallDecl<'a>) -> Option<&'a str> {
    match &decl.value.kind {
        ExprKind::Call(call) => Some(call.path.text),
        _ => None,
    }
}

fn callees(body: &[Decl<'_>], found: &mut Vec<String>) {
    for decl in body {
        match &decl.kind {
            DeclKind::Call(decl) => {
                found.extend(callee(decl).filter(|one| found.iter().all(|known| known != one)).map(str::to_owned))
            }
            DeclKind::Loop(decl) => callees(&decl.body, found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_read_as_they_are_written() {
        let text = "//! Of the file.\npipeline p\nuse \"lib/a b.mlp\" as a\nuse std.evaluation as e\n\n/// How long.\n\
                    param n: list( int ) = [1,\n  2] in  1..=3  // note\nschema S open {\n  id: str key personal // of a row\n  \
                    \"a b\": float? >= 0 unusable \"later  on\"\n}\n\
                    def d(data: table, at: float = 0.5 in 0.0..=1.0) {\n  step x = sql(\"s\", { data })\n  result { x, y: x }\n}\n\
                    for v in [1] as each {\n  /// Made.\n  step made = a.d(S,\n                  1)\n}\n\
                    gate g { floor q.auc >= 0.8 first refuse }\nrelease r = d when g\nstep broken = (\n";
        let reference = read(text);
        assert_eq!(reference.doc, "Of the file.");
        let by_name = |name: &str| reference.declared.iter().find(|one| one.name.as_deref() == Some(name)).unwrap();
        let Content::Use(used) = &by_name("a").content else { panic!() };
        assert_eq!(*used, Used::File("lib/a b.mlp".into()));
        let Content::Use(used) = &by_name("e").content else { panic!() };
        assert_eq!(*used, Used::Standard("evaluation".into()));
        let Content::Param(param) = &by_name("n").content else { panic!() };
        assert_eq!((param.ty.as_str(), param.default.as_deref()), ("list( int )", Some("[1, 2]")));
        assert_eq!((param.rules.as_slice(), by_name("n").doc.as_str()), (&["in 1..=3".to_owned()][..], "How long."));
        let Content::Schema { open: true, columns } = &by_name("S").content else { panic!() };
        assert_eq!(columns[0].marks, ["key", "personal"]);
        assert_eq!((columns[1].name.as_str(), columns[1].ty.as_str()), ("a b", "float?"));
        assert_eq!(
            (&columns[1].marks, &columns[1].rules),
            (&vec!["unusable \"later  on\"".to_owned()], &vec![">= 0".to_owned()])
        );
        let Content::Def { params, results, calls } = &by_name("d").content else { panic!() };
        assert_eq!((params.len(), results.as_slice()), (2, &["x".to_owned(), "y".to_owned()][..]));
        assert_eq!(calls.as_slice(), ["sql"]);
        let Content::Loop(body) = &by_name("each").content else { panic!() };
        assert_eq!((body[0].doc.as_str(), body[0].text.as_str()), ("Made.", "step made = a.d(S,\n                1)"));
        assert!(matches!(&body[0].content, Content::Call { callee: Some(callee) } if callee == "a.d"));
        let Content::Gate { checks, first } = &by_name("g").content else { panic!() };
        assert_eq!((checks[0].1.as_str(), first.as_deref()), ("q.auc >= 0.8", Some("first refuse")));
        assert!(matches!(by_name("broken").content, Content::Other));
    }
}
