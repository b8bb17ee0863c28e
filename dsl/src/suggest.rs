//! The one place that decides whether a wrong word is a slip for a right one.

/// Returns the candidate that `word` is most likely a slip for, if there is one.
///
/// Another letter case is always taken as a slip; else about one letter in three may be wrong, swaps counting as one.
/// Of equally near candidates the first wins.
pub fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = word.to_lowercase();
    let n_chars = lower.chars().count();
    let allowed = (n_chars / 3).max(usize::from(n_chars > 1));
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate == word || candidate.len().abs_diff(word.len()) > allowed * 4 {
            continue;
        }
        let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
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

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..15).map(|i| format!("c{i}")).collect();
        assert!(listed(names.iter().map(String::as_str), "and").ends_with("`c11` and 3 more"));
        assert_eq!(listed(["a", "b"], "or"), "`a` or `b`");
        assert_eq!(listed([], "or"), "");
    }
}
