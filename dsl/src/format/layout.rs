//! Lays rows out on lines of at most [`MAX_WIDTH`] columns.
//!
//! What fits on a line stands on one. A call or list that does not goes on below its first item; when it was written
//! with a line break behind its bracket, it keeps its lines, two columns in. Comments stay where they are.

use super::align::{self, Head};
use super::lex::{Kind, Token};
use super::rows::{Block, Row, rows};
use super::tree::{Group, Node, What};

pub const MAX_WIDTH: usize = 120;

/// A bracket further right than this has no room for a list below its first item.
const DEEPEST_HANG: usize = 72;

/// A comment behind code wider than this is not aligned with others.
const WIDEST_COMMENTED: usize = 80;

/// Writes a file's nodes; `starts` are the places at which declarations begin.
pub fn lay_out(nodes: &[Node<'_>], starts: &[usize], line_break: &str) -> String {
    let mut page = Page::default();
    page.block(&rows(nodes, Block::File(starts)), Block::File(starts), 0);
    page.finish(line_break)
}

/// Returns the nodes on one line, or `None` when they need several.
pub fn flat(nodes: &[Node<'_>]) -> Option<String> {
    let mut text = String::new();
    flat_into(nodes, &mut text).then_some(text)
}

/// Returns how many columns a text takes on its last line.
pub fn width(text: &str) -> usize {
    text.rsplit('\n').next().unwrap_or_default().chars().count()
}

fn flat_into(nodes: &[Node<'_>], text: &mut String) -> bool {
    for (i, node) in nodes.iter().enumerate() {
        if i > 0 && node.gap {
            text.push(' ');
        }
        match &node.what {
            What::Token(token) if token.kind == Kind::Comment || token.text.contains('\n') => return false,
            What::Token(token) => text.push_str(token.text),
            What::Group(group) if group.is_open() => return false,
            What::Group(group) => {
                let pad = if group.is_brace() && !group.items.is_empty() { " " } else { "" };
                text.push_str(group.open.text);
                text.push_str(pad);
                if !flat_into(&group.items, text) {
                    return false;
                }
                text.push_str(pad);
                text.push_str(group.close.text);
            }
        }
    }
    true
}

/// Returns the width of the nodes on one line, or of what must stand on the line on which they begin.
fn needed(nodes: &[Node<'_>]) -> usize {
    flat(nodes).map_or_else(|| beginning(nodes), |text| width(&text))
}

/// Returns the width up to the first bracket or line break.
fn beginning(nodes: &[Node<'_>]) -> usize {
    let mut n = 0;
    for (i, node) in nodes.iter().enumerate() {
        n += usize::from(i > 0 && node.gap);
        match &node.what {
            What::Group(_) => return n + 1,
            What::Token(token) => match token.text.split_once('\n') {
                Some((line, _)) => return n + line.chars().count(),
                None => n += token.text.chars().count(),
            },
        }
    }
    n
}

/// The text so far.
#[derive(Debug, Default)]
struct Page<'a> {
    lines: Vec<Line<'a>>,
    /// Columns before the text of the line at hand.
    indent: usize,
    n_blocks: usize,
    /// The line at hand begins with a closing bracket, and nothing follows yet.
    after_block: bool,
}

/// One line; several where a string has line breaks.
#[derive(Debug)]
struct Line<'a> {
    blank: bool,
    text: String,
    comment: Option<Token<'a>>,
    /// Comments of one block stand below each other.
    block: usize,
}

impl<'a> Page<'a> {
    fn line(&mut self, indent: usize, blank: bool, block: usize) {
        self.indent = indent;
        self.after_block = false;
        self.lines.push(Line { blank, text: " ".repeat(indent), comment: None, block });
    }

    /// Begins another line of the same row.
    fn go_on(&mut self, indent: usize) {
        let block = self.lines.last().map_or(0, |line| line.block);
        self.line(indent, false, block);
    }

    fn write(&mut self, text: &str) {
        self.after_block = false;
        if let Some(line) = self.lines.last_mut() {
            line.text.push_str(text);
        }
    }

    fn column(&self) -> usize {
        self.lines.last().map_or(0, |line| width(&line.text))
    }

    fn fits(&self, n: usize) -> bool {
        self.column() + n <= MAX_WIDTH
    }

    fn comment(&mut self, comment: Token<'a>) {
        if let Some(line) = self.lines.last_mut() {
            line.comment = Some(comment);
        }
    }

    fn block(&mut self, rows: &[Row<'_, 'a>], block: Block<'_>, indent: usize) {
        let id = self.n_blocks;
        self.n_blocks += 1;
        let heads = align::heads(rows, block);
        for (row, head) in rows.iter().zip(&heads) {
            self.line(indent, row.blank, id);
            if row.nodes.is_empty() {
                if let Some(comment) = row.comment {
                    self.write(comment.text);
                }
                continue;
            }
            self.row(row, head, indent);
            if let Some(comment) = row.comment {
                self.comment(comment);
            }
        }
    }

    fn row(&mut self, row: &Row<'_, 'a>, head: &Head, indent: usize) {
        self.write(&head.text);
        let inside = row.nodes.first().and_then(Node::token).map_or(Block::Plain, |token| {
            if token.is_word("schema") {
                Block::Schema
            } else if token.is_word("gate") {
                Block::Gate
            } else {
                Block::Plain
            }
        });
        let rest = &row.nodes[head.n_nodes..];
        let value = rest.first().is_some_and(|node| node.is("="));
        let below = if value { self.column() + 2 } else { indent + 4 };
        let mut is_new_line = false;
        for (i, piece) in rest.split_inclusive(Node::is_comment).enumerate() {
            if i > 0 && !is_new_line {
                self.go_on(indent + 4);
            }
            is_new_line = false;
            let (code, comment) = match piece.split_last() {
                Some((last, code)) if last.is_comment() => (code, last.token().copied()),
                _ => (piece, None),
            };
            self.sequence(code, Some(inside), if i == 0 { below } else { indent + 4 }, 0);
            match comment {
                Some(comment) if comment.breaks == 0 => self.comment(comment),
                Some(comment) => {
                    if !code.is_empty() || i == 0 {
                        self.go_on(indent + 4);
                    }
                    self.write(comment.text);
                    if let Some(line) = self.lines.last_mut() {
                        line.comment = None;
                    }
                }
                None => {}
            }
        }
    }

    /// Writes nodes that may be parted before `with`, `when`, `and` and `or`. `block`: what a `{` among them holds, for
    /// nodes that stand in no bracket. `tail`: columns that must be free behind them.
    fn sequence(&mut self, nodes: &[Node<'a>], block: Option<Block<'_>>, below: usize, tail: usize) {
        if let Some(text) = flat(nodes).filter(|text| self.fits(width(text) + tail)) {
            self.write(&text);
            return;
        }
        let parts = |node: &Node<'_>| {
            node.token().is_some_and(|t| t.kind == Kind::Word && matches!(t.text, "with" | "when" | "and" | "or"))
        };
        let mut start = 0;
        while start < nodes.len() {
            let end = (start + 1..nodes.len()).find(|i| parts(&nodes[*i])).unwrap_or(nodes.len());
            let chunk = &nodes[start..end];
            let tail = if end == nodes.len() { tail } else { 0 };
            if start > 0 {
                let is_clause = chunk[0].token().is_some_and(|t| t.is_word("with") || t.is_word("when"));
                if self.fits(1 + needed(chunk) + tail) && (!is_clause || self.after_block) {
                    self.write(" ");
                } else {
                    self.go_on(below);
                }
            }
            self.chunk(chunk, block, tail);
            start = end;
        }
    }

    /// Writes nodes that can be parted only within brackets.
    fn chunk(&mut self, nodes: &[Node<'a>], block: Option<Block<'_>>, tail: usize) {
        for (i, node) in nodes.iter().enumerate() {
            if i > 0 && node.gap {
                self.write(" ");
            }
            match &node.what {
                What::Token(token) => self.write(token.text),
                What::Group(group) => {
                    let rest = &nodes[i + 1..];
                    let gap = usize::from(rest.first().is_some_and(|node| node.gap));
                    let follows = gap + needed(rest).min(beginning(rest)) + tail;
                    let is_option = i > 0 && nodes[i - 1].token().is_some_and(|token| token.is_word("with"));
                    match flat(std::slice::from_ref(node)).filter(|text| self.fits(width(text) + follows)) {
                        Some(text) => self.write(&text),
                        None => self.group(group, block.filter(|_| group.is_brace() && !is_option), follows),
                    }
                }
            }
        }
    }

    fn group(&mut self, group: &Group<'a>, block: Option<Block<'_>>, tail: usize) {
        if group.is_open() {
            return self.open_block(group, block.unwrap_or(Block::Plain));
        }
        let items: Vec<&[Node<'a>]> = group.items.split_inclusive(|node| node.is(",")).collect();
        let pad = usize::from(group.is_brace());
        let hang = self.column() + 1 + pad;
        let close = 1 + pad + tail;
        let needs = |i: usize| needed(items[i]) + if i + 1 == items.len() { close } else { 0 };
        let is_crowded = (0..items.len()).any(|i| {
            let too_wide = hang + needs(i) > MAX_WIDTH;
            let is_solid = items[i].iter().all(|node| node.token().is_some_and(|token| !token.text.contains('\n')));
            too_wide && (hang > DEEPEST_HANG || is_solid && self.indent + 2 + needs(i) <= MAX_WIDTH)
        });
        if let Some(block) = block {
            return self.open_block(group, if block == Block::Plain { Block::Items } else { block });
        }
        if is_crowded {
            return self.open_block(group, Block::Items);
        }
        self.write(group.open.text);
        self.write(&" ".repeat(pad));
        for (i, item) in items.iter().enumerate() {
            if i > 0 && self.fits(1 + needs(i)) {
                self.write(" ");
            } else if i > 0 {
                self.go_on(hang);
            }
            self.sequence(item, None, hang, if i + 1 == items.len() { close } else { 0 });
        }
        self.write(&" ".repeat(pad));
        self.write(group.close.text);
    }

    /// Writes a bracket whose content stands on lines of its own.
    fn open_block(&mut self, group: &Group<'a>, block: Block<'_>) {
        let indent = self.indent;
        let outer = self.lines.last().map_or(0, |line| line.block);
        self.write(group.open.text);
        let mut items = &group.items[..];
        if let Some((first, rest)) = items.split_first()
            && let Some(comment) = first.token().filter(|token| token.kind == Kind::Comment && token.breaks == 0)
        {
            items = rest;
            if let Some(line) = self.lines.last_mut() {
                (line.comment, line.block) = (Some(*comment), self.n_blocks);
            }
        }
        let mut rows = rows(items, block);
        if block == Block::Plain {
            rows = rows.into_iter().flat_map(|row| parted(row, indent + 2)).collect();
        }
        self.block(&rows, block, indent + 2);
        self.line(indent, false, outer);
        self.write(group.close.text);
        self.after_block = true;
    }

    fn finish(mut self, line_break: &str) -> String {
        align_comments(&mut self.lines);
        let mut text = String::new();
        for line in &self.lines {
            if line.blank {
                text.push_str(line_break);
            }
            text.push_str(&line.text);
            if let Some(comment) = &line.comment {
                text.push_str(comment.text);
            }
            text.push_str(line_break);
        }
        text
    }
}

/// Parts a row of several items that is too long for a line.
fn parted<'n, 'a>(row: Row<'n, 'a>, indent: usize) -> Vec<Row<'n, 'a>> {
    let is_long = flat(row.nodes).is_some_and(|text| indent + width(&text) > MAX_WIDTH);
    if !is_long {
        return vec![row];
    }
    let mut rows: Vec<_> = row
        .nodes
        .split_inclusive(|node| node.is(","))
        .map(|nodes| Row { blank: false, nodes, comment: None })
        .collect();
    if let Some(first) = rows.first_mut() {
        first.blank = row.blank;
    }
    if let Some(last) = rows.last_mut() {
        last.comment = row.comment;
    }
    rows
}

/// Pads lines with comments, so that those of a block stand below each other.
fn align_comments(lines: &mut [Line<'_>]) {
    let mut columns: Vec<(usize, usize)> = Vec::new();
    let mut n_runs = 0;
    let mut run_of = Vec::with_capacity(lines.len());
    let mut runs: std::collections::BTreeMap<usize, usize> = std::collections::BTreeMap::new();
    for line in &*lines {
        if line.blank {
            runs.remove(&line.block);
        }
        let run = *runs.entry(line.block).or_insert_with(|| {
            n_runs += 1;
            n_runs - 1
        });
        run_of.push(run);
        if line.comment.is_some() && width(&line.text) <= WIDEST_COMMENTED {
            columns.push((run, width(&line.text)));
        }
    }
    let mut widest = vec![0; n_runs];
    for (run, n) in columns {
        widest[run] = n.max(widest[run]);
    }
    for (line, run) in lines.iter_mut().zip(run_of) {
        if line.comment.is_some() {
            let n = width(&line.text);
            line.text.push_str(&" ".repeat(widest[run].max(n) - n + 2));
        }
    }
}
