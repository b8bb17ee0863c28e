//! Tells a person what the grammar expected, in the language's words. Rule names stop here.

use mlp_model::Span;

use super::Rule;
use crate::diagnostic::Diagnostic;
use crate::suggest::listed;

/// Says what was expected at `offset` of `text`, which starts at byte `base` of source text `source`.
pub fn syntax_error(source: usize, base: usize, text: &str, offset: usize, rules: &[Rule]) -> Diagnostic {
    let offset = offset.min(text.len());
    let (before, found) = tokens_around(text, offset);
    let expected = expected(rules);
    let message = match (expected.is_empty(), before) {
        (false, Some(before)) => format!("expected {expected} after `{before}`"),
        (false, None) => format!("expected {expected}"),
        (true, Some(before)) => format!("nothing can be made of what follows `{before}`"),
        (true, None) => "nothing can be made of this".to_owned(),
    };
    let (label, end) = match found {
        Some(found) => (format!("found `{}`", shortened(found)), offset + found.len()),
        None => ("the declaration ends here".to_owned(), offset),
    };
    let span = Span { source, start: base + offset, end: base + end };
    Diagnostic::error("E0103", message).at(span, label).maybe_help(hint(rules, before, found))
}

fn expected(rules: &[Rule]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for rule in rules {
        for word in words_for(*rule) {
            if !words.contains(word) {
                words.push(word);
            }
        }
    }
    // What could merely go on is worth a word only when nothing else is expected, and what a value can begin with only
    // when it is not any value.
    const GOING_ON: [&str; 4] = ["an operator", "`(`", "`[`", "`?`"];
    const VALUES: [&str; 5] = ["a number", "a string", "a name", "`{`", "`[`"];
    if words.iter().any(|word| !GOING_ON.contains(word)) {
        words.retain(|word| !GOING_ON.contains(word));
    }
    if words.contains(&"a value") || VALUES.iter().all(|word| words.contains(word)) {
        words.retain(|word| !VALUES.contains(word) && *word != "a value");
        words.insert(0, "a value");
    }
    words.sort_by_key(|word| *word == THE_END);
    match words.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [start @ .., last] => format!("{} or {last}", start.join(", ")),
    }
}

const THE_END: &str = "the end of the declaration";

fn words_for(rule: Rule) -> &'static [&'static str] {
    match rule {
        Rule::name | Rule::label => &["a name"],
        Rule::path | Rule::model => &["a name"],
        Rule::string | Rule::text_label => &["a string"],
        Rule::number | Rule::size_like | Rule::date_like | Rule::exponent => &["a number"],
        Rule::expr | Rule::plain | Rule::reference | Rule::group | Rule::argument | Rule::field | Rule::part => {
            &["a value"]
        }
        Rule::negate | Rule::not => &["a value"],
        Rule::list | Rule::open_bracket | Rule::index => &["`[`"],
        Rule::choice | Rule::word_if => &["a value"],
        Rule::word_then => &["`then`"],
        Rule::word_else => &["`else`"],
        Rule::word_as => &["`as`"],
        Rule::word_in => &["`in`"],
        Rule::word_random | Rule::draws => &["`random`"],
        Rule::word_seed => &["`seed`"],
        Rule::word_fails | Rule::failure_expected => &["`fails`"],
        Rule::any_order | Rule::word_any => &["`in any order`"],
        Rule::word_order => &["`order`"],
        Rule::tolerance | Rule::word_within => &["`within`"],
        Rule::rows_expected => &["a value"],
        Rule::word_limit | Rule::limit => &["`limit`"],
        Rule::word_tolerate | Rule::tolerate => &["`tolerate`"],
        Rule::def_param => &["a parameter"],
        Rule::binding => &["a name"],
        Rule::record | Rule::open_brace => &["`{`"],
        Rule::close_brace => &["`}`"],
        Rule::open_paren | Rule::arguments | Rule::type_args => &["`(`"],
        Rule::close_paren => &["`)`"],
        Rule::close_bracket => &["`]`"],
        Rule::colon => &["`:`"],
        Rule::equals => &["`=`"],
        Rule::comma => &["`,`"],
        Rule::type_expr => &["a type"],
        Rule::optional => &["`?`"],
        Rule::maybe => &["a value"],
        Rule::restriction => &["a rule such as `in 0..=9`"],
        Rule::through | Rule::upto => &["`..=`"],
        Rule::mark => &["a mark"],
        Rule::column => &["a column"],
        Rule::check => &["a check"],
        Rule::first => &["`first`"],
        Rule::refuse => &["`refuse`"],
        Rule::only => &["`only`"],
        Rule::options | Rule::word_with => &["`with`"],
        Rule::when | Rule::word_when | Rule::condition => &["`when`"],
        Rule::bundle => &["`bundle`"],
        Rule::transform => &["`step`"],
        Rule::open => &["`open`"],
        Rule::closed => &["`closed`"],
        Rule::or
        | Rule::and
        | Rule::equal
        | Rule::not_equal
        | Rule::less
        | Rule::greater
        | Rule::less_or_equal
        | Rule::greater_or_equal
        | Rule::add
        | Rule::subtract
        | Rule::multiply
        | Rule::divide
        | Rule::remainder
        | Rule::within
        | Rule::otherwise
        | Rule::operator
        | Rule::arithmetic
        | Rule::comparison => &["an operator"],
        Rule::end | Rule::EOI | Rule::no_tail => &[THE_END],
        Rule::pipeline_decl
        | Rule::use_decl
        | Rule::param_decl
        | Rule::let_decl
        | Rule::def_head
        | Rule::for_head
        | Rule::test_head
        | Rule::given_decl
        | Rule::set_decl
        | Rule::expect_decl
        | Rule::result_decl
        | Rule::schema_decl
        | Rule::source_decl
        | Rule::step_decl
        | Rule::effect_decl
        | Rule::gate_decl
        | Rule::release_decl => &["a declaration"],
        Rule::value_text => &["a value"],
        Rule::term
        | Rule::type_arg
        | Rule::closing
        | Rule::prefix
        | Rule::word_char
        | Rule::word_pipeline
        | Rule::word_use
        | Rule::word_param
        | Rule::word_let
        | Rule::word_test
        | Rule::word_given
        | Rule::word_expect
        | Rule::word_def
        | Rule::word_for
        | Rule::word_result
        | Rule::word_schema
        | Rule::word_source
        | Rule::word_step
        | Rule::word_effect
        | Rule::word_gate
        | Rule::word_release
        | Rule::word_and
        | Rule::word_bundle
        | Rule::word_first
        | Rule::word_only
        | Rule::WHITESPACE => &[],
    }
}

/// Recognises what people write who know other languages.
fn hint(rules: &[Rule], before: Option<&str>, found: Option<&str>) -> Option<String> {
    let expects = |rule| rules.contains(&rule);
    match found? {
        "=" if expects(Rule::comma) => Some(format!("a named argument is written `{}: ..`", before.unwrap_or("name"))),
        "<" | "<=" | ">" | ">=" if expects(Rule::expr) => {
            Some("a check begins with a name of its own: `floor quality.auc >= 0.8`".to_owned())
        }
        "." if before.is_some_and(|before| before.ends_with(|c: char| c.is_ascii_digit())) => {
            Some("a float has digits on both sides of the point: `1.0`".to_owned())
        }
        ";" => Some("nothing ends with `;` here".to_owned()),
        "'" | "“" | "”" | "‘" | "’" => Some("a string is written between `\"`".to_owned()),
        "#" => Some("a comment begins with `//`".to_owned()),
        "&" => Some("write `and`".to_owned()),
        "|" => Some("write `or`".to_owned()),
        "!" => Some("write `not`".to_owned()),
        found if expects(Rule::end) && super::is_declaring(found) => {
            Some("a declaration begins on a new line".to_owned())
        }
        found if expects(Rule::type_expr) || expects(Rule::colon) => {
            let types = crate::check::TYPE_NAMES;
            types.contains(&found).then(|| format!("a type follows a `:`; the types are {}", listed(types, "and")))
        }
        _ => None,
    }
}

/// Returns the last token that ends before `offset`, and the one that begins there.
fn tokens_around(text: &str, offset: usize) -> (Option<&str>, Option<&str>) {
    let mut at = 0;
    let mut before = None;
    while at < text.len() {
        let token = token_at(&text[at..]);
        if at + token.len() > offset {
            // A token that the grammar has read in part is split.
            if at < offset && !token.trim().is_empty() {
                before = Some(&text[at..offset]);
            }
            let found = token_at(&text[offset..]);
            return (before, (!found.trim().is_empty() && !found.starts_with("//")).then_some(found));
        }
        if !token.trim().is_empty() && !token.starts_with("//") {
            before = Some(shortened(token));
        }
        at += token.len();
    }
    (before, None)
}

fn token_at(text: &str) -> &str {
    let Some(first) = text.chars().next() else { return "" };
    let len = if first.is_whitespace() {
        text.find(|c: char| !c.is_whitespace())
    } else if text.starts_with("//") {
        text.find('\n')
    } else if let Some(rest) = text.strip_prefix("\"\"\"") {
        rest.find("\"\"\"").map(|n| n + 6)
    } else if first == '"' {
        let mut escaped = true;
        text.find(|c| {
            let is_end = c == '"' && !escaped;
            escaped = !escaped && c == '\\';
            is_end
        })
        .map(|n| n + 1)
    } else if first.is_alphanumeric() || first == '_' {
        text.find(|c: char| !c.is_alphanumeric() && c != '_')
    } else if ["..=", "..", ">=", "<=", "==", "!="].iter().any(|sign| text.starts_with(sign)) {
        Some(if text.starts_with("..=") { 3 } else { 2 })
    } else {
        Some(first.len_utf8())
    };
    &text[..len.unwrap_or(text.len())]
}

/// Returns the first line of the token, at most 30 characters of it.
fn shortened(token: &str) -> &str {
    let line = token.lines().next().unwrap_or_default();
    line.char_indices().nth(30).map_or(line, |(end, _)| &line[..end])
}
