//! The syntax tree: what is written, with spans, unchecked.
//!
//! Borrows from the source text. Knows no names and no types; a part that could not be read is [`ExprKind::Wrong`] and
//! has been reported already.

mod moved;

use std::borrow::Cow;

use mlp_model::{CallClass, Comparison, Span, Value};

pub use moved::Moved;

/// A parsed file.
#[derive(Debug, Default)]
pub struct File<'a> {
    pub doc: &'a str,
    pub decls: Vec<Decl<'a>>,
}

#[derive(Debug)]
pub struct Decl<'a> {
    pub doc: &'a str,
    pub kind: DeclKind<'a>,
}

/// Most declarations of a long file are calls: what is larger stands in a box.
#[derive(Debug)]
pub enum DeclKind<'a> {
    Pipeline(Box<PipelineDecl<'a>>),
    Use(UseDecl<'a>),
    Param(Box<ParamDecl<'a>>),
    Let(LetDecl<'a>),
    Schema(SchemaDecl<'a>),
    Def(DefDecl<'a>),
    Loop(Box<LoopDecl<'a>>),
    /// Stands only within a `def`.
    Result(ResultDecl<'a>),
    Call(CallDecl<'a>),
    Gate(GateDecl<'a>),
    Release(Box<ReleaseDecl<'a>>),
    Test(TestDecl<'a>),
    /// These stand only within a `test`.
    Given(Box<GivenDecl<'a>>),
    Set(SetDecl<'a>),
    Expect(Box<ExpectDecl<'a>>),
    /// Could not be parsed; its name, where it has one, is still known to be taken.
    Broken {
        keyword: &'a str,
        name: Option<Name<'a>>,
    },
}

impl<'a> Decl<'a> {
    /// Returns the word that begins the declaration, and the declared name.
    pub fn head(&self) -> (&'a str, Option<Name<'a>>) {
        match &self.kind {
            DeclKind::Pipeline(decl) => ("pipeline", Some(decl.name)),
            DeclKind::Use(decl) => ("use", Some(decl.name)),
            DeclKind::Param(decl) => ("param", Some(decl.name)),
            DeclKind::Let(decl) => ("let", Some(decl.name)),
            DeclKind::Schema(decl) => ("schema", Some(decl.name)),
            DeclKind::Def(decl) => ("def", Some(decl.name)),
            DeclKind::Loop(decl) => ("for", Some(decl.name)),
            DeclKind::Result(_) => ("result", None),
            DeclKind::Call(decl) => (decl.word(), Some(decl.name)),
            DeclKind::Gate(decl) => ("gate", Some(decl.name)),
            DeclKind::Release(decl) => ("release", Some(decl.name)),
            DeclKind::Test(_) => ("test", None),
            DeclKind::Given(decl) => ("given", Some(decl.name)),
            DeclKind::Set(decl) => ("param", Some(decl.name)),
            DeclKind::Expect(_) => ("expect", None),
            DeclKind::Broken { keyword, name } => (keyword, *name),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    pub text: &'a str,
    pub span: Span,
}

/// `pipeline NAME(as_of: date)`.
#[derive(Debug)]
pub struct PipelineDecl<'a> {
    pub name: Name<'a>,
    /// The day that a run is for.
    pub as_of: Option<ParamDecl<'a>>,
}

/// `use "lib/features.mlp" as features`.
#[derive(Debug)]
pub struct UseDecl<'a> {
    pub module: ModuleRef<'a>,
    pub name: Name<'a>,
}

#[derive(Debug)]
pub enum ModuleRef<'a> {
    /// Relative to the file that writes it.
    File(Text<'a>),
    /// `std.evaluation`: one that comes with the program.
    Standard(Name<'a>),
    Wrong,
}

/// `let NAME = VALUE`.
#[derive(Debug)]
pub struct LetDecl<'a> {
    pub name: Name<'a>,
    pub value: Expr<'a>,
}

/// `def NAME(PARAMS) { BODY }`.
#[derive(Debug)]
pub struct DefDecl<'a> {
    pub name: Name<'a>,
    pub params: Vec<ParamDecl<'a>>,
    /// Steps and results.
    pub body: Vec<Decl<'a>>,
}

/// `for VARIABLE in VALUES, .. random COUNT seed SEED limit MOST tolerate MOST as NAME { BODY }`.
#[derive(Debug)]
pub struct LoopDecl<'a> {
    pub name: Name<'a>,
    pub variable: Name<'a>,
    pub values: Expr<'a>,
    /// Further variables: then there is a round for each combination of values.
    pub more: Vec<(Name<'a>, Expr<'a>)>,
    /// So many of the combinations only, drawn by chance.
    pub draws: Option<DrawsExpr<'a>>,
    /// So many of its steps at most run at once.
    pub limit: Option<Expr<'a>>,
    /// So many of its rounds may fail.
    pub tolerate: Option<Expr<'a>>,
    /// Sources, steps and further loops.
    pub body: Vec<Decl<'a>>,
}

impl<'a> LoopDecl<'a> {
    /// Returns the variables, in order.
    pub fn variables(&self) -> impl Iterator<Item = &Name<'a>> {
        std::iter::once(&self.variable).chain(self.more.iter().map(|(name, _)| name))
    }
}

/// `random COUNT seed SEED`.
#[derive(Debug)]
pub struct DrawsExpr<'a> {
    pub count: Expr<'a>,
    pub seed: Expr<'a>,
}

/// `result = NODE`, or `result { NAME: NODE, .. }`.
#[derive(Debug)]
pub struct ResultDecl<'a> {
    pub content: ResultContent<'a>,
    pub span: Span,
}

#[derive(Debug)]
pub enum ResultContent<'a> {
    One(Expr<'a>),
    Several(Vec<Field<'a>>),
}

#[derive(Debug)]
pub struct ParamDecl<'a> {
    pub name: Name<'a>,
    pub ty: TypeExpr<'a>,
    pub default: Option<Expr<'a>>,
    pub rules: Vec<RuleExpr<'a>>,
}

#[derive(Debug)]
pub struct SchemaDecl<'a> {
    pub name: Name<'a>,
    pub open: bool,
    pub columns: Vec<ColumnDecl<'a>>,
    /// A column could not be read, so others may be missing.
    pub incomplete: bool,
}

#[derive(Debug)]
pub struct ColumnDecl<'a> {
    pub name: Label<'a>,
    pub ty: TypeExpr<'a>,
    pub rules: Vec<RuleExpr<'a>>,
    pub marks: Vec<MarkExpr<'a>>,
}

#[derive(Debug)]
pub struct MarkExpr<'a> {
    pub name: Name<'a>,
    pub reason: Option<Text<'a>>,
}

/// A written type: `decimal(18, 2)?`.
#[derive(Debug)]
pub struct TypeExpr<'a> {
    pub name: Name<'a>,
    pub args: Vec<TypeArg<'a>>,
    pub optional: bool,
    pub span: Span,
}

#[derive(Debug)]
pub enum TypeArg<'a> {
    Type(TypeExpr<'a>),
    Number(Expr<'a>),
}

#[derive(Debug)]
pub struct RuleExpr<'a> {
    pub kind: RuleKind<'a>,
    pub span: Span,
}

#[derive(Debug)]
pub enum RuleKind<'a> {
    Range {
        low: Expr<'a>,
        high: Expr<'a>,
        inclusive: bool,
    },
    /// A list, written out or not.
    OneOf(Expr<'a>),
    Bound {
        comparison: Comparison,
        value: Expr<'a>,
    },
}

/// `source`, `step` or `effect`.
#[derive(Debug)]
pub struct CallDecl<'a> {
    pub class: CallClass,
    pub name: Name<'a>,
    pub value: Expr<'a>,
    pub options: Vec<Field<'a>>,
    /// `when CONDITION`; of an effect, gates are among what `and` joins.
    pub condition: Option<Box<Expr<'a>>>,
    /// The number of its text where parsed declarations are kept: equal texts have equal numbers. Else 0.
    pub text: usize,
}

impl CallDecl<'_> {
    pub fn word(&self) -> &'static str {
        match self.class {
            CallClass::Source => "source",
            CallClass::Step => "step",
            CallClass::Effect => "effect",
        }
    }
}

#[derive(Debug)]
pub struct GateDecl<'a> {
    pub name: Name<'a>,
    pub checks: Vec<CheckDecl<'a>>,
    pub firsts: Vec<FirstDecl<'a>>,
}

#[derive(Debug)]
pub struct CheckDecl<'a> {
    pub name: Name<'a>,
    pub expr: Expr<'a>,
    pub span: Span,
}

/// `first a b only`, or `first refuse` without names.
#[derive(Debug)]
pub struct FirstDecl<'a> {
    pub only: Option<Vec<Name<'a>>>,
    pub span: Span,
}

#[derive(Debug)]
pub struct ReleaseDecl<'a> {
    pub name: Name<'a>,
    pub content: ReleaseContent<'a>,
    pub gates: Vec<Name<'a>>,
}

/// `test "NAME" { BODY }`.
#[derive(Debug)]
pub struct TestDecl<'a> {
    pub name: Text<'a>,
    /// Tables, parameters, steps and expectations.
    pub body: Vec<Decl<'a>>,
}

/// `given NAME: SCHEMA = TABLE`: rows in the place of a source or step, or beside them.
#[derive(Debug)]
pub struct GivenDecl<'a> {
    pub name: Name<'a>,
    pub schema: Option<Expr<'a>>,
    pub table: Text<'a>,
}

/// `param NAME = VALUE` within a test.
#[derive(Debug)]
pub struct SetDecl<'a> {
    pub name: Name<'a>,
    pub value: Expr<'a>,
}

/// `expect ..`.
#[derive(Debug)]
pub struct ExpectDecl<'a> {
    pub kind: ExpectKind<'a>,
    pub span: Span,
}

#[derive(Debug)]
pub enum ExpectKind<'a> {
    Rows(RowsExpected<'a>),
    /// `NODE fails CODE`.
    Fails {
        node: Expr<'a>,
        code: Name<'a>,
    },
    /// `rows(NODE) == 3`, or a comparison as in a gate.
    Compare(Expr<'a>),
}

/// `NODE == TABLE in any order within TOLERANCE`.
#[derive(Debug)]
pub struct RowsExpected<'a> {
    pub node: Expr<'a>,
    pub table: Text<'a>,
    pub any_order: bool,
    /// How far a number may be off.
    pub within: Option<Expr<'a>>,
}

#[derive(Debug)]
pub enum ReleaseContent<'a> {
    Model(Expr<'a>),
    Bundle(Vec<PartDecl<'a>>),
}

#[derive(Debug)]
pub struct PartDecl<'a> {
    /// `None`: named like the value.
    pub name: Option<Name<'a>>,
    pub value: PartValue<'a>,
    pub span: Span,
}

#[derive(Debug)]
pub enum PartValue<'a> {
    Transform(Name<'a>),
    Expr(Expr<'a>),
}

#[derive(Debug, Clone)]
pub struct Expr<'a> {
    pub kind: ExprKind<'a>,
    pub span: Span,
    /// Levels of brackets and operators in it; bounded by the parser, so that recursion over a tree is safe.
    pub depth: usize,
}

#[derive(Debug, Clone)]
pub enum ExprKind<'a> {
    /// An int without its sign: the least one is written as a minus and a number that does not fit without it.
    Int(u64),
    /// Any other scalar but a string, or `none`.
    Literal(Value),
    Text(Box<Text<'a>>),
    Path(Vec<Name<'a>>),
    /// `file?`: a word that says that something may be left out.
    Maybe(Name<'a>),
    Call(Box<CallExpr<'a>>),
    List(Vec<Expr<'a>>),
    /// `sizes[0]`.
    Index {
        list: Box<Expr<'a>>,
        index: Box<Expr<'a>>,
    },
    /// `if CONDITION then YES else NO`.
    If(Box<[Expr<'a>; 3]>),
    Record(Vec<Field<'a>>),
    Group(Box<Expr<'a>>),
    Unary {
        op: Unary,
        operand: Box<Expr<'a>>,
    },
    Binary {
        op: Binary,
        op_span: Span,
        left: Box<Expr<'a>>,
        right: Box<Expr<'a>>,
    },
    Wrong,
}

impl<'a> Expr<'a> {
    /// Returns the name when the expression is nothing but one.
    pub fn as_name(&self) -> Option<Name<'a>> {
        match &self.kind {
            ExprKind::Path(path) if path.len() == 1 => path.first().copied(),
            _ => None,
        }
    }

    /// Hands over every path that is written in it.
    pub fn each_path<'e>(&'e self, found: &mut dyn FnMut(&'e [Name<'a>])) {
        match &self.kind {
            ExprKind::Path(path) => found(path),
            ExprKind::List(items) => items.iter().for_each(|item| item.each_path(found)),
            ExprKind::Record(fields) => fields.iter().for_each(|field| field.value.each_path(found)),
            ExprKind::Call(call) => call.args.iter().for_each(|field| field.value.each_path(found)),
            ExprKind::Index { list, index } => {
                list.each_path(found);
                index.each_path(found);
            }
            ExprKind::If(parts) => parts.iter().for_each(|part| part.each_path(found)),
            ExprKind::Group(inner) | ExprKind::Unary { operand: inner, .. } => inner.each_path(found),
            ExprKind::Binary { left, right, .. } => {
                left.each_path(found);
                right.each_path(found);
            }
            ExprKind::Int(_) | ExprKind::Literal(_) | ExprKind::Text(_) | ExprKind::Maybe(_) | ExprKind::Wrong => {}
        }
    }
}

/// `torch.mlp([64], dropout: 0.1)`.
#[derive(Debug, Clone)]
pub struct CallExpr<'a> {
    /// As written: names joined by dots.
    pub path: Name<'a>,
    pub args: Vec<Field<'a>>,
    /// Behind the last argument, where another one could stand.
    pub end: Span,
}

/// A member of a record, or an argument of a call.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    pub name: Option<Label<'a>>,
    pub value: Expr<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unary {
    Negate,
    Not,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Compare(Comparison),
    /// `in`.
    Within,
    /// `??`.
    Otherwise,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// The name of a member, argument or column, written as a name or as a string.
#[derive(Debug, Clone)]
pub struct Label<'a> {
    pub text: Cow<'a, str>,
    pub span: Span,
}

/// A string's value, and where each part of it is written.
#[derive(Debug, Clone)]
pub struct Text<'a> {
    pub value: Cow<'a, str>,
    pub span: Span,
    /// Where the value begins in the source.
    pub start: usize,
    /// From which byte of the value on the source goes on at which other byte; both rise.
    pub pieces: Vec<(usize, usize)>,
}

impl Text<'_> {
    /// Returns where bytes `start..end` of the value are written.
    pub fn span_of(&self, start: usize, end: usize) -> Span {
        let place = |offset: usize| {
            let next = self.pieces.partition_point(|(value, _)| *value <= offset);
            let piece = next.checked_sub(1).and_then(|i| self.pieces.get(i));
            let (value, source) = piece.copied().unwrap_or((0, self.start));
            (source + (offset - value)).clamp(self.span.start, self.span.end)
        };
        let start_at = place(start);
        Span { source: self.span.source, start: start_at, end: place(end.max(start)).max(start_at) }
    }
}
