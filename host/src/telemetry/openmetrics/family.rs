//! Readings as families: legal, unique names, each series once.
//!
//! The rules are those of [`prometheus`](crate::telemetry::prometheus). Illegal characters become underscores; where two names of
//! one kind become one, a label `name` tells the originals apart. A name that is taken already gets its kind behind it, or
//! `_labelled` where the other is of the same kind and has other labels.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use super::push_label;
use crate::telemetry::{
    label,
    reading::{Exemplar, MetricReading, MetricValue},
};

/// A metric with its series.
pub(super) struct Family {
    /// Without the suffixes of samples.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Empty where none is known or the name does not end with it.
    pub(super) unit: &'static str,
    pub(super) help: Cow<'static, str>,
    pub(super) series: Vec<Series>,
}

/// A series of a family.
pub(super) struct Series {
    /// As they are between braces.
    pub(super) labels: String,
    pub(super) value: MetricValue,
    pub(super) exemplars: Vec<Exemplar>,
}

/// What a family is exposed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Counter,
    /// A counter whose name does not end in `_total`.
    Unknown,
    Gauge,
    Histogram,
}

impl Kind {
    /// The word for `# TYPE`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Unknown => "unknown",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    /// What no other family or sample may be called.
    fn reserved(self, name: &str) -> impl Iterator<Item = String> {
        let suffixes: &[&str] = match self {
            Self::Counter => &["", "_total", "_created"],
            Self::Histogram => &["", "_bucket", "_sum", "_count", "_created"],
            Self::Unknown | Self::Gauge => &[""],
        };
        suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
    }
}

/// What the values of one family have in common, as it was read.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    name: String,
    /// `counter`, `gauge` or `histogram`.
    word: &'static str,
    labels: Vec<String>,
}

/// Readings of one family.
struct Group {
    key: Key,
    readings: Vec<MetricReading>,
}

pub(super) fn families(readings: Vec<MetricReading>) -> Vec<Family> {
    let mut taken = HashSet::new();
    grouped(readings).into_iter().map(|group| family(group, &mut taken)).collect()
}

fn grouped(readings: Vec<MetricReading>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_key: HashMap<Key, usize> = HashMap::new();
    for reading in readings {
        let key = || Key {
            name: legal(&reading.name),
            word: word(&reading.value),
            labels: label::unique(&reading.labels).iter().map(|(name, _)| legal_label(name)).collect(),
        };
        let position = *by_key.entry(key()).or_insert_with_key(|known| {
            let key = Key { name: known.name.clone(), word: known.word, labels: known.labels.clone() };
            groups.push(Group { key, readings: Vec::new() });
            groups.len().saturating_sub(1)
        });
        if let Some(group) = groups.get_mut(position) {
            group.readings.push(reading);
        }
    }
    groups
}

fn family(group: Group, taken: &mut HashSet<String>) -> Family {
    let Group { key, readings } = group;
    let (name, kind) = free(&key, taken);
    let ambiguous = readings.windows(2).any(|pair| matches!(pair, [one, other] if one.name != other.name));
    let (mut help, mut unit) = (Cow::Borrowed(""), "");
    let mut series = Vec::with_capacity(readings.len());
    let mut seen = HashSet::new();
    for reading in readings {
        if unit.is_empty() {
            unit = self::unit(&reading.unit, &name);
        }
        if help.is_empty() {
            help = reading.help;
        }
        let mut labels = String::new();
        if ambiguous {
            push_label(&mut labels, "name", &reading.name);
        }
        for (legal, (_, value)) in label_names(&key, ambiguous).iter().zip(label::unique(&reading.labels)) {
            push_label(&mut labels, legal, &value);
        }
        if seen.insert(labels.clone()) {
            series.push(Series { labels, value: reading.value, exemplars: reading.exemplars });
        }
    }
    Family { name, kind, unit, help, series }
}

/// A name that no other family has, and what it makes of the kind.
fn free(key: &Key, taken: &mut HashSet<String>) -> (String, Kind) {
    let mut full = key.name.clone();
    let mut suffix = key.word;
    loop {
        let (name, kind) = match (key.word, full.strip_suffix("_total")) {
            ("counter", Some(name)) if !name.is_empty() => (name.to_owned(), Kind::Counter),
            ("counter", _) => (full.clone(), Kind::Unknown),
            ("gauge", _) => (full.clone(), Kind::Gauge),
            _ => (full.clone(), Kind::Histogram),
        };
        if !kind.reserved(&name).any(|reserved| taken.contains(&reserved)) {
            taken.extend(kind.reserved(&name));
            // So that it is found that the name is taken by the same kind.
            taken.insert(format!("{} {}", key.word, key.name));
            return (name, kind);
        }
        if taken.contains(&format!("{} {}", key.word, key.name)) {
            suffix = "labelled";
        }
        full = format!("{full}_{suffix}");
        suffix = "labelled";
    }
}

/// Legal names of labels, each once. `le` and, where it is given, `name` are spoken for.
fn label_names(key: &Key, ambiguous: bool) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(key.labels.len());
    for name in &key.labels {
        let spoken_for = (key.word == "histogram" && name == "le") || (ambiguous && name == "name");
        let mut name = if spoken_for { format!("exported_{name}") } else { name.clone() };
        while names.contains(&name) {
            // An underscore would make `__` of `_`.
            name.push('x');
        }
        names.push(name);
    }
    names
}

fn word(value: &MetricValue) -> &'static str {
    match value {
        MetricValue::Counter(_) => "counter",
        MetricValue::Gauge(_) => "gauge",
        MetricValue::Histogram(_) => "histogram",
    }
}

/// A unit in the words of OpenMetrics, where the name ends with it as it must.
fn unit(ucum: &str, name: &str) -> &'static str {
    let word = match ucum {
        "s" => "seconds",
        "By" => "bytes",
        _ => return "",
    };
    if name.strip_suffix(word).is_some_and(|rest| rest.ends_with('_')) { word } else { "" }
}

/// A legal name of a metric.
fn legal(name: &str) -> String {
    let mut legal = String::with_capacity(name.len());
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        legal.push('_');
    }
    legal.extend(name.chars().map(|character| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | ':' => character,
        _ => '_',
    }));
    legal
}

/// A legal name of a label: without colons, and names that begin with two underscores are Prometheus's own.
fn legal_label(name: &str) -> String {
    let legal = legal(name).replace(':', "_");
    if !legal.starts_with("__") {
        return legal;
    }
    let rest = legal.trim_start_matches('_');
    if rest.starts_with(|first: char| first.is_ascii_alphabetic()) { rest.to_owned() } else { format!("_{rest}") }
}
