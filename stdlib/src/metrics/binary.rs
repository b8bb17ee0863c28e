//! Metrics of a score for a yes-or-no question.

use super::sum::{Sum, mean};

/// What [`binary`] measures. `None`: not measurable on these rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// Area under the ROC curve: the chance that a positive row scores above a negative one, ties counting half.
    /// Needs both classes.
    pub auc: Option<f64>,
    /// Mean precision over the steps of recall, without interpolation; equal scores are one step. Needs a positive.
    pub average_precision: Option<f64>,
    /// Mean of -ln(probability of what happened), in nats; probabilities are kept 2.2e-16 away from 0 and 1.
    pub log_loss: Option<f64>,
    /// Mean squared difference between score and outcome (0 or 1).
    pub brier: Option<f64>,
    /// tp / (tp + fp). Needs a row that is predicted positive.
    pub precision: Option<f64>,
    /// tp / (tp + fn). Needs a positive.
    pub recall: Option<f64>,
    /// 2 tp / (2 tp + fp + fn). Needs a row that is positive or predicted so.
    pub f1: Option<f64>,
    /// (tp + tn) / rows.
    pub accuracy: Option<f64>,
    /// Expected calibration error: the mean, weighted by rows, of |positive rate - mean score| over [`Binary::bins`].
    pub ece: Option<f64>,
    pub tp: u64,
    pub fp: u64,
    pub tn: u64,
    pub fn_: u64,
    /// Ten equal bins of the score, from 0 to 1, each with its right edge; the first also with 0.
    pub bins: Vec<Bin>,
}

/// Rows with a score in `low..=high`, without `low` itself unless it is 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Bin {
    pub low: f64,
    pub high: f64,
    pub rows: u64,
    pub positives: u64,
    /// `None` in an empty bin.
    pub mean_score: Option<f64>,
}

const N_BINS: usize = 10;

/// Measures scores, all within 0 to 1, against what happened. A row is predicted positive if its score is at least
/// `threshold`. Both slices have a value for each row.
///
/// Source: scikit-learn `roc_auc_score`, `average_precision_score`, `log_loss`, `brier_score_loss` and so on; bins as
/// `numpy.searchsorted(numpy.linspace(0, 1, 11)[1:-1], score)`.
pub fn binary(actual: &[bool], score: &[f64], threshold: f64) -> Binary {
    let rows = || actual.iter().copied().zip(score.iter().copied());
    let ranked = Ranked::new(rows().collect());
    let (mut tp, mut fp, mut tn, mut fn_) = (0u64, 0u64, 0u64, 0u64);
    for (positive, score) in rows() {
        match (positive, score >= threshold) {
            (true, true) => tp += 1,
            (false, true) => fp += 1,
            (false, false) => tn += 1,
            (true, false) => fn_ += 1,
        }
    }
    let n_rows = tp + fp + tn + fn_;
    let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let bins = bins(rows());
    Binary {
        auc: ranked.auc(),
        average_precision: ranked.average_precision(),
        log_loss: mean(actual.iter().zip(score).map(|(positive, score)| {
            let probability = if *positive { *score } else { 1.0 - score };
            -libm::log(probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON))
        })),
        brier: mean(actual.iter().zip(score).map(|(positive, score)| {
            let difference = f64::from(u8::from(*positive)) - score;
            difference * difference
        })),
        precision: ratio(tp, tp + fp),
        recall: ratio(tp, tp + fn_),
        f1: ratio(2 * tp, 2 * tp + fp + fn_),
        accuracy: ratio(tp + tn, n_rows),
        ece: (n_rows > 0).then(|| calibration_error(&bins, n_rows)),
        tp,
        fp,
        tn,
        fn_,
        bins,
    }
}

/// Rows grouped by score, highest first.
struct Ranked {
    /// Positives and negatives with the same score.
    groups: Vec<(u64, u64)>,
    n_positives: u64,
    n_negatives: u64,
}

impl Ranked {
    fn new(mut rows: Vec<(bool, f64)>) -> Self {
        rows.sort_unstable_by(|a, b| b.1.total_cmp(&a.1));
        let groups = rows.chunk_by(|a, b| a.1 == b.1).map(|group| {
            let n_positives = group.iter().filter(|(positive, _)| *positive).count() as u64;
            (n_positives, group.len() as u64 - n_positives)
        });
        let groups: Vec<_> = groups.collect();
        let n_positives = groups.iter().map(|(positives, _)| positives).sum();
        let n_negatives = groups.iter().map(|(_, negatives)| negatives).sum();
        Self { groups, n_positives, n_negatives }
    }

    fn auc(&self) -> Option<f64> {
        // Twice the number of pairs in which the positive is above, in whole numbers: exact up to the division.
        let mut twice_won = 0u128;
        let mut negatives_below = u128::from(self.n_negatives);
        for (positives, negatives) in &self.groups {
            let (positives, negatives) = (u128::from(*positives), u128::from(*negatives));
            negatives_below -= negatives;
            twice_won += positives * (2 * negatives_below + negatives);
        }
        let twice_pairs = 2 * u128::from(self.n_positives) * u128::from(self.n_negatives);
        (twice_pairs > 0).then(|| twice_won as f64 / twice_pairs as f64)
    }

    fn average_precision(&self) -> Option<f64> {
        if self.n_positives == 0 {
            return None;
        }
        let (mut n_true, mut n_taken) = (0u64, 0u64);
        let mut area = Sum::default();
        for (positives, negatives) in &self.groups {
            n_true += positives;
            n_taken += positives + negatives;
            area.add(*positives as f64 * (n_true as f64 / n_taken as f64));
        }
        Some(area.value() / self.n_positives as f64)
    }
}

fn bins(rows: impl Iterator<Item = (bool, f64)>) -> Vec<Bin> {
    // As `numpy.linspace(0, 1, 11)` has them: the third is 0.30000000000000004.
    let edge = |n: usize| if n == N_BINS { 1.0 } else { n as f64 * 0.1 };
    let mut sums = [Sum::default(); N_BINS];
    let mut counts = [(0u64, 0u64); N_BINS];
    for (positive, score) in rows {
        let bin = (1..N_BINS).take_while(|n| edge(*n) < score).count();
        sums[bin].add(score);
        counts[bin].0 += 1;
        counts[bin].1 += u64::from(positive);
    }
    let bin = |(n, (sum, (rows, positives))): (usize, (Sum, (u64, u64)))| Bin {
        low: edge(n),
        high: edge(n + 1),
        rows,
        positives,
        mean_score: (rows > 0).then(|| sum.value() / rows as f64),
    };
    sums.into_iter().zip(counts).enumerate().map(bin).collect()
}

fn calibration_error(bins: &[Bin], n_rows: u64) -> f64 {
    let error = |bin: &Bin| {
        let gap = bin.positives as f64 / bin.rows as f64 - bin.mean_score?;
        Some(bin.rows as f64 / n_rows as f64 * gap.abs())
    };
    bins.iter().filter_map(error).collect::<Sum>().value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_measurable_on_no_rows() {
        let found = binary(&[], &[], 0.5);
        let all = [
            found.auc,
            found.average_precision,
            found.log_loss,
            found.brier,
            found.precision,
            found.recall,
            found.f1,
            found.accuracy,
            found.ece,
        ];
        assert_eq!(all, [None; 9]);
        assert_eq!((found.tp, found.fp, found.tn, found.fn_), (0, 0, 0, 0));
    }

    #[test]
    fn what_needs_a_positive_is_not_measurable_without_one() {
        let found = binary(&[false, false], &[0.2, 0.7], 0.5);
        assert_eq!((found.auc, found.average_precision, found.recall), (None, None, None));
        assert_eq!((found.precision, found.f1, found.accuracy), (Some(0.0), Some(0.0), Some(0.5)));
    }

    #[test]
    fn precision_is_not_measurable_when_no_row_is_predicted_positive() {
        let found = binary(&[true, false], &[0.2, 0.1], 0.5);
        assert_eq!((found.precision, found.recall, found.f1), (None, Some(0.0), Some(0.0)));
    }

    #[test]
    fn a_score_equal_to_the_threshold_predicts_positive() {
        assert_eq!(binary(&[true], &[0.5], 0.5).tp, 1);
        assert_eq!(binary(&[true], &[0.5f64.next_down()], 0.5).fn_, 1);
    }

    #[test]
    fn a_score_on_an_edge_belongs_to_the_bin_below() {
        let third = 3.0 * 0.1;
        for (score, bin) in [(0.0, 0), (0.1, 0), (0.1f64.next_up(), 1), (0.3, 2), (third, 2), (0.9, 8), (1.0, 9)] {
            let rows: Vec<u64> = binary(&[true], &[score], 0.5).bins.iter().map(|bin| bin.rows).collect();
            assert_eq!(rows.iter().position(|n| *n == 1), Some(bin), "score {score}");
        }
    }

    #[test]
    fn the_order_of_rows_does_not_change_ranks() {
        let actual = [true, false, true, false, true, false];
        let score = [0.5, 0.5, 0.9, 0.1, 0.1, 0.5];
        let forward = binary(&actual, &score, 0.5);
        let reversed: (Vec<bool>, Vec<f64>) = actual.iter().zip(score).rev().map(|(a, s)| (*a, s)).unzip();
        let backward = binary(&reversed.0, &reversed.1, 0.5);
        assert_eq!((forward.auc, forward.average_precision), (backward.auc, backward.average_precision));
    }
}
