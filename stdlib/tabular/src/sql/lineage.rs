//! Follows columns through a plan: which marks does each column of the result carry?
//!
//! Conservative: an expression carries the marks of every column that it reads, and a node that this module does not know
//! gives all its columns the marks of all it reads.

use std::collections::BTreeMap;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Subquery};
use mlp_model::{Marks, Rule, Scalar};

use super::plan::Tables;

/// Where a column comes from.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Trace {
    marks: Marks,
    /// Set while the column passes through unchanged.
    source: Option<(Scalar, Vec<Rule>)>,
}

impl Trace {
    /// Returns what is still true of a column of the result that has the type `scalar`.
    pub(super) fn into_marks(self, scalar: Scalar) -> (Marks, Vec<Rule>) {
        let rules = self.source.filter(|(before, _)| *before == scalar).map(|(_, rules)| rules);
        (self.marks, rules.unwrap_or_default())
    }

    /// Adds what an expression inherits from a column that it reads.
    fn read(&mut self, other: &Self) {
        let marks = &mut self.marks;
        marks.personal |= other.marks.personal;
        marks.protected |= other.marks.protected;
        marks.label |= other.marks.label;
        marks.unusable = marks.unusable.take().or_else(|| other.marks.unusable.clone());
        marks.known_at = marks.known_at.take().or_else(|| other.marks.known_at.clone());
        self.source = None;
    }

    fn of_all<'a>(traces: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        traces.into_iter().for_each(|trace| all.read(trace));
        all
    }
}

/// Returns the trace of every column of the plan's result, in order.
pub(super) fn trace_columns(plan: &LogicalPlan, tables: &Tables<'_>) -> Vec<Trace> {
    let sources = tables.iter().map(|(name, table)| {
        let traces = table
            .columns
            .iter()
            .map(|column| Trace { marks: column.marks.clone(), source: Some((column.scalar, column.rules.clone())) });
        (name.as_str(), traces.collect())
    });
    Tracer { sources: sources.collect() }.plan(plan)
}

struct Tracer<'a> {
    /// The columns of each table.
    sources: BTreeMap<&'a str, Vec<Trace>>,
}

impl Tracer<'_> {
    fn plan(&self, plan: &LogicalPlan) -> Vec<Trace> {
        let n_columns = plan.schema().fields().len();
        let traces = self.known(plan).filter(|traces| traces.len() == n_columns);
        traces.unwrap_or_else(|| vec![self.everything(plan); n_columns])
    }

    /// Follows the columns through one node, or gives up on it.
    fn known(&self, plan: &LogicalPlan) -> Option<Vec<Trace>> {
        Some(match plan {
            LogicalPlan::TableScan(scan) => {
                let columns = self.sources.get(scan.table_name.table())?;
                match &scan.projection {
                    Some(places) => places.iter().map(|place| columns.get(*place).cloned()).collect::<Option<_>>()?,
                    None => columns.clone(),
                }
            }
            LogicalPlan::Projection(node) => self.exprs(&node.expr, &node.input),
            LogicalPlan::Aggregate(node) => {
                if node.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
                    return None;
                }
                [self.exprs(&node.group_expr, &node.input), self.exprs(&node.aggr_expr, &node.input)].concat()
            }
            LogicalPlan::Window(node) => [self.plan(&node.input), self.exprs(&node.window_expr, &node.input)].concat(),
            LogicalPlan::Join(node) => {
                let (left, right) = (self.plan(&node.left), self.plan(&node.right));
                match node.join_type {
                    JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => [left, right].concat(),
                    JoinType::LeftSemi | JoinType::LeftAnti => left,
                    JoinType::RightSemi | JoinType::RightAnti => right,
                    JoinType::LeftMark | JoinType::RightMark => return None,
                }
            }
            LogicalPlan::Union(node) => {
                let inputs: Vec<_> = node.inputs.iter().map(|input| self.plan(input)).collect();
                let (first, rest) = inputs.split_first()?;
                let merged = first.iter().enumerate().map(|(i, trace)| {
                    let others: Option<Vec<_>> = rest.iter().map(|traces| traces.get(i)).collect();
                    let is_same = |others: &Vec<&Trace>| others.iter().all(|other| *other == trace);
                    others.map(|others| {
                        if is_same(&others) { trace.clone() } else { Trace::of_all(others.into_iter().chain([trace])) }
                    })
                });
                merged.collect::<Option<_>>()?
            }
            LogicalPlan::Distinct(Distinct::On(node)) => self.exprs(&node.select_expr, &node.input),
            LogicalPlan::Distinct(Distinct::All(input)) => self.plan(input),
            LogicalPlan::Filter(node) => self.plan(&node.input),
            LogicalPlan::Sort(node) => self.plan(&node.input),
            LogicalPlan::Limit(node) => self.plan(&node.input),
            LogicalPlan::Repartition(node) => self.plan(&node.input),
            LogicalPlan::SubqueryAlias(node) => self.plan(&node.input),
            LogicalPlan::Subquery(node) => self.plan(&node.subquery),
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => {
                vec![Trace::default(); plan.schema().fields().len()]
            }
            _ => return None,
        })
    }

    /// Returns one trace with the marks of all that a node reads.
    fn everything(&self, plan: &LogicalPlan) -> Trace {
        let mut all = Trace::default();
        if let LogicalPlan::TableScan(scan) = plan {
            self.sources.get(scan.table_name.table()).into_iter().flatten().for_each(|trace| all.read(trace));
        }
        for input in plan.inputs() {
            self.plan(input).iter().for_each(|trace| all.read(trace));
            all.read(&self.everything(input));
        }
        all
    }

    /// Reads what the plan's filters and joins look at.
    fn conditions(&self, plan: &LogicalPlan, all: &mut Trace) {
        if let LogicalPlan::Filter(node) = plan {
            self.exprs(std::slice::from_ref(&node.predicate), &node.input).iter().for_each(|trace| all.read(trace));
        }
        if let LogicalPlan::Join(node) = plan {
            let traces = [self.plan(&node.left), self.plan(&node.right)].concat();
            let scope = Scope { tracer: self, schema: &node.schema, traces: &traces };
            let pairs = node.on.iter().flat_map(|(left, right)| [left, right]);
            pairs.chain(&node.filter).for_each(|expr| all.read(&scope.expr(expr)));
        }
        plan.inputs().into_iter().for_each(|input| self.conditions(input, all));
    }

    fn exprs(&self, exprs: &[Expr], input: &LogicalPlan) -> Vec<Trace> {
        let traces = self.plan(input);
        let scope = Scope { tracer: self, schema: input.schema(), traces: &traces };
        exprs.iter().map(|expr| scope.expr(expr)).collect()
    }
}

/// The columns that an expression can name.
struct Scope<'a> {
    tracer: &'a Tracer<'a>,
    schema: &'a DFSchema,
    traces: &'a [Trace],
}

impl Scope<'_> {
    fn expr(&self, expr: &Expr) -> Trace {
        match expr {
            Expr::Alias(alias) => self.expr(&alias.expr),
            Expr::Column(column) => self.column(column),
            // Another type of the same value: still a key, still what it was.
            Expr::Cast(cast) => self.expr(&cast.expr),
            Expr::AggregateFunction(call) if call.func.name() == "count" && call.params.filter.is_none() => {
                // How many rows there are is no value of a column.
                let is_plain = |arg: &Expr| matches!(arg, Expr::Column(_) | Expr::Literal(..));
                if call.params.args.iter().all(is_plain) { Trace::default() } else { self.reads(expr) }
            }
            other => self.reads(other),
        }
    }

    fn column(&self, column: &Column) -> Trace {
        let found = self.schema.maybe_index_of_column(column).and_then(|place| self.traces.get(place));
        // A column of nowhere: whatever this expression could read.
        found.cloned().unwrap_or_else(|| Trace::of_all(self.traces))
    }

    /// Returns the marks of all columns that an expression reads.
    fn reads(&self, expr: &Expr) -> Trace {
        let mut all = Trace::default();
        let walked = expr.apply(|part| {
            match part {
                // One of an outer query is no column of this scope; whoever holds the subquery reads it.
                Expr::Column(column) => all.read(&self.column(column)),
                Expr::ScalarSubquery(subquery) => self.subquery(subquery, &mut all),
                Expr::InSubquery(test) => self.rows_of(&test.subquery, &mut all),
                Expr::Exists(test) => self.rows_of(&test.subquery, &mut all),
                Expr::SetComparison(test) => self.rows_of(&test.subquery, &mut all),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        });
        if walked.is_err() {
            all.read(&Trace::of_all(self.traces));
        }
        all.source = None;
        all
    }

    /// Reads a subquery of which it counts whether it has a row: what its rows are chosen by decides that too.
    fn rows_of(&self, subquery: &Subquery, all: &mut Trace) {
        self.subquery(subquery, all);
        self.tracer.conditions(&subquery.subquery, all);
    }

    fn subquery(&self, subquery: &Subquery, all: &mut Trace) {
        self.tracer.plan(&subquery.subquery).iter().for_each(|trace| all.read(trace));
        for outer in &subquery.outer_ref_columns {
            match outer {
                Expr::OuterReferenceColumn(_, column) => all.read(&self.column(column)),
                other => all.read(&self.reads(other)),
            }
        }
    }
}
