//! The one place that decides whether a wrong word is a slip for a right one.

/// Returns the candidate that `word` is most likely a slip for, if there is one.
///
/// Another letter case is always taken as a slip; else about one letter in three may be wrong, swaps counting as one.
/// Of equally near candidates the first wins.
pub fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = word.to_lowercase();
    let n_chars = lower.chars().count();
    let allowed = (n_chars / 3).max(usize::from(n_chars > 1));
    let letters = Letters::of(&lower);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate == word || candidate.len().abs_diff(word.len()) > allowed * 4 {
            continue;
        }
        // In a long file nearly all names are refused here, for a fraction of what a comparison takes.
        let most = best.map_or(allowed, |(least, _)| least.saturating_sub(1));
        if letters.as_ref().is_some_and(|letters| letters.least_distance(candidate) > most) {
            continue;
        }
        let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// How often each letter stands in a word of ASCII.
struct Letters {
    n_letters: usize,
    counts: [u16; 128],
}

impl Letters {
    fn of(word: &str) -> Option<Self> {
        let mut counts = [0_u16; 128];
        for byte in word.bytes() {
            let count = counts.get_mut(usize::from(byte))?;
            *count = count.saturating_add(1);
        }
        Some(Self { n_letters: word.len(), counts })
    }

    /// Returns what the distance cannot be less than: each letter that only one of the words has costs at least one edit, and
    /// an edit mends at most one of either word.
    fn least_distance(&self, candidate: &str) -> usize {
        if !candidate.is_ascii() {
            return 0;
        }
        let (mut left, mut n_others) = (self.counts, 0);
        for byte in candidate.bytes() {
            match &mut left[usize::from(byte.to_ascii_lowercase())] {
                0 => n_others += 1,
                count => *count -= 1,
            }
        }
        let n_shared = candidate.len() - n_others;
        n_others.max(self.n_letters.saturating_sub(n_shared))
    }
}

/// Writes the answer of [`did_you_mean`] as a help text.
pub(crate) fn help<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    did_you_mean(word, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// Lists names for a sentence: `` `a`, `b` and `c` ``; of many, the first twelve.
pub(crate) fn listed<'c>(names: impl IntoIterator<Item = &'c str>, last: &str) -> String {
    const MOST: usize = 12;
    let mut names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if names.len() > MOST {
        let more = names.len() - MOST;
        names.truncate(MOST);
        return format!("{} {last} {more} more", names.join(", "));
    }
    match names.pop() {
        None => String::new(),
        Some(only) if names.is_empty() => only,
        Some(end) => format!("{} {last} {end}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let names = ["Churn", "customer_id", "tenure", "epochs", "x"];
        for (word, expected) in [
            ("Chrun", Some("Churn")),
            ("CHURN", Some("Churn")),
            ("customerid", Some("customer_id")),
            ("epoch", Some("epochs")),
            ("contract", None),
            ("y", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(word, names), expected, "{word}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_bound_is_no_more_than_the_distance(word in "[a-dA-D_0ß]{0,8}", other in "[a-dA-D_0ß]{0,8}") {
            let (word, lower) = (word.to_lowercase(), other.to_lowercase());
            if let Some(letters) = Letters::of(&word) {
                proptest::prop_assert!(letters.least_distance(&other) <= strsim::damerau_levenshtein(&word, &lower));
            }
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..15).map(|i| format!("c{i}")).collect();
        assert!(listed(names.iter().map(String::as_str), "and").ends_with("`c11` and 3 more"));
        assert_eq!(listed(["a", "b"], "or"), "`a` or `b`");
        assert_eq!(listed([], "or"), "");
    }
}
