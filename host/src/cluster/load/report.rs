//! What an endpoint says of its own load, in ORCA's words (`xds.data.orca.v3.OrcaLoadReport`).
//!
//! In band it comes in a field of an answer's head or trailers: `endpoint-load-metrics-bin` has a protobuf message in base64,
//! `endpoint-load-metrics` says first how it is written: `BIN`, `JSON` or `TEXT` (ORCA's design document, and Envoy's parser). What cannot be read
//! is counted as nothing: a service's mistake in a field that is for us must not fail its answers.

use std::collections::{HashMap, HashSet};

use data_encoding::{BASE64, BASE64_NOPAD};
use http::HeaderMap;
use prost::Message;
use serde::Deserialize;

const FIELD: &str = "endpoint-load-metrics";
const BINARY_FIELD: &str = "endpoint-load-metrics-bin";
/// A report is some dozens of figures; what is longer is none.
const LONGEST: usize = 16 * 1024;

/// `xds.data.orca.v3.OrcaLoadReport`, as far as anybody here reads it.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Share of the CPU, above 1 where it has more than its due.
    #[prost(double, tag = "1")]
    #[serde(alias = "cpuUtilization")]
    pub cpu_utilization: f64,
    /// Share of the memory.
    #[prost(double, tag = "2")]
    #[serde(alias = "memUtilization")]
    pub mem_utilization: f64,
    /// Shares of whatever the service names.
    #[prost(map = "string, double", tag = "5")]
    pub utilization: HashMap<String, f64>,
    /// Requests a second.
    #[prost(double, tag = "6")]
    #[serde(alias = "rpsFractional", alias = "rps")]
    pub rps_fractional: f64,
    /// Errors a second.
    #[prost(double, tag = "7")]
    pub eps: f64,
    /// Figures of any kind.
    #[prost(map = "string, double", tag = "8")]
    #[serde(alias = "namedMetrics")]
    pub named_metrics: HashMap<String, f64>,
    /// Share of whatever the service calls its own measure; it counts before all others.
    #[prost(double, tag = "9")]
    #[serde(alias = "applicationUtilization")]
    pub application_utilization: f64,
}

impl Report {
    /// The report in the fields of an answer, if there is one that can be read.
    #[must_use]
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        if let Some(value) = fields.get(BINARY_FIELD) {
            return binary(value.as_bytes());
        }
        let value = fields.get(FIELD)?.as_bytes();
        if value.len() > LONGEST {
            return None;
        }
        let (form, rest) = value.split_at_checked(5)?;
        match form {
            // A list would do for a structure, too.
            b"JSON " if rest.trim_ascii_start().starts_with(b"{") => serde_json::from_slice(rest).ok(),
            b"TEXT " => text(std::str::from_utf8(rest).ok()?),
            _ => binary(value.strip_prefix(b"BIN ")?),
        }
        .filter(Self::is_sound)
    }

    /// A message as it is.
    #[must_use]
    pub fn decode_message(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes).ok().filter(Self::is_sound)
    }

    /// No share or rate is below zero or no number.
    fn is_sound(&self) -> bool {
        let fixed =
            [self.cpu_utilization, self.mem_utilization, self.rps_fractional, self.eps, self.application_utilization];
        fixed.iter().chain(self.utilization.values()).all(|value| value.is_finite() && *value >= 0.0)
            && self.named_metrics.values().all(|value| value.is_finite())
    }

    /// The measure of how busy the endpoint is: its own, else the largest of those that are `named`, else its CPU (gRFC A51; Envoy:
    /// `metric_names_for_computing_utilization`).
    #[must_use]
    pub fn busyness(&self, named: &[String]) -> f64 {
        if self.application_utilization > 0.0 {
            return self.application_utilization;
        }
        let largest = named.iter().filter_map(|name| self.figure(name)).fold(0.0, f64::max);
        if largest > 0.0 { largest } else { self.cpu_utilization }
    }

    /// What it tells of load, by name.
    pub fn figures(&self) -> impl Iterator<Item = (String, f64)> {
        let fixed = [
            ("cpu_utilization", self.cpu_utilization),
            ("mem_utilization", self.mem_utilization),
            ("application_utilization", self.application_utilization),
        ];
        // Zero is what is not said.
        let fixed = fixed.into_iter().filter(|(_, value)| *value > 0.0).map(|(name, value)| (name.to_owned(), value));
        let shares = self.utilization.iter().map(|(name, value)| (format!("utilization.{name}"), *value));
        let named = self.named_metrics.iter().map(|(name, value)| (format!("named_metrics.{name}"), *value));
        fixed.chain(shares).chain(named)
    }

    fn figure(&self, name: &str) -> Option<f64> {
        match name {
            "cpu_utilization" => Some(self.cpu_utilization),
            "mem_utilization" => Some(self.mem_utilization),
            "application_utilization" => Some(self.application_utilization),
            _ => match name.split_once('.')? {
                ("utilization", key) => self.utilization.get(key).copied(),
                ("named_metrics", key) => self.named_metrics.get(key).copied(),
                _ => None,
            },
        }
    }
}

fn binary(value: &[u8]) -> Option<Report> {
    if value.len() > LONGEST {
        return None;
    }
    let bytes = BASE64.decode(value).or_else(|_| BASE64_NOPAD.decode(value)).ok()?;
    Report::decode_message(&bytes)
}

/// `cpu_utilization=0.3,named_metrics.queue=7`.
fn text(text: &str) -> Option<Report> {
    let mut report = Report::default();
    let mut seen = HashSet::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once(['=', ':'])?;
        let (name, value) = (name.trim(), value.trim().parse::<f64>().ok()?);
        if !seen.insert(name) {
            return None;
        }
        match name {
            "cpu_utilization" | "cpu" => report.cpu_utilization = value,
            "mem_utilization" | "mem" => report.mem_utilization = value,
            "application_utilization" => report.application_utilization = value,
            "rps_fractional" | "rps" => report.rps_fractional = value,
            "eps" => report.eps = value,
            _ => match name.split_once('.') {
                Some(("named_metrics", key)) => drop(report.named_metrics.insert(key.to_owned(), value)),
                Some(("utilization", key)) => drop(report.utilization.insert(key.to_owned(), value)),
                // `request_cost` says nothing of the endpoint, and what is new is no mistake.
                _ => {}
            },
        }
    }
    Some(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(field: &'static str, value: &str) -> Option<Report> {
        Report::of(&HeaderMap::from_iter([(http::HeaderName::from_static(field), value.parse().unwrap())]))
    }

    fn expected() -> Report {
        let named_metrics = HashMap::from([("queue".to_owned(), 7.0)]);
        Report { cpu_utilization: 0.25, rps_fractional: 100.5, eps: 2.0, named_metrics, ..Report::default() }
    }

    #[test]
    fn each_form_says_the_same() {
        let message = expected().encode_to_vec();
        assert_eq!(of(BINARY_FIELD, &BASE64.encode(&message)), Some(expected()));
        assert_eq!(of(BINARY_FIELD, &BASE64_NOPAD.encode(&message)), Some(expected()));
        assert_eq!(of(FIELD, &format!("BIN {}", BASE64.encode(&message))), Some(expected()));
        let json =
            r#"JSON {"cpu_utilization": 0.25, "rps_fractional": 100.5, "eps": 2, "named_metrics": {"queue": 7}}"#;
        assert_eq!(of(FIELD, json), Some(expected()));
        let camel = r#"JSON {"cpuUtilization": 0.25, "rpsFractional": 100.5, "eps": 2, "namedMetrics": {"queue": 7}, "rps": 3}"#;
        assert!(of(FIELD, camel).is_none(), "the same figure twice");
        let text = "TEXT cpu_utilization=0.25, rps_fractional=100.5, eps=2, named_metrics.queue=7, request_cost.x=1";
        assert_eq!(of(FIELD, text), Some(expected()));
    }

    #[test]
    fn what_cannot_be_read_or_be_is_nothing() {
        for value in [
            "",
            "TEXT",
            "TEXT cpu",
            "TEXT cpu=x",
            "TEXT cpu=1,cpu=2",
            "TEXT cpu=-1",
            "TEXT cpu=NaN",
            "TEXT cpu=inf",
            "JSON {",
            "JSON []",
            "BIN x",
            "BIN  AAAA",
            "XML <a/>",
        ] {
            assert_eq!(of(FIELD, value), None, "{value:?}");
        }
        assert_eq!(of(BINARY_FIELD, "!"), None);
        let long = format!("TEXT cpu=1,{}", "x.y=1,".repeat(4000));
        assert_eq!(of(FIELD, &long), None);
    }

    #[test]
    fn the_services_own_measure_counts_before_what_is_named_and_that_before_the_cpu() {
        let mut report = Report { cpu_utilization: 0.5, mem_utilization: 0.7, ..expected() };
        report.utilization.insert("disk".to_owned(), 0.9);
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(report.busyness(&[]), 0.5);
        assert_eq!(report.busyness(&named(&["mem_utilization", "utilization.disk", "utilization.none"])), 0.9);
        assert_eq!(report.busyness(&named(&["utilization.none", "nothing"])), 0.5);
        report.application_utilization = 0.1;
        assert_eq!(report.busyness(&named(&["utilization.disk"])), 0.1);
    }
}
