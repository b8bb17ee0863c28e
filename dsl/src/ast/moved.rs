//! Moves a tree to another place of its file: what was parsed once need not be parsed again because something before it has
//! become longer.

use mlp_model::Span;

use super::*;

/// Something with spans.
pub trait Moved {
    /// Adds `by` to all places, modulo the size of an address: so it also goes backwards.
    fn moved(&mut self, by: usize);
}

/// Moves the fields of structs one by one. A field that is forgotten here is found by the test of moved trees.
macro_rules! moved {
    ($($ty:ident { $($field:ident),+ })+) => {
        $(impl Moved for $ty<'_> {
            fn moved(&mut self, by: usize) {
                $(self.$field.moved(by);)+
            }
        })+
    };
}

moved! {
    Decl { kind }
    Name { span }
    PipelineDecl { name, as_of }
    UseDecl { module, name }
    LetDecl { name, value }
    DefDecl { name, params, body }
    LoopDecl { name, variable, values, more, draws, limit, tolerate, body }
    DrawsExpr { count, seed }
    ResultDecl { content, span }
    ParamDecl { name, ty, default, rules }
    SchemaDecl { name, columns }
    ColumnDecl { name, ty, rules, marks }
    MarkExpr { name, reason }
    TypeExpr { name, args, span }
    RuleExpr { kind, span }
    CallDecl { name, value, options, condition }
    GateDecl { name, checks, firsts }
    CheckDecl { name, expr, span }
    FirstDecl { only, span }
    ReleaseDecl { name, content, gates }
    TestDecl { name, body }
    GivenDecl { name, schema, table }
    SetDecl { name, value }
    ExpectDecl { kind, span }
    RowsExpected { node, table, within }
    PartDecl { name, value, span }
    Expr { kind, span }
    CallExpr { path, args, end }
    Field { name, value }
    Label { span }
}

impl Moved for Span {
    fn moved(&mut self, by: usize) {
        self.start = self.start.wrapping_add(by);
        self.end = self.end.wrapping_add(by);
    }
}

impl Moved for Text<'_> {
    fn moved(&mut self, by: usize) {
        self.span.moved(by);
        self.start = self.start.wrapping_add(by);
        self.pieces.iter_mut().for_each(|(_, source)| *source = source.wrapping_add(by));
    }
}

impl<T: Moved> Moved for Option<T> {
    fn moved(&mut self, by: usize) {
        self.iter_mut().for_each(|item| item.moved(by));
    }
}

impl<T: Moved + ?Sized> Moved for Box<T> {
    fn moved(&mut self, by: usize) {
        (**self).moved(by);
    }
}

impl<T: Moved> Moved for Vec<T> {
    fn moved(&mut self, by: usize) {
        self.iter_mut().for_each(|item| item.moved(by));
    }
}

impl<A: Moved, B: Moved> Moved for (A, B) {
    fn moved(&mut self, by: usize) {
        self.0.moved(by);
        self.1.moved(by);
    }
}

impl<T: Moved, const N: usize> Moved for [T; N] {
    fn moved(&mut self, by: usize) {
        self.iter_mut().for_each(|item| item.moved(by));
    }
}

impl Moved for DeclKind<'_> {
    fn moved(&mut self, by: usize) {
        match self {
            Self::Pipeline(decl) => decl.moved(by),
            Self::Use(decl) => decl.moved(by),
            Self::Param(decl) => decl.moved(by),
            Self::Let(decl) => decl.moved(by),
            Self::Schema(decl) => decl.moved(by),
            Self::Def(decl) => decl.moved(by),
            Self::Loop(decl) => decl.moved(by),
            Self::Result(decl) => decl.moved(by),
            Self::Call(decl) => decl.moved(by),
            Self::Gate(decl) => decl.moved(by),
            Self::Release(decl) => decl.moved(by),
            Self::Test(decl) => decl.moved(by),
            Self::Given(decl) => decl.moved(by),
            Self::Set(decl) => decl.moved(by),
            Self::Expect(decl) => decl.moved(by),
            Self::Broken { name, .. } => name.moved(by),
        }
    }
}

impl Moved for ModuleRef<'_> {
    fn moved(&mut self, by: usize) {
        match self {
            Self::File(text) => text.moved(by),
            Self::Standard(name) => name.moved(by),
            Self::Wrong => {}
        }
    }
}

impl Moved for ResultContent<'_> {
    fn moved(&mut self, by: usize) {
        match self {
            Self::One(expr) => expr.moved(by),
            Self::Several(fields) => fields.moved(by),
        }
    }
}

impl Moved for TypeArg<'_> {
    fn moved(&mut self, by: usize) {
        match self {
            Self::Type(ty) => ty.moved(by),
            Self::Number(expr) => expr.moved(by),
        }
    }
}

impl Moved for RuleKind<'_> {
    fn moved(&mut self, by: usize) {
        match self {
            Self::Range { low, high, .. } => {
                low.moved(by);
                high.moved(by);
            }
            Self::OneOf(expr) | Self::Bound { value: expr, .. } => expr.moved(by),
        }
    }
}

impl Moved for ExpectKind<'_> {
    fn moved(&mut self, by: usize) {
        match self {
            Self::Rows(rows) => rows.moved(by),
            Self::Fails { node, code } => {
                node.moved(by);
                code.moved(by);
            }
            Self::Compare(expr) => expr.moved(by),
        }
    }
}

impl Moved for ReleaseContent<'_> {
    fn moved(&mut self, by: usize) {
        match self {
            Self::Model(expr) => expr.moved(by),
            Self::Bundle(parts) => parts.moved(by),
        }
    }
}

impl Moved for PartValue<'_> {
    fn moved(&mut self, by: usize) {
        match self {
            Self::Transform(name) => name.moved(by),
            Self::Expr(expr) => expr.moved(by),
        }
    }
}

impl Moved for ExprKind<'_> {
    fn moved(&mut self, by: usize) {
        match self {
            Self::Int(_) | Self::Literal(_) | Self::Wrong => {}
            Self::Text(text) => text.moved(by),
            Self::Path(names) => names.moved(by),
            Self::Maybe(word) => word.moved(by),
            Self::Call(call) => call.moved(by),
            Self::List(items) => items.moved(by),
            Self::Index { list, index } => {
                list.moved(by);
                index.moved(by);
            }
            Self::If(parts) => parts.moved(by),
            Self::Record(fields) => fields.moved(by),
            Self::Group(inner) | Self::Unary { operand: inner, .. } => inner.moved(by),
            Self::Binary { op_span, left, right, .. } => {
                op_span.moved(by);
                left.moved(by);
                right.moved(by);
            }
        }
    }
}
