//! Tokens as a tree of brackets, each with the blank that belongs before it. Knows no grammar beyond which marks are
//! operators.

use super::lex::{Kind, Token};

/// Words that go on with what stands before them: they may begin a line within a declaration, and a `(`, `[` or `-`
/// behind one begins a value.
pub const JOINING: [&str; 9] = ["with", "when", "in", "and", "or", "not", "if", "then", "else"];

const OPERATORS: [&str; 18] =
    ["=", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "->", "=>", "??", "&&", "||", "**"];

#[derive(Debug)]
pub struct Node<'a> {
    /// A blank belongs between it and the node before it, when both stand on one line.
    pub gap: bool,
    pub what: What<'a>,
}

#[derive(Debug)]
pub enum What<'a> {
    Token(Token<'a>),
    Group(Group<'a>),
}

/// A pair of brackets and what is between.
#[derive(Debug)]
pub struct Group<'a> {
    pub open: Token<'a>,
    pub close: Token<'a>,
    pub items: Vec<Node<'a>>,
}

impl<'a> Node<'a> {
    /// Returns its first token.
    pub fn first(&self) -> &Token<'a> {
        match &self.what {
            What::Token(token) => token,
            What::Group(group) => &group.open,
        }
    }

    pub fn token(&self) -> Option<&Token<'a>> {
        if let What::Token(token) = &self.what { Some(token) } else { None }
    }

    pub fn is(&self, mark: &str) -> bool {
        self.token().is_some_and(|token| token.is(mark))
    }

    pub fn is_comment(&self) -> bool {
        self.token().is_some_and(|token| token.kind == Kind::Comment)
    }

    pub fn is_kind(&self, kind: Kind) -> bool {
        self.token().is_some_and(|token| token.kind == kind)
    }

    pub fn is_joining(&self) -> bool {
        self.token().is_some_and(|token| token.kind == Kind::Word && JOINING.contains(&token.text))
    }

    pub fn is_operator(&self) -> bool {
        self.token().is_some_and(|token| token.kind == Kind::Mark && OPERATORS.contains(&token.text))
    }
}

impl Group<'_> {
    /// Returns whether its content stands on lines of its own: because it was written so, or because a comment, an empty
    /// line or a declaration that begins in it leaves no other way.
    pub fn is_open(&self) -> bool {
        let Some(first) = self.items.first() else { return false };
        first.first().breaks > 0
            || self.items.iter().any(|node| node.is_comment() || node.first().breaks > 1)
            || self.is_brace() && self.items.windows(2).any(|pair| Self::begins_line(&pair[0], &pair[1]))
    }

    /// Returns whether something new begins on a line of its own, which in a body must stay there.
    fn begins_line(before: &Node<'_>, node: &Node<'_>) -> bool {
        let goes_on = before.is(",") || before.is(":") || before.is_operator() || before.is_joining();
        node.first().breaks > 0 && node.is_kind(Kind::Word) && !node.is_joining() && !goes_on
    }

    pub fn is_brace(&self) -> bool {
        self.open.text == "{"
    }
}

/// Builds the tree. The brackets of the tokens must match: others are dropped.
pub fn tree(tokens: Vec<Token<'_>>) -> Vec<Node<'_>> {
    let mut outer: Vec<(Vec<Node<'_>>, Token<'_>)> = Vec::new();
    let mut items = Vec::new();
    for token in tokens {
        match token.text {
            "(" | "[" | "{" => outer.push((std::mem::take(&mut items), token)),
            ")" | "]" | "}" => {
                let Some((before, open)) = outer.pop() else { continue };
                let group = Group { open, close: token, items: std::mem::replace(&mut items, before) };
                push(&mut items, What::Group(group));
            }
            _ => push(&mut items, What::Token(token)),
        }
    }
    while let Some((before, _)) = outer.pop() {
        items = before;
    }
    part_columns(&mut items);
    items
}

/// Puts a comma between the columns of a schema on one line, where they are free to stand or not.
fn part_columns(items: &mut [Node<'_>]) {
    let mut is_schema = false;
    for node in items {
        match &mut node.what {
            What::Token(token) => is_schema = is_schema && token.kind == Kind::Word || token.is_word("schema"),
            What::Group(group) => {
                if is_schema && group.is_brace() && !group.is_open() {
                    let items = std::mem::take(&mut group.items);
                    let mut items = items.into_iter().filter(|node| !node.is(",")).peekable();
                    while let Some(node) = items.next() {
                        let is_name = node.is_kind(Kind::Word) || node.is_kind(Kind::Text);
                        if is_name && !group.items.is_empty() && items.peek().is_some_and(|next| next.is(":")) {
                            let comma = Token { kind: Kind::Mark, text: ",", ..*node.first() };
                            let comma = Token { breaks: 0, spaced: false, ..comma };
                            group.items.push(Node { gap: false, what: What::Token(comma) });
                        }
                        group.items.push(node);
                    }
                }
                is_schema = false;
                part_columns(&mut group.items);
            }
        }
    }
}

fn push<'a>(items: &mut Vec<Node<'a>>, what: What<'a>) {
    let mut node = Node { gap: false, what };
    node.gap = gap(items, &node);
    items.push(node);
}

/// Returns whether a blank belongs before `node`, which follows on `before`.
fn gap(before: &[Node<'_>], node: &Node<'_>) -> bool {
    let Some(last) = before.last() else { return false };
    let written = node.first().spaced;
    let is_tight = |node: &Node<'_>| node.is("..") || node.is("..=") || node.is(".");
    if is_tight(last) || is_sign(before, written) {
        return false;
    }
    let begins_value = last.is(",") || last.is(":") || last.is_operator() || last.is_joining();
    if let What::Group(group) = &node.what {
        return match group.open.text {
            "{" => true,
            _ if begins_value => true,
            // `a (x) > 1` may be a check called `a`: only who wrote it knows.
            "(" if last.is_kind(Kind::Word) => written && begins_item(before),
            // `rows[0]`, or a word with a list behind it.
            _ => written,
        };
    }
    match node.token() {
        Some(Token { text: "," | "?" | ":", kind: Kind::Mark, .. }) => false,
        _ if is_tight(node) => false,
        _ if begins_value || last.is("?") => true,
        _ if node.is_kind(Kind::Mark) && !node.is_operator() => written,
        _ if last.is_kind(Kind::Mark) => written,
        _ => true,
    }
}

/// Returns whether the last node of `before` is a minus that belongs to what comes next. `spaced`: a blank is written
/// between the two.
fn is_sign(before: &[Node<'_>], spaced: bool) -> bool {
    let [before @ .., minus] = before else { return false };
    if !minus.is("-") {
        return false;
    }
    let Some(last) = before.last() else { return true };
    let is_value = match &last.what {
        What::Group(_) => true,
        What::Token(token) => match token.kind {
            Kind::Number | Kind::Text => true,
            Kind::Word => !last.is_joining(),
            Kind::Mark => token.text == "?",
            Kind::Comment => false,
        },
    };
    // `a -x < 1` may be a check called `a`.
    !is_value || last.is_kind(Kind::Word) && begins_item(before) && minus.first().spaced && !spaced
}

/// Returns whether the last node begins a line or an item of a list.
fn begins_item(before: &[Node<'_>]) -> bool {
    match before {
        [] => false,
        [_] => true,
        [.., comma, last] => comma.is(",") || comma.is_comment() || last.first().breaks > 0,
    }
}
