//! Cuts what stands in a block, or in a file, into rows: a declaration, a column, a check, or what somebody wrote on a
//! line of its own. Knows where rows begin, not how they are laid out.

use super::lex::{Kind, Token};
use super::tree::Node;

/// What kind of rows a block has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block<'s> {
    /// The whole file, with the places at which declarations begin.
    File(&'s [usize]),
    /// Columns, each a row. Commas between them mean nothing.
    Schema,
    /// Checks. Commas between them mean nothing.
    Gate,
    /// Anything else: lines as they are written.
    Plain,
    /// A list too long for a line: each item is a row.
    Items,
}

impl Block<'_> {
    fn drops_commas(self) -> bool {
        matches!(self, Self::Schema | Self::Gate)
    }
}

#[derive(Debug)]
pub struct Row<'n, 'a> {
    /// An empty line stands before it.
    pub blank: bool,
    /// Without the comments at its end; empty for a comment on a line of its own.
    pub nodes: &'n [Node<'a>],
    pub comment: Option<Token<'a>>,
}

pub fn rows<'n, 'a>(items: &'n [Node<'a>], block: Block<'_>) -> Vec<Row<'n, 'a>> {
    let mut rows: Vec<Row<'n, 'a>> = Vec::new();
    // Where the row at hand begins.
    let mut open: Option<usize> = None;
    let close = |rows: &mut Vec<Row<'n, 'a>>, open: &mut Option<usize>, end: usize, comment| {
        if let Some(start) = open.take() {
            let blank = !rows.is_empty() && items[start].first().breaks > 1;
            rows.push(Row { blank, nodes: &items[start..end], comment });
        }
    };
    let ends = |i: usize| block.drops_commas() && items[i].is(",");
    for (i, node) in items.iter().enumerate() {
        if let Some(token) = node.token().filter(|token| token.kind == Kind::Comment) {
            let next = (i + 1..items.len()).find(|next| !items[*next].is_comment());
            if open.is_some() && next.is_some_and(|next| !ends(next) && !begins(items, next, block, open)) {
                continue;
            }
            let is_trailing = token.breaks == 0;
            let comment = is_trailing.then_some(*token);
            let was_open = open.is_some();
            close(&mut rows, &mut open, i, comment);
            if is_trailing && was_open {
                continue;
            }
            match rows.last_mut() {
                // Behind a comma that is dropped.
                Some(last) if is_trailing && last.comment.is_none() => last.comment = comment,
                _ => {
                    let blank = !rows.is_empty() && token.breaks > 1;
                    rows.push(Row { blank, nodes: &[], comment: Some(*token) });
                }
            }
        } else if ends(i) {
            close(&mut rows, &mut open, i, None);
        } else if open.is_none() {
            open = Some(i);
        } else if begins(items, i, block, open) {
            close(&mut rows, &mut open, i, None);
            open = Some(i);
        }
    }
    close(&mut rows, &mut open, items.len(), None);
    rows
}

/// Returns whether a row begins at item `i`, which is no comment, while one that began at `open` is not closed.
fn begins(items: &[Node<'_>], i: usize, block: Block<'_>, open: Option<usize>) -> bool {
    let node = &items[i];
    let before = items[..i].iter().rev().find(|node| !node.is_comment());
    let after_comma = before.is_some_and(|before| before.is(","));
    match block {
        Block::File(starts) => starts.binary_search(&node.first().start).is_ok(),
        Block::Schema => {
            let is_name = node.is_kind(Kind::Word) || node.is_kind(Kind::Text);
            after_comma || is_name && items.get(i + 1).is_some_and(|next| next.is(":"))
        }
        Block::Items | Block::Gate if after_comma => true,
        // The name of a check, and on the next line what it checks.
        Block::Gate
            if open.is_some_and(|open| items[open..i].iter().filter(|node| !node.is_comment()).count() == 1) =>
        {
            false
        }
        Block::Gate | Block::Plain | Block::Items => {
            let comments = items[..i].iter().rev().take_while(|node| node.is_comment());
            let is_new_line = node.first().breaks > 0 || comments.count() > 0;
            let goes_on = |node: &Node<'_>| {
                let marks = [":", "..", "..=", "."];
                node.is_operator() || node.is_joining() || marks.iter().any(|mark| node.is(mark))
            };
            is_new_line && !goes_on(node) && !node.is(",") && !before.is_some_and(goes_on)
        }
    }
}
