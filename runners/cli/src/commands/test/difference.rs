//! Which rows were expected and did not come, which came and were not expected, and which cells of the rest differ.

use mlp_dsl::show;
use mlp_model::{Column, Value};

use super::rows::Rows;

/// Numbers that differ by less than this part of them differ by the order in which something was added up.
const LAST_BITS: f64 = 1e-9;

/// More comparisons of rows than this are not made to find out which rows belong together.
const MOST_COMPARED: usize = 4_000_000;

type Row = Vec<Option<Value>>;

/// Two tables, row by row.
pub struct Difference {
    pub columns: Vec<String>,
    pub pairs: Vec<Pair>,
    pub n_expected: usize,
    pub n_came: u64,
}

/// What became of a row.
pub enum Pair {
    Same(Vec<String>),
    /// Expected and came, but not the same in these columns.
    Differs {
        expected: Vec<String>,
        came: Vec<String>,
        differing: Vec<bool>,
    },
    /// Expected, and did not come.
    Missing(Vec<String>),
    /// Came, and was not expected.
    Unexpected(Vec<String>),
}

impl Difference {
    pub fn summary(&self) -> String {
        let count = |is: fn(&Pair) -> bool| self.pairs.iter().filter(|pair| is(pair)).count();
        let counts = [
            (count(|pair| matches!(pair, Pair::Differs { .. })), "differs", "differ"),
            (count(|pair| matches!(pair, Pair::Missing(_))), "is missing", "are missing"),
            (count(|pair| matches!(pair, Pair::Unexpected(_))), "was not expected", "were not expected"),
        ];
        let told: Vec<String> = counts
            .into_iter()
            .filter(|(n, ..)| *n > 0)
            .map(|(n, one, many)| format!("{n} {}", if n == 1 { one } else { many }))
            .collect();
        let rows = if self.n_expected == 1 { "row" } else { "rows" };
        format!("{} {rows} expected, {} came: {}", self.n_expected, self.n_came, told.join(", "))
    }
}

/// Compares tables; `None` if they are the same. Values of `personal` columns are told to differ, but not shown.
pub fn between(
    expected: &[Row],
    came: Rows,
    columns: &[Column],
    personal: &[bool],
    any_order: bool,
    within: Option<f64>,
) -> Option<Difference> {
    let is_same = |left: &Row, right: &Row| left.iter().zip(right).all(|(left, right)| same(left, right, within));
    let matched = match any_order {
        true => match_in_any_order(expected, &came.rows, &is_same),
        false => match_in_order(expected, &came.rows, &is_same),
    };
    let is_whole = came.rows.len() as u64 == came.n_rows;
    let is_equal = |at: &(Option<usize>, Option<usize>)| match at {
        (Some(left), Some(right)) => is_same(&expected[*left], &came.rows[*right]),
        _ => false,
    };
    if is_whole && matched.iter().all(is_equal) {
        return None;
    }
    let shown = |row: &Row| -> Vec<String> {
        row.iter()
            .zip(personal)
            .map(|(cell, personal)| if *personal { "personal".to_owned() } else { text(cell) })
            .collect()
    };
    let pair = |at: (Option<usize>, Option<usize>)| match at {
        (Some(left), Some(right)) => {
            let (left, right) = (&expected[left], &came.rows[right]);
            let differing: Vec<bool> = left.iter().zip(right).map(|(l, r)| !same(l, r, within)).collect();
            match differing.contains(&true) {
                true => Pair::Differs { expected: shown(left), came: shown(right), differing },
                false => Pair::Same(shown(left)),
            }
        }
        (Some(left), None) => Pair::Missing(shown(&expected[left])),
        (None, right) => Pair::Unexpected(right.map(|right| shown(&came.rows[right])).unwrap_or_default()),
    };
    Some(Difference {
        columns: columns.iter().map(|column| column.name.clone()).collect(),
        pairs: matched.into_iter().map(pair).collect(),
        n_expected: expected.len(),
        n_came: came.n_rows,
    })
}

/// Returns whether two cells hold the same.
fn same(left: &Option<Value>, right: &Option<Value>, within: Option<f64>) -> bool {
    let (Some(left), Some(right)) = (left, right) else { return left.is_none() && right.is_none() };
    match (left, right) {
        (Value::Float(left), Value::Float(right)) => {
            let off = within.unwrap_or_else(|| LAST_BITS * left.abs().max(right.abs()));
            left == right || left.is_nan() && right.is_nan() || (left - right).abs() <= off
        }
        (Value::Int(left), Value::Int(right)) if within.is_some() => {
            (left.abs_diff(*right) as f64) <= within.unwrap_or_default()
        }
        _ => left == right,
    }
}

/// Writes a cell; a blank one is empty, and a text that could be taken for something else is in quotes.
pub fn text(cell: &Option<Value>) -> String {
    match cell {
        None => String::new(),
        Some(Value::Str(text)) if text.is_empty() || text.trim() != text || text.contains(char::is_control) => {
            format!("{text:?}")
        }
        Some(Value::Str(text)) => text.clone(),
        Some(value) => show(value),
    }
}

type Matched = Vec<(Option<usize>, Option<usize>)>;

/// Pairs rows that are equal, then those that have the most cells in common, wherever they stand.
fn match_in_any_order(expected: &[Row], came: &[Row], is_same: &dyn Fn(&Row, &Row) -> bool) -> Matched {
    let mut is_taken = vec![false; came.len()];
    let mut partner: Vec<Option<usize>> = Vec::new();
    for left in expected {
        let found = (0..came.len()).find(|right| !is_taken[*right] && is_same(left, &came[*right]));
        if let Some(right) = found {
            is_taken[right] = true;
        }
        partner.push(found);
    }
    for (left, partner) in expected.iter().zip(&mut partner).filter(|(_, partner)| partner.is_none()) {
        let free = (0..came.len()).filter(|right| !is_taken[*right]);
        let best = free.map(|right| (in_common(left, &came[right]), std::cmp::Reverse(right))).max();
        if let Some((1.., std::cmp::Reverse(right))) = best {
            is_taken[right] = true;
            *partner = Some(right);
        }
    }
    let pairs = partner.into_iter().enumerate().map(|(left, right)| (Some(left), right));
    let rest = (0..came.len()).filter(|right| !is_taken[*right]).map(|right| (None, Some(right)));
    pairs.chain(rest).collect()
}

fn in_common(left: &Row, right: &Row) -> usize {
    left.iter().zip(right).filter(|(left, right)| same(left, right, None)).count()
}

/// Pairs rows in order: the longest list of equal rows stays together, and what lies between is paired one by one.
fn match_in_order(expected: &[Row], came: &[Row], is_same: &dyn Fn(&Row, &Row) -> bool) -> Matched {
    let mut matched = Matched::new();
    let (mut left, mut right) = (0, 0);
    for (next_left, next_right) in common(expected, came, is_same).into_iter().chain([(expected.len(), came.len())]) {
        while left < next_left || right < next_right {
            matched.push(((left < next_left).then_some(left), (right < next_right).then_some(right)));
            left = (left + 1).min(next_left);
            right = (right + 1).min(next_right);
        }
        if next_left < expected.len() && next_right < came.len() {
            matched.push((Some(next_left), Some(next_right)));
            (left, right) = (next_left + 1, next_right + 1);
        }
    }
    matched
}

/// Returns the places of a longest list of rows that both have in this order.
fn common(expected: &[Row], came: &[Row], is_same: &dyn Fn(&Row, &Row) -> bool) -> Vec<(usize, usize)> {
    let (n, m) = (expected.len(), came.len());
    if n.saturating_mul(m) > MOST_COMPARED {
        return (0..n.min(m)).filter(|at| is_same(&expected[*at], &came[*at])).map(|at| (at, at)).collect();
    }
    // `longest[i][j]`: of what follows `i` and `j`.
    let mut longest = vec![vec![0_u32; m + 1]; n + 1];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            longest[i][j] = match is_same(&expected[i], &came[j]) {
                true => longest[i + 1][j + 1] + 1,
                false => longest[i + 1][j].max(longest[i][j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut pairs = Vec::new();
    while i < n && j < m {
        if is_same(&expected[i], &came[j]) {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if longest[i + 1][j] >= longest[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use mlp_model::Scalar;

    use super::*;

    fn rows(text: &str) -> Vec<Row> {
        let cell = |word: &str| (word != "-").then(|| Value::Float(word.parse().unwrap()));
        text.split(';').filter(|row| !row.is_empty()).map(|row| row.split(' ').map(cell).collect()).collect()
    }

    /// Writes each row as a letter: the same, different, missing, unexpected.
    fn compare(expected: &str, came: &str, any_order: bool, within: Option<f64>) -> String {
        let (expected, came) = (rows(expected), rows(came));
        let columns = [Column::plain("a", Scalar::Float), Column::plain("b", Scalar::Float)];
        let n_rows = came.len() as u64;
        let found = between(&expected, Rows { rows: came, n_rows }, &columns, &[false; 2], any_order, within);
        let letter = |pair: &Pair| match pair {
            Pair::Same(_) => 's',
            Pair::Differs { .. } => 'd',
            Pair::Missing(_) => 'm',
            Pair::Unexpected(_) => 'u',
        };
        found.map_or("equal".to_owned(), |found| found.pairs.iter().map(letter).collect())
    }

    #[test]
    fn rows_are_paired_by_what_they_have_in_common() {
        for (expected, came, any_order, letters) in [
            ("1 2;3 4", "1 2;3 4", false, "equal"),
            ("", "", false, "equal"),
            ("1 2;3 4", "3 4;1 2", true, "equal"),
            ("1 2;3 4", "3 4;1 2", false, "msu"),
            ("1 2;3 4;5 6", "1 2;5 6", false, "sms"),
            ("1 2;5 6", "1 2;3 4;5 6", false, "sus"),
            ("1 2;3 4;5 6", "1 2;3 9;5 6", false, "sds"),
            ("1 2;3 4", "3 9;1 2", true, "sd"),
            ("1 2;1 2", "1 2", true, "sm"),
            ("1 -", "1 -", false, "equal"),
            ("1 -", "1 0", false, "d"),
        ] {
            assert_eq!(compare(expected, came, any_order, None), letters, "{expected} | {came}");
        }
    }

    #[test]
    fn numbers_are_compared_but_for_their_last_bits_or_as_far_as_was_said() {
        assert_eq!(compare("0.3 1", "0.30000000000000004 1", false, None), "equal");
        assert_eq!(compare("0.3 1", "0.301 1", false, None), "d");
        assert_eq!(compare("0.3 1", "0.301 1", false, Some(0.01)), "equal");
        assert_eq!(compare("NaN 1", "NaN 1", false, None), "equal");
    }

    #[test]
    fn personal_cells_are_marked_and_not_shown() {
        let (expected, came) = (rows("1 2"), rows("1 3"));
        let columns = [Column::plain("a", Scalar::Float), Column::plain("b", Scalar::Float)];
        let found = between(&expected, Rows { rows: came, n_rows: 1 }, &columns, &[false, true], false, None).unwrap();
        let Pair::Differs { expected, came, differing } = &found.pairs[0] else { panic!("it differs") };
        assert_eq!(
            (expected, came),
            (&vec!["1.0".to_owned(), "personal".to_owned()], &vec!["1.0".to_owned(), "personal".to_owned()])
        );
        assert_eq!(differing, &[false, true]);
        assert_eq!(found.summary(), "1 row expected, 1 came: 1 differs");
    }
}
