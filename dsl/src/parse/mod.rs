//! From the text of a declaration to its syntax tree. The only module that names pest.
//!
//! Spans of the tree refer to the whole file: every declaration is parsed on its own and moved to where it stands.
//! Knows no names and no types.

mod expected;
mod expr;
mod kept;

use std::borrow::Cow;

use mlp_model::{CallClass, Comparison, Span};
use pest::Parser;
use pest::error::{ErrorVariant, InputLocation};
use pest::iterators::{Pair, Pairs};

use crate::ast::*;
use crate::diagnostic::Diagnostic;
use crate::literal;
use crate::outline::{Chunk, DECLARING, MAX_DEPTH, Outline};
use crate::threads;

pub use kept::Kept;

#[derive(pest_derive::Parser)]
#[grammar = "grammar.pest"]
struct Grammar;

/// Parses the declarations of a file. One that cannot be parsed is reported and stands as [`DeclKind::Broken`].
pub fn parse_file<'a>(source: usize, outline: &'a Outline<'a>, diagnostics: &mut Vec<Diagnostic>) -> File<'a> {
    // Declarations know nothing of each other. Threads change when they are parsed, never what comes of it.
    let parts = threads::in_parts(&outline.chunks, WORTH_A_THREAD, |chunks| {
        let mut problems = Vec::new();
        let decls: Vec<_> = chunks.iter().map(|chunk| parse_decl(source, outline, chunk, &mut problems)).collect();
        (decls, problems)
    });
    let mut decls = Vec::with_capacity(outline.chunks.len());
    for (parsed, problems) in parts {
        decls.extend(parsed);
        diagnostics.extend(problems);
    }
    File { doc: &outline.doc, decls }
}

const WORTH_A_THREAD: usize = 1_500;

fn parse_decl<'a>(
    source: usize,
    outline: &'a Outline<'a>,
    chunk: &'a Chunk<'a>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Decl<'a> {
    let kind = (!chunk.broken).then(|| parse_chunk(source, outline, chunk, diagnostics)).flatten();
    let kind = kind.unwrap_or(DeclKind::Broken { keyword: chunk.keyword, name: chunk.name });
    Decl { doc: &chunk.doc, kind }
}

/// Parses a value that stands alone, such as one from the command line; `None` when it is none.
pub fn parse_value(text: &str) -> Option<Expr<'_>> {
    let mut diagnostics = Vec::new();
    let n_brackets = text.bytes().filter(|byte| b"([{".contains(byte)).count();
    if n_brackets + text.matches("if").count() > MAX_DEPTH {
        return None;
    }
    let pair = Grammar::parse(Rule::value_text, text).ok()?.next()?;
    let mut builder = Builder { source: 0, base: 0, diagnostics: &mut diagnostics };
    let value = pair.into_inner().next().map(|pair| builder.expr(pair))?;
    diagnostics.is_empty().then_some(value)
}

fn is_declaring(word: &str) -> bool {
    DECLARING.contains(&word)
}

fn parse_chunk<'a>(
    source: usize,
    outline: &'a Outline<'a>,
    chunk: &'a Chunk<'a>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<DeclKind<'a>> {
    let rule = match chunk.keyword {
        "pipeline" => Rule::pipeline_decl,
        "use" => Rule::use_decl,
        "param" => Rule::param_decl,
        "let" => Rule::let_decl,
        "schema" => Rule::schema_decl,
        "source" => Rule::source_decl,
        "step" => Rule::step_decl,
        "effect" => Rule::effect_decl,
        "gate" => Rule::gate_decl,
        "release" => Rule::release_decl,
        "result" => Rule::result_decl,
        "given" => Rule::given_decl,
        "expect" => Rule::expect_decl,
        _ => return parse_block(source, outline, chunk, diagnostics),
    };
    let pair = parse_rule(source, outline, (chunk.start, chunk.end), rule, diagnostics)?;
    Builder { source, base: chunk.start, diagnostics }.declaration(pair)
}

/// Parses a declaration that holds others: its head, its body and what stands behind.
fn parse_block<'a>(
    source: usize,
    outline: &'a Outline<'a>,
    chunk: &'a Chunk<'a>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<DeclKind<'a>> {
    let head_end = chunk.body.as_ref().map_or(chunk.end, |body| body.start);
    let rule = match chunk.keyword {
        "def" => Rule::def_head,
        "test" => Rule::test_head,
        _ => Rule::for_head,
    };
    let head = parse_rule(source, outline, (chunk.start, head_end), rule, diagnostics).and_then(|pair| {
        let mut builder = Builder { source, base: chunk.start, diagnostics };
        match rule {
            Rule::def_head => builder.def_head(pair),
            Rule::test_head => builder.test_head(pair),
            _ => builder.for_head(pair),
        }
    });
    let Some(body) = &chunk.body else {
        if head.is_some() {
            let here = Span { source, start: chunk.end, end: chunk.end };
            let problem = Diagnostic::error("E0103", format!("`{}` has no body", chunk.keyword));
            diagnostics.push(problem.at(here, "expected `{`"));
        }
        return None;
    };
    let is_test = chunk.keyword == "test";
    let inner = body.chunks.iter().map(|chunk| match chunk.keyword {
        // A test does not declare parameters: it sets them.
        "param" if is_test => parse_set(source, outline, chunk, diagnostics),
        _ => parse_decl(source, outline, chunk, diagnostics),
    });
    let body_decls = inner.collect();
    parse_rule(source, outline, (body.end, chunk.end), Rule::no_tail, diagnostics)?;
    Some(match head? {
        Head::Def(name, params) => DeclKind::Def(DefDecl { name, params, body: body_decls }),
        Head::For { bindings, draws, limit, tolerate, name } => {
            let mut bindings = bindings.into_iter();
            let (variable, values) = bindings.next()?;
            let (more, body) = (bindings.collect(), body_decls);
            DeclKind::Loop(Box::new(LoopDecl { name, variable, values, more, draws, limit, tolerate, body }))
        }
        Head::Test(name) => DeclKind::Test(TestDecl { name, body: body_decls }),
    })
}

/// What stands before the body of a declaration that holds others.
enum Head<'a> {
    Def(Name<'a>, Vec<ParamDecl<'a>>),
    For {
        bindings: Vec<(Name<'a>, Expr<'a>)>,
        draws: Option<DrawsExpr<'a>>,
        limit: Option<Expr<'a>>,
        tolerate: Option<Expr<'a>>,
        name: Name<'a>,
    },
    Test(Text<'a>),
}

/// Parses `param NAME = VALUE`.
fn parse_set<'a>(
    source: usize,
    outline: &'a Outline<'a>,
    chunk: &'a Chunk<'a>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Decl<'a> {
    let span = (chunk.start, chunk.end);
    let pair = (!chunk.broken).then(|| parse_rule(source, outline, span, Rule::set_decl, diagnostics)).flatten();
    let kind = pair.and_then(|pair| Builder { source, base: chunk.start, diagnostics }.declaration(pair));
    let kind = kind.unwrap_or(DeclKind::Broken { keyword: chunk.keyword, name: chunk.name });
    Decl { doc: &chunk.doc, kind }
}

/// Parses a piece of the text; what is wrong with it is reported.
fn parse_rule<'a>(
    source: usize,
    outline: &'a Outline<'a>,
    (start, end): (usize, usize),
    rule: Rule,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Pair<'a, Rule>> {
    let text = &outline.plain[start..end];
    match Grammar::parse(rule, text) {
        Ok(mut pairs) => pairs.next(),
        Err(error) => {
            let offset = match error.location {
                InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
            };
            let rules = match error.variant {
                ErrorVariant::ParsingError { positives, .. } => positives,
                ErrorVariant::CustomError { .. } => Vec::new(),
            };
            diagnostics.push(expected::syntax_error(source, start, text, offset, &rules));
            None
        }
    }
}

/// Builds the tree from pest's pairs.
struct Builder<'d> {
    source: usize,
    base: usize,
    diagnostics: &'d mut Vec<Diagnostic>,
}

impl<'d> Builder<'d> {
    /// Returns `None` only when grammar and builder disagree, which the test of all constructs excludes.
    fn declaration<'a>(&mut self, pair: Pair<'a, Rule>) -> Option<DeclKind<'a>> {
        let rule = pair.as_rule();
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        if rule == Rule::result_decl {
            return Some(DeclKind::Result(self.result(span, inner)?));
        }
        if rule == Rule::use_decl {
            return Some(DeclKind::Use(self.use_decl(inner)?));
        }
        if rule == Rule::expect_decl {
            return Some(DeclKind::Expect(Box::new(self.expect(span, inner)?)));
        }
        let name = inner.find(|pair| pair.as_rule() == Rule::name).map(|pair| self.name(pair))?;
        Some(match rule {
            Rule::pipeline_decl => {
                let as_of = inner.find(|pair| pair.as_rule() == Rule::def_param).and_then(|pair| {
                    let mut inner = pair.into_inner();
                    let name = self.name(inner.next()?);
                    self.param(name, inner)
                });
                DeclKind::Pipeline(Box::new(PipelineDecl { name, as_of }))
            }
            Rule::param_decl => DeclKind::Param(Box::new(self.param(name, inner)?)),
            Rule::let_decl => {
                let value = inner.find(|pair| pair.as_rule() == Rule::expr)?;
                DeclKind::Let(LetDecl { name, value: self.expr(value) })
            }
            Rule::schema_decl => DeclKind::Schema(self.schema(name, inner)?),
            Rule::source_decl => DeclKind::Call(self.call(CallClass::Source, name, inner)?),
            Rule::step_decl => DeclKind::Call(self.call(CallClass::Step, name, inner)?),
            Rule::effect_decl => DeclKind::Call(self.call(CallClass::Effect, name, inner)?),
            Rule::gate_decl => DeclKind::Gate(self.gate(name, inner)?),
            Rule::given_decl => DeclKind::Given(Box::new(self.given(name, inner)?)),
            Rule::set_decl => {
                let value = inner.find(|pair| pair.as_rule() == Rule::plain)?;
                DeclKind::Set(SetDecl { name, value: self.expr(value) })
            }
            _ => DeclKind::Release(Box::new(self.release(name, inner)?)),
        })
    }

    fn use_decl<'a>(&mut self, inner: Pairs<'a, Rule>) -> Option<UseDecl<'a>> {
        let (mut module, mut name) = (ModuleRef::Wrong, None);
        for pair in inner {
            match pair.as_rule() {
                Rule::string => module = self.string(pair).map_or(ModuleRef::Wrong, ModuleRef::File),
                Rule::path => module = ModuleRef::Standard(Name { text: pair.as_str(), span: self.span(&pair) }),
                Rule::name => name = Some(self.name(pair)),
                _ => {}
            }
        }
        Some(UseDecl { module, name: name? })
    }

    fn for_head<'a>(&mut self, pair: Pair<'a, Rule>) -> Option<Head<'a>> {
        let (mut bindings, mut draws, mut name) = (Vec::new(), None, None);
        let (mut limit, mut tolerate) = (None, None);
        for pair in pair.into_inner() {
            match pair.as_rule() {
                Rule::name => name = Some(self.name(pair)),
                Rule::binding => {
                    let mut inner = pair.into_inner();
                    let variable = self.name(inner.next()?);
                    let values = inner.find(|pair| pair.as_rule() == Rule::expr)?;
                    bindings.push((variable, self.expr(values)));
                }
                Rule::draws => {
                    let mut exprs = pair.into_inner().filter(|pair| pair.as_rule() == Rule::expr);
                    let (count, seed) = (exprs.next()?, exprs.next()?);
                    draws = Some(DrawsExpr { count: self.expr(count), seed: self.expr(seed) });
                }
                rule @ (Rule::limit | Rule::tolerate) => {
                    let most = pair.into_inner().find(|pair| pair.as_rule() == Rule::expr)?;
                    let place = if rule == Rule::limit { &mut limit } else { &mut tolerate };
                    *place = Some(self.expr(most));
                }
                _ => {}
            }
        }
        Some(Head::For { bindings, draws, limit, tolerate, name: name? })
    }

    fn def_head<'a>(&mut self, pair: Pair<'a, Rule>) -> Option<Head<'a>> {
        let (mut name, mut params) = (None, Vec::new());
        for pair in pair.into_inner() {
            match pair.as_rule() {
                Rule::name => name = Some(self.name(pair)),
                Rule::def_param => {
                    let mut inner = pair.into_inner();
                    let name = self.name(inner.next()?);
                    params.push(self.param(name, inner)?);
                }
                _ => {}
            }
        }
        Some(Head::Def(name?, params))
    }

    fn test_head<'a>(&mut self, pair: Pair<'a, Rule>) -> Option<Head<'a>> {
        let name = pair.into_inner().find(|pair| pair.as_rule() == Rule::string)?;
        self.string(name).map(Head::Test)
    }

    fn given<'a>(&mut self, name: Name<'a>, inner: Pairs<'a, Rule>) -> Option<GivenDecl<'a>> {
        let (mut schema, mut table) = (None, None);
        for pair in inner {
            match pair.as_rule() {
                Rule::path => schema = Some(self.path_expr(pair)),
                Rule::string => table = self.string(pair),
                _ => {}
            }
        }
        Some(GivenDecl { name, schema, table: table? })
    }

    fn expect<'a>(&mut self, span: Span, inner: Pairs<'a, Rule>) -> Option<ExpectDecl<'a>> {
        for pair in inner {
            let kind = match pair.as_rule() {
                Rule::expr => ExpectKind::Compare(self.expr(pair)),
                Rule::rows_expected => {
                    let (mut node, mut table, mut any_order, mut within) = (None, None, false, None);
                    for pair in pair.into_inner() {
                        match pair.as_rule() {
                            Rule::path => node = Some(self.path_expr(pair)),
                            Rule::string => table = self.string(pair),
                            Rule::any_order => any_order = true,
                            Rule::tolerance => {
                                let value = pair.into_inner().find(|pair| pair.as_rule() == Rule::plain)?;
                                within = Some(self.expr(value));
                            }
                            _ => {}
                        }
                    }
                    ExpectKind::Rows(RowsExpected { node: node?, table: table?, any_order, within })
                }
                Rule::failure_expected => {
                    let mut inner = pair.into_inner();
                    let node = self.path_expr(inner.find(|pair| pair.as_rule() == Rule::path)?);
                    let code = self.name(inner.find(|pair| pair.as_rule() == Rule::name)?);
                    ExpectKind::Fails { node, code }
                }
                _ => continue,
            };
            return Some(ExpectDecl { kind, span });
        }
        None
    }

    fn result<'a>(&mut self, span: Span, inner: Pairs<'a, Rule>) -> Option<ResultDecl<'a>> {
        for pair in inner {
            let content = match pair.as_rule() {
                Rule::model => ResultContent::One(self.path_expr(pair.into_inner().next()?)),
                Rule::record => ResultContent::Several(self.fields(pair.into_inner())),
                _ => continue,
            };
            return Some(ResultDecl { content, span });
        }
        None
    }

    fn param<'a>(&mut self, name: Name<'a>, inner: Pairs<'a, Rule>) -> Option<ParamDecl<'a>> {
        let (mut ty, mut default, mut rules) = (None, None, Vec::new());
        for pair in inner {
            match pair.as_rule() {
                Rule::type_expr => ty = Some(self.type_expr(pair)?),
                Rule::plain => default = Some(self.expr(pair)),
                Rule::restriction => rules.push(self.rule(pair)?),
                _ => {}
            }
        }
        Some(ParamDecl { name, ty: ty?, default, rules })
    }

    fn schema<'a>(&mut self, name: Name<'a>, inner: Pairs<'a, Rule>) -> Option<SchemaDecl<'a>> {
        let mut schema = SchemaDecl { name, open: false, columns: Vec::new(), incomplete: false };
        for pair in inner {
            match pair.as_rule() {
                Rule::open => schema.open = true,
                Rule::column => match self.column(pair)? {
                    Some(column) => schema.columns.push(column),
                    None => schema.incomplete = true,
                },
                _ => {}
            }
        }
        Some(schema)
    }

    /// The inner `None` is a column whose name could not be read.
    fn column<'a>(&mut self, pair: Pair<'a, Rule>) -> Option<Option<ColumnDecl<'a>>> {
        let (mut name, mut ty, mut rules, mut marks) = (None, None, Vec::new(), Vec::new());
        for pair in pair.into_inner() {
            match pair.as_rule() {
                Rule::name | Rule::string => name = self.label(pair),
                Rule::type_expr => ty = Some(self.type_expr(pair)?),
                Rule::restriction => rules.push(self.rule(pair)?),
                Rule::mark => {
                    let mut inner = pair.into_inner();
                    let name = self.name(inner.next()?);
                    let reason = inner.next().and_then(|pair| self.string(pair));
                    marks.push(MarkExpr { name, reason });
                }
                _ => {}
            }
        }
        let ty = ty?;
        Some(name.map(|name| ColumnDecl { name, ty, rules, marks }))
    }

    fn type_expr<'a>(&mut self, pair: Pair<'a, Rule>) -> Option<TypeExpr<'a>> {
        let span = self.span(&pair);
        let (mut name, mut args, mut optional) = (None, Vec::new(), false);
        for pair in pair.into_inner() {
            match pair.as_rule() {
                Rule::name => name = Some(self.name(pair)),
                Rule::optional => optional = true,
                Rule::type_args => {
                    for pair in pair.into_inner() {
                        match pair.as_rule() {
                            Rule::type_expr => args.push(TypeArg::Type(self.type_expr(pair)?)),
                            Rule::number => args.push(TypeArg::Number(self.number(&pair))),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(TypeExpr { name: name?, args, optional, span })
    }

    fn rule<'a>(&mut self, pair: Pair<'a, Rule>) -> Option<RuleExpr<'a>> {
        let span = self.span(&pair);
        let (mut values, mut inclusive, mut comparison) = (Vec::new(), None, None);
        for pair in pair.into_inner() {
            match pair.as_rule() {
                Rule::plain => values.push(self.expr(pair)),
                Rule::through => inclusive = Some(true),
                Rule::upto => inclusive = Some(false),
                Rule::comparison => comparison = comparison_of(pair.into_inner().next()?.as_rule()),
                rule => comparison = comparison_of(rule).or(comparison),
            }
        }
        let mut values = values.into_iter();
        let kind = match inclusive {
            Some(inclusive) => RuleKind::Range { low: values.next()?, high: values.next()?, inclusive },
            None if comparison.is_none() => RuleKind::OneOf(values.next()?),
            None => RuleKind::Bound { comparison: comparison?, value: values.next()? },
        };
        Some(RuleExpr { kind, span })
    }

    fn call<'a>(&mut self, class: CallClass, name: Name<'a>, inner: Pairs<'a, Rule>) -> Option<CallDecl<'a>> {
        let (mut value, mut options, mut condition) = (None, Vec::new(), None);
        for pair in inner {
            match pair.as_rule() {
                Rule::expr => value = Some(self.expr(pair)),
                Rule::condition => {
                    let expr = pair.into_inner().find(|pair| pair.as_rule() == Rule::expr)?;
                    condition = Some(Box::new(self.expr(expr)));
                }
                Rule::options => {
                    let record = pair.into_inner().find(|pair| pair.as_rule() == Rule::record)?;
                    options = self.fields(record.into_inner());
                }
                _ => {}
            }
        }
        Some(CallDecl { class, name, value: value?, options, condition, text: 0 })
    }

    fn gate<'a>(&mut self, name: Name<'a>, inner: Pairs<'a, Rule>) -> Option<GateDecl<'a>> {
        let mut gate = GateDecl { name, checks: Vec::new(), firsts: Vec::new() };
        for pair in inner {
            let span = self.span(&pair);
            match pair.as_rule() {
                Rule::check => {
                    let mut inner = pair.into_inner();
                    let name = self.name(inner.next()?);
                    gate.checks.push(CheckDecl { name, expr: self.expr(inner.next()?), span });
                }
                Rule::first => {
                    let names = pair.clone().into_inner().filter(|pair| pair.as_rule() == Rule::name);
                    let names: Vec<_> = names.map(|pair| self.name(pair)).collect();
                    gate.firsts.push(FirstDecl { only: (!names.is_empty()).then_some(names), span });
                }
                _ => {}
            }
        }
        Some(gate)
    }

    fn release<'a>(&mut self, name: Name<'a>, inner: Pairs<'a, Rule>) -> Option<ReleaseDecl<'a>> {
        let (mut content, mut gates) = (None, Vec::new());
        for pair in inner {
            match pair.as_rule() {
                Rule::model => content = Some(ReleaseContent::Model(self.path_expr(pair.into_inner().next()?))),
                Rule::bundle => {
                    let parts = pair.into_inner().filter(|pair| pair.as_rule() == Rule::part);
                    content = Some(ReleaseContent::Bundle(parts.map(|pair| self.part(pair)).collect::<Option<_>>()?));
                }
                Rule::when => {
                    let names = pair.into_inner().filter(|pair| pair.as_rule() == Rule::name);
                    gates = names.map(|pair| self.name(pair)).collect();
                }
                _ => {}
            }
        }
        Some(ReleaseDecl { name, content: content?, gates })
    }

    fn part<'a>(&mut self, pair: Pair<'a, Rule>) -> Option<PartDecl<'a>> {
        let span = self.span(&pair);
        let (mut name, mut value) = (None, None);
        for pair in pair.into_inner() {
            match pair.as_rule() {
                Rule::label => name = Some(self.name(pair.into_inner().next()?)),
                Rule::transform => {
                    let step = pair.into_inner().find(|pair| pair.as_rule() == Rule::name)?;
                    value = Some(PartValue::Transform(self.name(step)));
                }
                Rule::expr => value = Some(PartValue::Expr(self.expr(pair))),
                _ => {}
            }
        }
        Some(PartDecl { name, value: value?, span })
    }

    fn name<'a>(&mut self, pair: Pair<'a, Rule>) -> Name<'a> {
        let name = Name { text: pair.as_str(), span: self.span(&pair) };
        self.refuse_letters(name);
        name
    }

    fn refuse_letters(&mut self, name: Name<'_>) {
        if let Some(letter) = name.text.chars().find(|c| !c.is_ascii()) {
            let message = format!("`{}` is not a name: `{letter}` cannot be in one", name.text);
            let help = "a name has ASCII letters, digits and `_`; a column of another name is written as a string";
            self.diagnostics.push(Diagnostic::error("E0109", message).at(name.span, "").help(help));
        }
    }

    /// Reads a name or a string as a label.
    fn label<'a>(&mut self, pair: Pair<'a, Rule>) -> Option<Label<'a>> {
        if pair.as_rule() == Rule::string {
            return self.string(pair).map(|text| Label { text: text.value, span: text.span });
        }
        let name = self.name(pair);
        Some(Label { text: Cow::Borrowed(name.text), span: name.span })
    }

    fn string<'a>(&mut self, pair: Pair<'a, Rule>) -> Option<Text<'a>> {
        let span = self.span(&pair);
        literal::read_string(pair.as_str(), span).map_err(|problem| self.diagnostics.push(problem)).ok()
    }

    fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        let span = pair.as_span();
        Span { source: self.source, start: self.base + span.start(), end: self.base + span.end() }
    }
}

fn comparison_of(rule: Rule) -> Option<Comparison> {
    match rule {
        Rule::less => Some(Comparison::Less),
        Rule::less_or_equal => Some(Comparison::LessOrEqual),
        Rule::greater => Some(Comparison::Greater),
        Rule::greater_or_equal => Some(Comparison::GreaterOrEqual),
        _ => None,
    }
}
