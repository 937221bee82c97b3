//! What filters say of a metric with labels.

use serde::Deserialize;

use crate::telemetry::FilterMetricKind;

/// Most labels of a family.
pub const MOST_LABELS: usize = 32;
/// Most buckets of a histogram.
pub const MOST_BUCKETS: usize = 64;
/// Longest name of a metric or a label, in bytes.
pub const LONGEST_NAME: usize = 256;

/// Bounds of histograms that name none.
const BUCKETS: [i64; 25] = [
    1,
    2,
    5,
    10,
    25,
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
];

/// What a filter wants to count.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// `counter`, `gauge` or `histogram`.
    pub kind: FilterMetricKind,
    /// Name, legal in the exposition format.
    pub name: String,
    /// Names of labels.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Inclusive upper bounds of a histogram, rising. Empty: about three for each power of ten up to 100 million.
    #[serde(default)]
    pub buckets: Vec<i64>,
}

impl Definition {
    /// The definition with what it leaves open filled in.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(super) fn complete(mut self) -> Result<Self, String> {
        self.check()?;
        if self.kind == FilterMetricKind::Histogram && self.buckets.is_empty() {
            self.buckets = BUCKETS.to_vec();
        }
        Ok(self)
    }

    fn check(&self) -> Result<(), String> {
        let legal = |name: &str, more: &[u8]| {
            let letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_' || more.contains(byte);
            name.len() <= LONGEST_NAME
                && name.as_bytes().first().is_some_and(letter)
                && name.bytes().all(|byte| letter(&byte) || byte.is_ascii_digit())
        };
        if !legal(&self.name, b":") {
            return Err(format!("\"{}\" is no name of a metric", self.name));
        }
        if self.name.starts_with("fyke_") {
            return Err(format!("\"{}\": names that begin with fyke_ are the proxy's own", self.name));
        }
        if self.labels.len() > MOST_LABELS {
            return Err(format!("\"{}\" has more than {MOST_LABELS} labels", self.name));
        }
        for (index, label) in self.labels.iter().enumerate() {
            if !legal(label, b"") || label.starts_with("__") || label == "le" {
                return Err(format!("\"{label}\" is no name of a label"));
            }
            if self.labels.iter().take(index).any(|earlier| earlier == label) {
                return Err(format!("label \"{label}\" is there twice"));
            }
        }
        if !self.buckets.is_empty() && self.kind != FilterMetricKind::Histogram {
            return Err(format!("\"{}\" is no histogram, and has no buckets", self.name));
        }
        if self.buckets.len() > MOST_BUCKETS {
            return Err(format!("\"{}\" has more than {MOST_BUCKETS} buckets", self.name));
        }
        if !self.buckets.is_sorted_by(|one, other| one < other) {
            return Err(format!("the buckets of \"{}\" do not rise", self.name));
        }
        Ok(())
    }
}
