//! Metrics of a predicted number.

use super::sum::{Sum, mean};

/// What [`regression`] measures. `None`: not measurable on these rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Regression {
    /// Mean absolute error, in the target's unit.
    pub mae: Option<f64>,
    /// Root of the mean squared error, in the target's unit.
    pub rmse: Option<f64>,
    /// 1 - squared error / squared deviation from the mean. Needs two rows and a target that varies.
    pub r2: Option<f64>,
    /// Median absolute error, in the target's unit; the mean of the middle two of an even number.
    pub medae: Option<f64>,
    /// The largest absolute error, in the target's unit.
    pub max_error: Option<f64>,
    /// Mean of |error| / |actual|, a fraction: 0.1 is 10 %. Not measurable if an actual value is 0.
    pub mape: Option<f64>,
}

/// Measures predictions against what happened; all numbers are finite. Both slices have a value for each row.
///
/// Source: scikit-learn `mean_absolute_error`, `root_mean_squared_error`, `r2_score`, `median_absolute_error`,
/// `max_error`, `mean_absolute_percentage_error`.
pub fn regression(actual: &[f64], predicted: &[f64]) -> Regression {
    let errors: Vec<f64> = actual.iter().zip(predicted).map(|(actual, predicted)| (actual - predicted).abs()).collect();
    let squared: Sum = errors.iter().map(|error| error * error).collect();
    let mape = mean(errors.iter().zip(actual).map(|(error, actual)| error / actual.abs().max(f64::EPSILON)));
    let measured = Regression {
        mae: mean(errors.iter().copied()),
        rmse: (!errors.is_empty()).then(|| (squared.value() / errors.len() as f64).sqrt()),
        r2: r2(actual, squared.value()),
        medae: median(&mut errors.clone()),
        max_error: errors.iter().copied().reduce(f64::max),
        mape: mape.filter(|_| actual.iter().all(|actual| *actual != 0.0)),
    };
    let Regression { mae, rmse, r2, medae, max_error, mape } = measured;
    // Errors beyond the range of a float cannot be measured.
    let finite = |metric: Option<f64>| metric.filter(|x| x.is_finite());
    Regression {
        mae: finite(mae),
        rmse: finite(rmse),
        r2: finite(r2),
        medae: finite(medae),
        max_error: finite(max_error),
        mape: finite(mape),
    }
}

fn r2(actual: &[f64], squared_error: f64) -> Option<f64> {
    let mean = mean(actual.iter().copied()).filter(|_| actual.len() >= 2)?;
    if actual.iter().all(|x| Some(x) == actual.first()) {
        return None;
    }
    let deviation: Sum = actual.iter().map(|x| (x - mean) * (x - mean)).collect();
    (deviation.value() > 0.0).then(|| 1.0 - squared_error / deviation.value())
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get(values.len() / 2 - 1)?;
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_measurable_on_no_rows() {
        let nothing = Regression { mae: None, rmse: None, r2: None, medae: None, max_error: None, mape: None };
        assert_eq!(regression(&[], &[]), nothing);
    }

    #[test]
    fn r2_needs_two_rows_and_a_target_that_varies() {
        for (actual, predicted) in [(vec![3.0], vec![3.0]), (vec![0.1; 3], vec![0.1; 3]), (vec![2.0; 3], vec![1.0; 3])]
        {
            assert_eq!(regression(&actual, &predicted).r2, None, "{actual:?}");
        }
        assert_eq!(regression(&[1.0, 3.0], &[1.0, 3.0]).r2, Some(1.0));
    }

    #[test]
    fn a_share_of_nothing_is_not_measurable() {
        let found = regression(&[0.0, 2.0], &[1.0, 1.0]);
        assert_eq!((found.mape, found.mae), (None, Some(1.0)));
        assert_eq!(regression(&[-4.0, 2.0], &[-3.0, 1.0]).mape, Some(0.375));
    }

    #[test]
    fn errors_beyond_the_range_of_a_float_are_not_measurable() {
        let found = regression(&[f64::MAX, 1.0], &[-f64::MAX, 1.0]);
        assert_eq!((found.mae, found.rmse, found.max_error), (None, None, None));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
    }
}
