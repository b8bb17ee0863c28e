//! Sums whose rounding error does not grow with the number of terms.

/// A sum by Neumaier's variant of Kahan's algorithm.
///
/// Source: A. Neumaier, Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen, 1974.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    total: f64,
    lost: f64,
}

impl Sum {
    pub fn add(&mut self, x: f64) {
        let total = self.total + x;
        self.lost += if self.total.abs() >= x.abs() { (self.total - total) + x } else { (x - total) + self.total };
        self.total = total;
    }

    /// Returns the sum; infinite or NaN if a term or the sum is.
    pub fn value(self) -> f64 {
        if self.total.is_finite() { self.total + self.lost } else { self.total }
    }
}

impl FromIterator<f64> for Sum {
    fn from_iter<I: IntoIterator<Item = f64>>(terms: I) -> Self {
        let mut sum = Self::default();
        terms.into_iter().for_each(|term| sum.add(term));
        sum
    }
}

/// Returns the mean, or `None` of nothing.
pub(super) fn mean(terms: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let n_terms = terms.len();
    (n_terms > 0).then(|| terms.collect::<Sum>().value() / n_terms as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_between_large_ones_are_not_lost() {
        assert_eq!([1.0, 1e100, 1.0, -1e100].into_iter().collect::<Sum>().value(), 2.0);
        assert_eq!(mean([0.1; 10].into_iter()), Some(0.1));
    }

    #[test]
    fn an_infinite_sum_is_infinite_and_a_mean_of_nothing_is_none() {
        assert_eq!([f64::MAX, f64::MAX].into_iter().collect::<Sum>().value(), f64::INFINITY);
        assert_eq!(mean([].into_iter()), None);
    }
}
