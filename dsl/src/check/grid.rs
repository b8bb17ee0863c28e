//! Loops over several lists: a round for each combination of their values, or for some that are drawn by chance.

use mlp_model::Value;

use super::rounds::list_of;
use super::value::{Eval, kind, show};
use crate::ast::{DrawsExpr, Expr, LoopDecl};
use crate::diagnostic::Diagnostic;

/// So many combinations at most, each of which is a round.
const MOST_ROUNDS: usize = 10_000;

/// So many at most to draw from.
const MOST_TO_DRAW_FROM: usize = 1_000_000;

/// Returns the combinations, each with its key, those of the first variable's first value first.
pub fn points(decl: &LoopDecl<'_>, eval: &Eval<'_, '_>) -> Option<Vec<(String, Vec<Value>)>> {
    let lists = [&decl.values].into_iter().chain(decl.more.iter().map(|(_, values)| values));
    let lists: Vec<_> = lists.map(|values| list_of(decl.name.text, values, eval)).collect();
    let draws = decl.draws.as_ref().map(|draws| drawn(draws, eval));
    let lists: Vec<Vec<(String, Value)>> = lists.into_iter().collect::<Option<_>>()?;
    let draws = match draws {
        Some(draws) => Some(draws?),
        None => None,
    };
    let n_points = lists.iter().try_fold(1_usize, |n, list| n.checked_mul(list.len()));
    let (most, help) = match draws {
        Some(_) => (MOST_TO_DRAW_FROM, "draw from shorter lists"),
        None => (MOST_ROUNDS, "draw some of them: `random 50 seed 7` before `as`"),
    };
    let Some(n_points) = n_points.filter(|n| *n <= most) else {
        let message = format!("loop `{}` has more than {most} combinations of values", decl.name.text);
        eval.report.add(Diagnostic::error("E0228", message).at(decl.values.span, "").help(help));
        return None;
    };
    let chosen: Vec<usize> = match draws {
        Some((n, seed)) => choose(n_points, n, seed, |at| key_of(&lists, at)),
        None => (0..n_points).collect(),
    };
    let point = |at: usize| (key_of(&lists, at), places(&lists, at).map(|(_, value)| value.clone()).collect());
    Some(chosen.into_iter().map(point).collect())
}

/// Returns the value of each list at combination number `at`; the last list changes fastest.
fn places(lists: &[Vec<(String, Value)>], at: usize) -> impl Iterator<Item = &(String, Value)> {
    let mut rest: usize = lists.iter().map(Vec::len).product();
    let mut at = at;
    lists.iter().map(move |list| {
        rest /= list.len();
        let item = &list[at / rest];
        at %= rest;
        item
    })
}

fn key_of(lists: &[Vec<(String, Value)>], at: usize) -> String {
    places(lists, at).map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(",")
}

fn drawn(draws: &DrawsExpr<'_>, eval: &Eval<'_, '_>) -> Option<(usize, u64)> {
    let int = |expr: &Expr<'_>, word: &str| match eval.value(expr)? {
        Value::Int(n) => Some(n),
        other => {
            let message = format!("`{word}` takes an int, got {}", kind(&other));
            eval.report.add(Diagnostic::error("E0301", message).at(expr.span, ""));
            None
        }
    };
    let (count, seed) = (int(&draws.count, "random"), int(&draws.seed, "seed"));
    let (count, seed) = (count?, seed?);
    match usize::try_from(count) {
        Ok(count) if count > 0 => Some((count, seed.cast_unsigned())),
        _ => {
            let message = format!("`random` takes an int of at least 1, got {}", show(&Value::Int(count)));
            eval.report.add(Diagnostic::error("E0302", message).at(draws.count.span, ""));
            None
        }
    }
}

/// Chooses `n` of the combinations. Each has a number of its own that depends on the seed and its key alone, and the least ones
/// are taken: to draw more keeps those drawn before, and a value more in a list moves few others.
fn choose(n_points: usize, n: usize, seed: u64, key: impl Fn(usize) -> String) -> Vec<usize> {
    let mut numbered: Vec<(u64, usize)> = (0..n_points).map(|at| (number(seed, &key(at)), at)).collect();
    numbered.sort_unstable();
    let mut chosen: Vec<usize> = numbered.into_iter().take(n).map(|(_, at)| at).collect();
    chosen.sort_unstable();
    chosen
}

/// FNV-1a over the key, from the seed, through the finalizer of SplitMix64.
fn number(seed: u64, key: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    let hash = key.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_draws_keep_those_before_and_each_seed_draws_others() {
        let key = |at: usize| format!("{},{}", at / 10, at % 10);
        let few = choose(100, 5, 7, key);
        let many = choose(100, 20, 7, key);
        assert_eq!((few.len(), many.len()), (5, 20));
        assert!(few.iter().all(|at| many.contains(at)));
        assert!(many.is_sorted() && many.windows(2).all(|pair| pair[0] != pair[1]));
        assert_ne!(few, choose(100, 5, 8, key));
        assert_eq!(choose(100, 500, 7, key).len(), 100);
    }

    #[test]
    fn the_last_list_changes_fastest() {
        let list = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), Value::Null)).collect::<Vec<_>>();
        let lists = [list(&["a", "b"]), list(&["1", "2", "3"])];
        let keys: Vec<_> = (0..6).map(|at| key_of(&lists, at)).collect();
        assert_eq!(keys, ["a,1", "a,2", "a,3", "b,1", "b,2", "b,3"]);
    }
}
