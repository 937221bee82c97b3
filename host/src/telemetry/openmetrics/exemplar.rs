//! Exemplars on the lines of samples.

use std::fmt::Write as _;

use super::{as_float, number, push_label};
use crate::telemetry::{
    label,
    reading::{Exemplar, UnixTime},
};

/// Most characters of all names and values of an exemplar's labels ("Exemplars": 128 UTF-8 characters).
const CHARACTERS: usize = 128;

/// The last one that says anything.
pub(super) fn newest(exemplars: &[Exemplar]) -> Option<&Exemplar> {
    exemplars.iter().filter(|exemplar| is_telling(exemplar)).max_by_key(|exemplar| exemplar.time)
}

/// For each bucket the last one whose value is in it.
pub(super) fn by_bucket<'a>(exemplars: &'a [Exemplar], bounds: &[f64]) -> Vec<Option<&'a Exemplar>> {
    let mut buckets: Vec<Option<&Exemplar>> = vec![None; bounds.len().saturating_add(1)];
    for exemplar in exemplars.iter().filter(|exemplar| is_telling(exemplar)) {
        let value = as_float(exemplar.value);
        if let Some(bucket) = buckets.get_mut(bounds.partition_point(|bound| *bound < value))
            && bucket.is_none_or(|known| known.time <= exemplar.time)
        {
            *bucket = Some(exemplar);
        }
    }
    buckets
}

/// Adds ` # {trace_id="..",span_id=".."} value timestamp`. Of further labels, those that fit.
pub(super) fn write(out: &mut String, exemplar: &Exemplar) {
    let (mut labels, mut characters) = (String::new(), 0_usize);
    let mut push = |name: &str, value: &str| {
        let more = name.chars().count().saturating_add(value.chars().count());
        if characters.saturating_add(more) <= CHARACTERS {
            characters = characters.saturating_add(more);
            push_label(&mut labels, name, value);
        }
    };
    if let Some((trace, span)) = exemplar.trace {
        for (name, id) in [("trace_id", &trace[..]), ("span_id", &span[..])] {
            // All zeros is the id of nothing (W3C Trace Context).
            if id.iter().any(|byte| *byte != 0) {
                push(name, &hex(id));
            }
        }
    }
    for (name, value) in label::unique(&exemplar.labels) {
        if is_label(name) && !matches!(name, "trace_id" | "span_id") {
            push(name, &value);
        }
    }
    let value = number::text(exemplar.value);
    // Writing to a string cannot fail.
    let _ = write!(out, " # {{{labels}}} {value}");
    if exemplar.time != UnixTime(0) {
        let _ = write!(out, " {}", number::time(exemplar.time));
    }
}

fn is_telling(exemplar: &Exemplar) -> bool {
    let traced = exemplar.trace.is_some_and(|(trace, _)| trace != [0; 16]);
    as_float(exemplar.value).is_finite() && (traced || exemplar.labels.iter().any(|(name, _)| is_label(name)))
}

/// Names that begin with an underscore are reserved.
fn is_label(name: &str) -> bool {
    name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::reading::{Attributes, Number};

    fn exemplar(value: f64, time: u64) -> Exemplar {
        Exemplar {
            time: UnixTime(time),
            value: Number::Float(value),
            labels: Vec::new(),
            trace: Some(([0xab; 16], [1; 8])),
        }
    }

    fn written(exemplar: &Exemplar) -> String {
        let mut out = String::new();
        write(&mut out, exemplar);
        out
    }

    #[test]
    fn trace_and_span_are_written_in_hex_with_value_and_time() {
        assert_eq!(
            written(&exemplar(0.67, 1_520_879_607_789_000_000)),
            " # {trace_id=\"abababababababababababababababab\",span_id=\"0101010101010101\"} 0.67 1520879607.789"
        );
        let bare = Exemplar { trace: None, labels: vec![("a".into(), "b\"".into())], ..exemplar(1.0, 0) };
        assert_eq!(written(&bare), " # {a=\"b\\\"\"} 1.0");
        let no_span = Exemplar { trace: Some(([1; 16], [0; 8])), ..exemplar(1.0, 0) };
        assert!(!written(&no_span).contains("span_id"));
    }

    #[test]
    fn labels_beyond_the_limit_of_characters_are_left_out() {
        // 8 + 32 and 7 + 16 characters are taken.
        let labels: Attributes = vec![
            ("long".into(), "é".repeat(62).into()),
            ("fits".into(), "é".repeat(61).into()),
            ("x".into(), "".into()),
            ("_reserved".into(), "".into()),
            ("a b".into(), "".into()),
        ];
        let text = written(&Exemplar { labels, ..exemplar(1.0, 1) });
        assert!(text.contains("fits=") && !text.contains("long=") && !text.contains(",x="), "{text}");
        assert!(!text.contains("reserved") && !text.contains("a b"), "{text}");
    }

    #[test]
    fn a_bucket_has_the_last_exemplar_whose_value_is_in_it() {
        let all = [exemplar(1.0, 5), exemplar(0.5, 7), exemplar(0.2, 6), exemplar(9.0, 1), exemplar(f64::NAN, 9)];
        let found: Vec<_> = by_bucket(&all, &[1.0, 2.0]).iter().map(|found| found.map(|found| found.time.0)).collect();
        assert_eq!(found, [Some(7), None, Some(1)]);
        assert_eq!(newest(&all).unwrap().time.0, 7);
    }

    #[test]
    fn an_exemplar_that_says_nothing_is_none() {
        let nothing = Exemplar { trace: Some(([0; 16], [1; 8])), ..exemplar(1.0, 1) };
        assert!(newest(&[nothing.clone(), Exemplar { trace: None, ..nothing }]).is_none());
    }
}
