//! Reports: one canonical JSON object whose top-level numbers are the metrics.
//!
//! A metric that cannot be measured (no positives, not finite) is null. Other members, such as a curve, are extras.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::json;

/// The figures that an evaluation found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// `None`: not measurable.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// Members that are neither a number nor null.
    pub extras: Map<String, Value>,
}

impl Report {
    /// Returns the canonical bytes. Where a metric and an extra share a name, the metric stands.
    pub fn to_bytes(&self) -> Vec<u8> {
        let metrics = self.metrics.iter().map(|(name, x)| {
            let mut text = String::new();
            json::write_f64(x.unwrap_or(f64::NAN), &mut text);
            (name, text)
        });
        let extras = self.extras.iter().map(|(name, value)| {
            let mut text = String::new();
            json::write(value, &mut text);
            (name, text)
        });
        let members: BTreeMap<_, _> = extras.chain(metrics).collect();
        let members: Vec<_> =
            members.into_iter().map(|(name, text)| format!("{}:{text}", Value::from(name.as_str()))).collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    }

    /// Reads a report; any JSON object is one.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        let mut report = Self::default();
        for (name, value) in serde_json::from_slice::<Map<String, Value>>(bytes)? {
            match value {
                Value::Number(number) => _ = report.metrics.insert(name, number.as_f64()),
                Value::Null => _ = report.metrics.insert(name, None),
                other => _ = report.extras.insert(name, other),
            }
        }
        Ok(report)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it is no report, which is one JSON object: {0}")]
pub struct ReportError(#[from] serde_json::Error);

#[cfg(test)]
mod tests {
    use mlp_model::Digest;
    use serde_json::json;

    use super::*;

    fn report() -> Report {
        Report {
            metrics: BTreeMap::from([
                ("auc".into(), Some(0.837_400_000_000_000_1)),
                ("rows".into(), Some(1409.0)),
                ("tiny".into(), Some(5e-324)),
                ("huge".into(), Some(1.797_693_134_862_315_7e308)),
                ("zero".into(), Some(-0.0)),
                ("ece".into(), Some(f64::NAN)),
                ("brier".into(), None),
            ]),
            extras: Map::from_iter([("curve".into(), json!({"y": [0.1, 2, -3.5e-9], "x\n\"": "é"}))]),
        }
    }

    #[test]
    fn bytes_are_sorted_and_without_spaces() {
        let text = String::from_utf8(report().to_bytes()).unwrap();
        assert_eq!(
            text,
            r#"{"auc":0.8374000000000001,"brier":null,"curve":{"x\n\"":"é","y":[0.1,2,-3.5e-9]},"ece":null,"#
                .to_owned()
                + r#""huge":1.7976931348623157e308,"rows":1409,"tiny":5e-324,"zero":0}"#
        );
    }

    #[test]
    fn the_bytes_are_a_promise() {
        // When this fails, stored digests no longer fit: raise the versions of the operations that make reports.
        assert_eq!(Digest::of(&report().to_bytes()).short(), "700caae0627c");
    }

    #[test]
    fn numbers_read_back_exactly() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for i in 0..20_000_u32 {
            bits = bits.rotate_left(17).wrapping_mul(0xff51_afd7_ed55_8ccd) ^ u64::from(i);
            let x = f64::from_bits(bits);
            let report = Report { metrics: BTreeMap::from([("x".into(), Some(x))]), ..Report::default() };
            let back = Report::parse(&report.to_bytes()).unwrap().metrics["x"];
            assert_eq!(back, x.is_finite().then_some(x), "{bits:x}");
        }
    }

    #[test]
    fn reading_and_writing_again_gives_the_same_bytes() {
        let bytes = report().to_bytes();
        assert_eq!(Report::parse(&bytes).unwrap().to_bytes(), bytes);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bytes in [&b"[1]"[..], b"", b"{\"auc\":0.8", b"{\"auc\":NaN}", b"\xff", b"{} {}"] {
            assert!(Report::parse(bytes).is_err(), "{bytes:?}");
        }
        assert!(Report::parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
