//! Puts neighbouring rows of one kind into columns: `param`, `NAME =`, columns of a schema, checks of a gate.

use super::layout::{flat, width};
use super::lex::Kind;
use super::rows::{Block, Row};
use super::tree::{Node, What};

/// A cell wider than this does not widen its column: one long name must not push all others to the right.
const WIDEST_NAME: usize = 40;
const WIDEST_TYPE: usize = 10;
const WIDEST_DEFAULT: usize = 20;

/// The beginning of a row, aligned with its neighbours.
#[derive(Debug, Default, Clone)]
pub struct Head {
    pub text: String,
    /// How many nodes of the row it stands for.
    pub n_nodes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Assignment,
    Param,
    Column,
    Check,
}

struct Cells {
    shape: Shape,
    texts: Vec<String>,
    n_nodes: usize,
    /// More of the row stands behind the cells.
    has_rest: bool,
}

impl Cells {
    fn has_more(&self, cell: usize) -> bool {
        self.has_rest || self.texts[cell + 1..].iter().any(|text| !text.is_empty())
    }
}

/// Returns the head of each row; an empty one where there is nothing to align.
pub fn heads(rows: &[Row<'_, '_>], block: Block<'_>) -> Vec<Head> {
    let cells: Vec<Option<Cells>> = rows.iter().map(|row| cells(row.nodes, block)).collect();
    let mut heads = vec![Head::default(); rows.len()];
    let mut start = 0;
    while start < rows.len() {
        let shape = cells[start].as_ref().map(|cells| cells.shape);
        let mut end = start + 1;
        // Comments between the rows do not part them; an empty line does.
        while end < rows.len() && !rows[end].blank {
            let is_comment = rows[end].nodes.is_empty();
            if !is_comment && (shape.is_none() || cells[end].as_ref().map(|cells| cells.shape) != shape) {
                break;
            }
            end += 1;
        }
        align(&cells[start..end], &mut heads[start..end]);
        start = end;
    }
    heads
}

fn align(run: &[Option<Cells>], heads: &mut [Head]) {
    let Some(shape) = run.iter().flatten().map(|cells| cells.shape).next() else { return };
    let widest = |cell: usize| match (shape, cell) {
        (_, 0) => WIDEST_NAME,
        (_, 1) => WIDEST_TYPE,
        _ => WIDEST_DEFAULT,
    };
    let n_cells = run.iter().flatten().map(|cells| cells.texts.len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_cells)
        .map(|cell| {
            let takes_part = run.iter().flatten().filter(|cells| cells.has_more(cell));
            // The `?` of an optional type hangs out of its column.
            let widths = takes_part.map(|cells| width(cells.texts[cell].trim_end_matches('?')));
            widths.filter(|n| *n <= widest(cell)).max().unwrap_or(0)
        })
        .collect();
    for (cells, head) in run.iter().zip(heads) {
        let Some(cells) = cells else { continue };
        head.n_nodes = cells.n_nodes;
        for (cell, text) in cells.texts.iter().enumerate() {
            head.text.push_str(text);
            if cells.has_more(cell) && (widths[cell] > 0 || !text.is_empty()) {
                let n_blanks = widths[cell].saturating_sub(width(text)) + if shape == Shape::Check { 2 } else { 1 };
                head.text.extend(std::iter::repeat_n(' ', n_blanks));
            }
        }
    }
}

fn cells(nodes: &[Node<'_>], block: Block<'_>) -> Option<Cells> {
    if nodes.iter().any(Node::is_comment) {
        return None;
    }
    let is_word = |i: usize| nodes.get(i).is_some_and(|node| node.is_kind(Kind::Word));
    let is = |i: usize, mark: &str| nodes.get(i).is_some_and(|node| node.is(mark));
    let cut = |shape, ends: &[usize]| {
        let mut texts = Vec::new();
        let mut start = 0;
        for end in ends {
            texts.push(flat(&nodes[start..*end])?);
            start = *end;
        }
        Some(Cells { shape, texts, n_nodes: start, has_rest: start < nodes.len() })
    };
    let first = nodes.first()?.token();
    match block {
        Block::Schema if is(1, ":") => cut(Shape::Column, &[2, type_end(nodes, 2)]),
        Block::Gate if is_word(0) && nodes.get(1).is_some_and(|node| node.gap) => cut(Shape::Check, &[1]),
        Block::Schema | Block::Gate => None,
        _ if first.is_some_and(|token| token.is_word("param")) && is_word(1) && is(2, ":") => {
            let ty = type_end(nodes, 3);
            let rule = |node: &Node<'_>| {
                node.token().is_some_and(|token| token.is_word("in") || matches!(token.text, "<" | "<=" | ">" | ">="))
            };
            let default = (ty..nodes.len()).find(|i| rule(&nodes[*i])).unwrap_or(nodes.len());
            cut(Shape::Param, &[3, ty, default])
        }
        _ if first.is_some_and(|token| token.is_word("release") || token.is_word("given")) => None,
        _ if is_word(0) && is_word(1) && is(2, "=") => cut(Shape::Assignment, &[2]),
        _ => None,
    }
}

/// Returns where the type that begins at node `start` ends: a name, arguments in brackets, and `?`.
fn type_end(nodes: &[Node<'_>], start: usize) -> usize {
    let mut end = (start + 1).min(nodes.len());
    while nodes.get(end).is_some_and(|node| node.is(".") || nodes[end - 1].is(".")) {
        end += 1;
    }
    if nodes.get(end).is_some_and(|node| matches!(&node.what, What::Group(group) if group.open.text == "(")) {
        end += 1;
    }
    end + usize::from(nodes.get(end).is_some_and(|node| node.is("?")))
}
