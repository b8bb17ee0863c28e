//! What is kept from one check for the next changes nothing of what is found.

mod support;

use std::path::Path;

use mlp_dsl::{Assignments, CheckInput, Checked, Facts, Inspector, PathKind, World, WorldError, inspect, inspect_many};
use proptest::prelude::*;
use support::everything::PIECES;
use support::{Customers, catalogue};

const PIPELINES: [&str; 5] = [
    support::CHURN,
    LOOPS,
    include_str!("../../../pipelines/churn/churn.mlp"),
    include_str!("../../../pipelines/churn/logistic.mlp"),
    include_str!("../../../pipelines/demand/demand.mlp"),
];

/// Calls within bodies, in loops that are open and in others, and in tests.
const LOOPS: &str = r#"pipeline loops

use std.evaluation as evaluation

schema Customer { id: str key, tenure: int in 0..=120, Churn: bool label }
let sizes = [16, 32]

def half(rows: table, seed: int = 7) {
  step parts = table.split(rows, test: 0.5, seed: seed)
  result { train: parts.train, test: parts.test }
}

source raw = csv.read("customers.csv", schema: Customer)
step small = table.head(raw, rows: 100)
step parts = half(small)
for size in sizes as tried {
  step model = torch.train(parts.train, target: Churn, net: torch.mlp([size]))
  step quality = eval.binary(model, parts.test)
}
for value in values(small.tenure) as network {
  step rows = table.where(small, column: tenure, equals: value)
}
step judged = evaluation.binary(tried[16].model, champion.model, parts.test)
gate good { floor max tried.quality.auc >= 0.5  first floor only }
release churn = bundle { model: tried[16].model } when good

test "half" {
  given raw = """
    id, tenure, Churn
    a, 1, yes
    """
  expect rows(parts.train) <= 1
}
"#;

struct Text<'a>(&'a str);

impl World for Text<'_> {
    fn read(&self, _: &Path) -> Result<String, WorldError> {
        Ok(self.0.to_owned())
    }

    fn kind(&self, path: &Path) -> PathKind {
        Customers.kind(path)
    }
}

fn found(text: &str, check: impl FnOnce(&CheckInput<'_>, &mut Facts) -> Checked) -> String {
    let (catalogue, params, world, mut facts) = (catalogue(), Assignments::default(), Text(text), Facts::default());
    let file = Path::new("flows/churn.mlp");
    let checked = check(&CheckInput { file, params: &params, catalogue: &catalogue, world: &world }, &mut facts);
    let mut lines: Vec<String> = facts.nodes.iter().map(|(name, node)| format!("{name}: {node:?}")).collect();
    lines.extend(facts.params.iter().map(|param| format!("{param:?}")));
    lines.extend(facts.schemas.iter().map(|schema| format!("{schema:?}")));
    lines.sort();
    format!("{}\n{:#?}", lines.join("\n"), checked.diagnostics)
}

fn compare(inspector: &mut Inspector<'_>, text: &str) -> Result<(), TestCaseError> {
    let kept = found(text, |input, facts| inspector.inspect(input, facts));
    prop_assert_eq!(kept, found(text, inspect), "{}", text);
    Ok(())
}

#[derive(Debug, Clone)]
enum Edit {
    /// At a place, so many bytes give way to a piece.
    Piece(usize, usize, &'static str),
    /// A word becomes another word of the text.
    Word(usize, usize),
    Back,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let piece = (any::<usize>(), 0_usize..6, prop::sample::select(PIECES.to_vec()));
    let edit = prop_oneof![
        2 => piece.prop_map(|(at, length, new)| Edit::Piece(at, length, new)),
        5 => (any::<usize>(), any::<usize>()).prop_map(|(word, other)| Edit::Word(word, other)),
        2 => Just(Edit::Back),
    ];
    prop::collection::vec(edit, 1..20)
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn words(text: &str) -> Vec<std::ops::Range<usize>> {
    let is_in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = text.char_indices().filter(|(at, c)| is_in_word(*c) && !text[..*at].ends_with(is_in_word));
    let end = |start: usize| text[start..].find(|c| !is_in_word(c)).map_or(text.len(), |length| start + length);
    starts.map(|(start, _)| start..end(start)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_check_that_remembers_finds_what_any_check_finds(which in 0..PIPELINES.len(), edits in edits()) {
        let (mut before, mut text) = (PIPELINES[which].to_owned(), PIPELINES[which].to_owned());
        inspect_many(|inspector| {
            compare(inspector, &text)?;
            for edit in edits {
                let last = text.clone();
                match edit {
                    Edit::Back => text.clone_from(&before),
                    Edit::Piece(at, length, new) => {
                        let start = floor(&text, at % (text.len() + 1));
                        let end = floor(&text, start + length).max(start);
                        text.replace_range(start..end, new);
                    }
                    Edit::Word(word, other) => {
                        let words = words(&text);
                        let new = text[words[other % words.len()].clone()].to_owned();
                        text.replace_range(words[word % words.len()].clone(), &new);
                    }
                }
                compare(inspector, &text)?;
                before = last;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
