//! Builds expressions: operators by their precedence, calls, lists and records. Bounds their depth.

use std::cell::RefCell;
use std::sync::LazyLock;

use mlp_model::{Span, Value};
use pest::iterators::{Pair, Pairs};
use pest::pratt_parser::{Assoc, Op, PrattParser};

use super::{Builder, Rule, comparison_of};
use crate::ast::*;
use crate::diagnostic::Diagnostic;
use crate::literal::{self, Number};
use crate::outline::{MAX_DEPTH, too_deep};

/// Binding loosest first.
static PRECEDENCE: LazyLock<PrattParser<Rule>> = LazyLock::new(|| {
    let left = |rule| Op::infix(rule, Assoc::Left);
    PrattParser::new()
        .op(left(Rule::or))
        .op(left(Rule::and))
        .op(Op::prefix(Rule::not))
        .op(left(Rule::equal)
            | left(Rule::not_equal)
            | left(Rule::less)
            | left(Rule::less_or_equal)
            | left(Rule::greater)
            | left(Rule::greater_or_equal)
            | left(Rule::within))
        .op(Op::infix(Rule::otherwise, Assoc::Right))
        .op(left(Rule::add) | left(Rule::subtract))
        .op(left(Rule::multiply) | left(Rule::divide) | left(Rule::remainder))
        .op(Op::prefix(Rule::negate))
});

impl Builder<'_> {
    /// Builds an `expr` or a `plain`.
    pub(super) fn expr<'a>(&mut self, pair: Pair<'a, Rule>) -> Expr<'a> {
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        // Most expressions are one term.
        if inner.len() == 1
            && let Some(term) = inner.next()
        {
            return self.term(term);
        }
        // `pest` recurses into prefix operators, so they are counted before.
        if inner.len() > 2 * MAX_DEPTH {
            self.diagnostics.push(too_deep(span));
            return wrong(span);
        }
        self.operators(inner)
    }

    fn operators<'a>(&mut self, pairs: Pairs<'a, Rule>) -> Expr<'a> {
        let builder = RefCell::new(self);
        PRECEDENCE
            .map_primary(|pair| builder.borrow_mut().term(pair))
            .map_prefix(|op, operand| builder.borrow_mut().unary(&op, operand))
            .map_infix(|left, op, right| builder.borrow_mut().binary(left, &op, right))
            .parse(pairs)
    }

    fn unary<'a>(&mut self, op: &Pair<'a, Rule>, operand: Expr<'a>) -> Expr<'a> {
        let span = Span { end: operand.span.end, ..self.span(op) };
        let depth = operand.depth + 1;
        let op = if op.as_rule() == Rule::negate { Unary::Negate } else { Unary::Not };
        self.bounded(ExprKind::Unary { op, operand: Box::new(operand) }, span, depth)
    }

    fn binary<'a>(&mut self, left: Expr<'a>, op: &Pair<'a, Rule>, right: Expr<'a>) -> Expr<'a> {
        let span = Span { end: right.span.end, ..left.span };
        let depth = left.depth.max(right.depth) + 1;
        let rule = op.as_rule();
        let op_span = self.span(op);
        let op = match rule {
            Rule::or => Binary::Or,
            Rule::and => Binary::And,
            Rule::equal => Binary::Equal,
            Rule::not_equal => Binary::NotEqual,
            Rule::add => Binary::Add,
            Rule::subtract => Binary::Subtract,
            Rule::multiply => Binary::Multiply,
            Rule::divide => Binary::Divide,
            Rule::remainder => Binary::Remainder,
            Rule::within => Binary::Within,
            Rule::otherwise => Binary::Otherwise,
            other => match comparison_of(other) {
                Some(comparison) => Binary::Compare(comparison),
                None => return wrong(span),
            },
        };
        self.bounded(ExprKind::Binary { op, op_span, left: Box::new(left), right: Box::new(right) }, span, depth)
    }

    fn term<'a>(&mut self, pair: Pair<'a, Rule>) -> Expr<'a> {
        let span = self.span(&pair);
        match pair.as_rule() {
            Rule::number => self.number(&pair),
            Rule::string => match self.string(pair) {
                Some(text) => Expr { kind: ExprKind::Text(Box::new(text)), span, depth: 0 },
                None => wrong(span),
            },
            Rule::list => {
                let items = pair.into_inner().filter(|pair| pair.as_rule() == Rule::expr);
                let items: Vec<_> = items.map(|pair| self.expr(pair)).collect();
                let depth = items.iter().map(|item| item.depth).max().unwrap_or(0) + 1;
                self.bounded(ExprKind::List(items), span, depth)
            }
            Rule::record => {
                let fields = self.fields(pair.into_inner());
                let depth = deepest(&fields) + 1;
                self.bounded(ExprKind::Record(fields), span, depth)
            }
            Rule::group => {
                let mut parts = pair.into_inner();
                let inner = parts.find(|pair| pair.as_rule() == Rule::expr).map(|pair| self.expr(pair));
                let inner = inner.unwrap_or_else(|| wrong(span));
                let depth = inner.depth + 1;
                let close = parts.next().map_or(span.end, |close| self.span(&close).end);
                let group = self.bounded(ExprKind::Group(Box::new(inner)), Span { end: close, ..span }, depth);
                self.indexed(group, parts)
            }
            Rule::reference => self.reference(pair),
            Rule::choice => {
                let parts = pair.into_inner().filter(|pair| pair.as_rule() == Rule::expr);
                let parts: Vec<_> = parts.map(|pair| self.expr(pair)).collect();
                let depth = parts.iter().map(|part| part.depth).max().unwrap_or(0) + 1;
                match <[Expr<'a>; 3]>::try_from(parts) {
                    Ok(parts) => self.bounded(ExprKind::If(Box::new(parts)), span, depth),
                    Err(_) => wrong(span),
                }
            }
            _ => wrong(span),
        }
    }

    fn reference<'a>(&mut self, pair: Pair<'a, Rule>) -> Expr<'a> {
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        let Some(path) = inner.next() else { return wrong(span) };
        let path_name = Name { text: path.as_str(), span: self.span(&path) };
        let Some(next) = inner.next() else { return self.path_expr(path) };
        let (expr, first_index) = if next.as_rule() == Rule::arguments {
            let arguments_end = self.span(&next).end;
            let end = Span { start: arguments_end.saturating_sub(1), end: arguments_end, ..span };
            let args = self.fields(next.into_inner());
            let depth = deepest(&args) + 1;
            let span = Span { end: arguments_end, ..span };
            (self.bounded(ExprKind::Call(Box::new(CallExpr { path: path_name, args, end })), span, depth), None)
        } else {
            (self.path_expr(path), Some(next))
        };
        self.indexed(expr, first_index.into_iter().chain(inner))
    }

    /// Adds the `[..]` that follow.
    fn indexed<'a>(&mut self, mut expr: Expr<'a>, indices: impl Iterator<Item = Pair<'a, Rule>>) -> Expr<'a> {
        for pair in indices {
            if matches!(expr.kind, ExprKind::Wrong) {
                break;
            }
            let span = Span { end: self.span(&pair).end, ..expr.span };
            let index = pair.into_inner().find(|pair| pair.as_rule() == Rule::expr).map(|pair| self.expr(pair));
            let index = index.unwrap_or_else(|| wrong(span));
            let depth = expr.depth.max(index.depth) + 1;
            expr = self.bounded(ExprKind::Index { list: Box::new(expr), index: Box::new(index) }, span, depth);
        }
        expr
    }

    pub(super) fn path_expr<'a>(&mut self, pair: Pair<'a, Rule>) -> Expr<'a> {
        let span = self.span(&pair);
        let kind = match pair.as_str() {
            "true" => ExprKind::Literal(Value::Bool(true)),
            "false" => ExprKind::Literal(Value::Bool(false)),
            "none" => ExprKind::Literal(Value::Null),
            word @ ("and" | "or" | "in" | "with" | "when" | "if" | "then" | "else") => {
                let message = format!("expected a value, found `{word}`");
                self.diagnostics.push(Diagnostic::error("E0103", message).at(span, ""));
                ExprKind::Wrong
            }
            _ => {
                let names = pair.into_inner();
                let mut path = Vec::with_capacity(names.len());
                path.extend(names.map(|pair| self.name(pair)));
                ExprKind::Path(path)
            }
        };
        Expr { kind, span, depth: 0 }
    }

    /// Builds the members of a record or the arguments of a call.
    pub(super) fn fields<'a>(&mut self, pairs: Pairs<'a, Rule>) -> Vec<Field<'a>> {
        // Brackets and commas stand around and between them.
        let mut fields = Vec::with_capacity(pairs.len() / 2);
        for pair in pairs.filter(|pair| matches!(pair.as_rule(), Rule::field | Rule::argument)) {
            let span = self.span(&pair);
            let (mut name, mut value) = (None, None);
            for pair in pair.into_inner() {
                match pair.as_rule() {
                    Rule::label | Rule::text_label => {
                        name = pair.into_inner().next().and_then(|pair| self.label(pair));
                    }
                    Rule::maybe => {
                        let span = self.span(&pair);
                        let word = pair.into_inner().next().map(|name| ExprKind::Maybe(self.name(name)));
                        value = word.map(|kind| Expr { kind, span, depth: 0 });
                    }
                    _ => value = Some(self.expr(pair)),
                }
            }
            fields.push(Field { name, value: value.unwrap_or_else(|| wrong(span)) });
        }
        fields
    }

    /// Reads a number, duration, date or timestamp.
    pub(super) fn number<'a>(&mut self, pair: &Pair<'a, Rule>) -> Expr<'a> {
        let span = self.span(pair);
        match literal::read_number(pair.as_str(), span) {
            Ok(Number::Int(magnitude)) => Expr { kind: ExprKind::Int(magnitude), span, depth: 0 },
            Ok(Number::Other(value)) => Expr { kind: ExprKind::Literal(value), span, depth: 0 },
            Err(problem) => {
                self.diagnostics.push(problem);
                wrong(span)
            }
        }
    }

    /// Refuses a tree that has become too deep, so that nothing that walks one can run out of stack.
    fn bounded<'a>(&mut self, kind: ExprKind<'a>, span: Span, depth: usize) -> Expr<'a> {
        if depth <= MAX_DEPTH {
            return Expr { kind, span, depth };
        }
        self.diagnostics.push(too_deep(span));
        wrong(span)
    }
}

fn deepest(fields: &[Field<'_>]) -> usize {
    fields.iter().map(|field| field.value.depth).max().unwrap_or(0)
}

fn wrong<'a>(span: Span) -> Expr<'a> {
    Expr { kind: ExprKind::Wrong, span, depth: 0 }
}
