//! Names and labels as servers read them.
//!
//! Whatever a name or a label holds, what is written has no character that a line is parted by. Two names may become
//! one that way: counters then add up at the server, of gauges it has the last.

use std::{borrow::Cow, fmt, fmt::Write as _};

use super::settings::Dialect;
use crate::telemetry::{label, reading::Attributes};

/// Longest tag, in bytes: Datadog cuts there.
const TAG_BYTES: usize = 200;
/// What the names of the proxy's own metrics begin with.
const OWN: &str = "fyke_";

/// Labels by name, each name once.
pub(super) type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Labels in the order in which they are written, whatever the order of their reading.
pub(super) fn sorted(labels: &Attributes) -> Labels<'_> {
    let mut labels = label::unique(labels);
    labels.sort_unstable_by_key(|(name, _)| *name);
    labels
}

/// How names are written.
#[derive(Debug)]
pub(super) struct Naming {
    dialect: Dialect,
    prefix: String,
}

/// What the lines of a series have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    name: String,
    /// With `|#` in front, or empty.
    tags: String,
}

impl Naming {
    pub(super) fn new(dialect: Dialect, prefix: &str) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}.") };
        Self { dialect, prefix }
    }

    pub(super) fn head(&self, name: &str, labels: &Labels<'_>) -> Head {
        let mut head = Head { name: self.prefix.clone(), tags: String::new() };
        let own = name.strip_prefix(OWN);
        if own.is_none() {
            head.name.push_str("filter.");
        }
        push_name(&mut head.name, own.unwrap_or(name), self.dialect);
        for (name, value) in labels {
            match self.dialect {
                Dialect::Plain => {
                    for part in [name, value.as_ref()] {
                        head.name.push('.');
                        push_part(&mut head.name, part);
                    }
                }
                Dialect::Dog => push_tag(&mut head.tags, name, value),
            }
        }
        head
    }
}

impl Head {
    /// Adds a line to `unit`, below those that are there.
    pub(super) fn line(&self, unit: &mut String, part: &str, value: impl fmt::Display, kind: &str, rate: Option<f64>) {
        if !unit.is_empty() {
            unit.push('\n');
        }
        let Self { name, tags } = self;
        // Writing to a string cannot fail.
        let _ = write!(unit, "{name}{part}:{value}|{kind}");
        if let Some(rate) = rate {
            let _ = write!(unit, "|@{rate}");
        }
        unit.push_str(tags);
    }
}

/// Dots part a name; an empty part would be lost or refused.
fn push_name(out: &mut String, name: &str, dialect: Dialect) {
    let mut open = false;
    let last = name.char_indices().next_back().map(|(at, _)| at);
    for (at, character) in name.char_indices() {
        let dot = character == '.' && open && Some(at) != last;
        open = !dot;
        out.push(match character {
            '.' if dot => '.',
            '-' if dialect == Dialect::Plain => '-',
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => character,
            _ => '_',
        });
    }
    if name.is_empty() {
        out.push('_');
    }
}

/// A label's name or value inside of a dotted name, where it must be one part and cannot be none.
fn push_part(out: &mut String, part: &str) {
    out.extend(part.chars().map(|character| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => character,
        _ => '_',
    }));
    if part.is_empty() {
        out.push('_');
    }
}

/// An empty value says as much as no tag, and some servers refuse it.
fn push_tag(out: &mut String, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    out.push_str(if out.is_empty() { "|#" } else { "," });
    let begin = out.len();
    let legal = |character: char, more: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' | '/' => character,
        // The first colon parts name and value; those behind it are the value's.
        _ if character == more => character,
        _ => '_',
    };
    out.extend(name.chars().map(|character| legal(character, '_')));
    out.push(':');
    out.extend(value.chars().map(|character| legal(character, ':')));
    // All of it is ASCII by now.
    out.truncate(begin.saturating_add(TAG_BYTES));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(dialect: Dialect, prefix: &str, name: &str, labels: &[(&'static str, &str)]) -> String {
        let labels: Attributes =
            labels.iter().map(|(name, value)| ((*name).into(), (*value).to_owned().into())).collect();
        let mut unit = String::new();
        Naming::new(dialect, prefix).head(name, &sorted(&labels)).line(&mut unit, "", 1, "c", None);
        unit
    }

    #[test]
    fn labels_are_part_of_the_name_in_plain_statsd_in_one_order() {
        let expected = "fyke.cluster_requests_total.class.2xx.cluster.users_internal_8080:1|c";
        let (class, cluster) = (("class", "2xx"), ("cluster", "users.internal:8080"));
        assert_eq!(line(Dialect::Plain, "fyke", "fyke_cluster_requests_total", &[cluster, class]), expected);
        assert_eq!(line(Dialect::Plain, "fyke", "fyke_cluster_requests_total", &[class, cluster]), expected);
    }

    #[test]
    fn labels_are_tags_in_dogstatsd() {
        assert_eq!(
            line(Dialect::Dog, "edge.a", "fyke_x", &[("b", "10.0.0.1:80"), ("a", "é|,#@\n "), ("c", "")]),
            "edge.a.x:1|c|#a:_______,b:10.0.0.1:80"
        );
        assert_eq!(line(Dialect::Dog, "", "fyke_x", &[]), "x:1|c");
    }

    #[test]
    fn what_filters_define_is_apart_from_what_the_proxy_counts() {
        assert_eq!(line(Dialect::Plain, "fyke", "my.requests", &[]), "fyke.filter.my.requests:1|c");
        assert_eq!(
            line(Dialect::Plain, "fyke", "cluster_requests_total", &[]),
            "fyke.filter.cluster_requests_total:1|c"
        );
        assert_eq!(line(Dialect::Dog, "fyke", "..a..b-c.", &[]), "fyke.filter._.a._b_c_:1|c");
        assert_eq!(line(Dialect::Plain, "fyke", "", &[("x", "")]), "fyke.filter._.x._:1|c");
    }

    #[test]
    fn a_tag_is_cut_where_datadog_cuts() {
        let long = line(Dialect::Dog, "p", "fyke_x", &[("k", &"v".repeat(300))]);
        assert_eq!(long.len(), "p.x:1|c|#".len() + TAG_BYTES);
    }

    proptest! {
        #[test]
        fn nothing_in_a_name_or_a_label_can_break_a_line(name in any::<String>(), key in any::<String>(), value in any::<String>()) {
            let labels: Attributes = vec![(key.into(), value.into())];
            for dialect in [Dialect::Plain, Dialect::Dog] {
                let mut unit = String::new();
                let head = Naming::new(dialect, "fyke").head(&name, &sorted(&labels));
                head.line(&mut unit, ".p99", 1.5, "d", Some(0.5));
                prop_assert!(unit.is_ascii() && !unit.contains('\n'));
                let (bucket, rest) = unit.split_once(':').unwrap();
                let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
                prop_assert!(bucket.bytes().all(legal) && bucket.split('.').all(|part| !part.is_empty()), "{bucket}");
                let fields: Vec<_> = rest.split('|').collect();
                prop_assert_eq!(&fields[..3], &["1.5", "d", "@0.5"]);
                match fields.get(3) {
                    Some(tags) => prop_assert!(dialect == Dialect::Dog && tags.starts_with('#') && !tags.contains(',')),
                    None => prop_assert!(dialect == Dialect::Plain || labels[0].0.is_empty() || label::words(&labels[0].1).is_empty()),
                }
                prop_assert!(fields.len() <= 4);
            }
        }
    }
}
