//! What the lints know of the standard catalogue. An operation that is not here is simply not looked at.

/// Operations that run any program.
pub const PROGRAMS: [&str; 2] = ["sh", "effect.sh"];

/// Operations that write a table to a file, with the name of their table.
pub const WRITERS: [(&str, &str); 2] = [("csv.write", "data"), ("parquet.write", "data")];

/// Operations that compute columns and must be done again when a model is served.
pub const TRANSFORMS: [&str; 1] = ["wasm.map"];

/// Nets whose solver draws no random numbers.
pub const UNDRAWN_NETS: [&str; 2] = ["torch.logistic", "torch.linear"];

/// Metrics that count rows.
pub const COUNTS: [&str; 6] = ["rows", "positives", "tp", "fp", "tn", "fn"];

/// Metrics that depend on the threshold of `eval.binary`.
pub const THRESHOLDED: [&str; 8] = ["precision", "recall", "f1", "accuracy", "tp", "fp", "tn", "fn"];

/// A test part of fewer rows than this fraction is small.
pub const SMALL_PART: f64 = 0.1;

/// Returns between which values a metric of an evaluation lies.
pub fn range(op: &str, metric: &str) -> (f64, f64) {
    if !op.starts_with("eval.") {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    match metric {
        "auc" | "average_precision" | "brier" | "precision" | "recall" | "f1" | "accuracy" | "ece" | "threshold" => {
            (0.0, 1.0)
        }
        "log_loss" | "mae" | "rmse" | "medae" | "max_error" | "mape" => (0.0, f64::INFINITY),
        "r2" => (f64::NEG_INFINITY, 1.0),
        _ if COUNTS.contains(&metric) => (0.0, f64::INFINITY),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    }
}
