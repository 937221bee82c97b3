//! Which of the two formats a scraper wants (RFC 9110 section 12.5.1).
//!
//! Prometheus sends something like
//! `application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1`.

use http::{HeaderMap, header};

/// A format of exposition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format 0.0.4 ([`prometheus`](crate::telemetry::prometheus)).
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// Its `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => crate::telemetry::prometheus::CONTENT_TYPE,
            Self::OpenMetrics => super::CONTENT_TYPE,
        }
    }
}

/// The format to answer with. OpenMetrics is for those who name it and want nothing else more; whoever wants neither gets text,
/// as from Prometheus's own libraries, rather than an error. The answer varies by `accept`.
#[must_use]
pub fn negotiate(headers: &HeaderMap) -> Format {
    let (mut metrics, mut text) = (Wish::NONE, Wish::NONE);
    for value in headers.get_all(header::ACCEPT) {
        // What is not ASCII names no format.
        let Ok(value) = value.to_str() else { continue };
        for range in split(value, ',').filter_map(Range::parse) {
            metrics = metrics.or(range.wish("application", "openmetrics-text", "1.0.0"));
            text = text.or(range.wish("text", "plain", "0.0.4"));
        }
    }
    if metrics.exactness >= Wish::NAMED && metrics.quality > 0 && metrics.quality >= text.quality {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

/// How much a format is wanted, by the range that names it most exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    /// 0: not at all; 1: `*/*`; 2: `type/*`; 3: its name; 4: its name and version.
    exactness: u8,
    /// In thousandths.
    quality: u16,
}

impl Wish {
    const NONE: Self = Self { exactness: 0, quality: 0 };
    const NAMED: u8 = 3;

    /// Of two that are as exact, the stronger.
    fn or(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| self.max(other))
    }
}

/// A media range.
#[derive(Debug, PartialEq, Eq)]
struct Range<'a> {
    kind: &'a str,
    subkind: &'a str,
    version: Option<&'a str>,
    quality: u16,
}

impl<'a> Range<'a> {
    /// `None`: it is none.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = split(text, ';').map(str::trim);
        let (kind, subkind) = parts.next()?.split_once('/')?;
        let mut range = Self { kind, subkind, version: None, quality: 1000 };
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            if name.eq_ignore_ascii_case("version") {
                range.version = Some(value);
            } else if name.eq_ignore_ascii_case("q") {
                range.quality = quality(value)?;
            }
            // `charset` and `escaping` make no difference: all is UTF-8, and all names are legal as they are.
        }
        Some(range)
    }

    /// `None`: it is not of this format.
    fn wish(&self, kind: &str, subkind: &str, version: &str) -> Option<Wish> {
        let exactness = match (self.kind, self.subkind) {
            ("*", "*") => 1,
            (one, "*") if one.eq_ignore_ascii_case(kind) => 2,
            (one, other) if one.eq_ignore_ascii_case(kind) && other.eq_ignore_ascii_case(subkind) => match self.version
            {
                None => Wish::NAMED,
                Some(wanted) if wanted == version => Wish::NAMED + 1,
                Some(_) => return None,
            },
            _ => return None,
        };
        Some(Wish { exactness, quality: self.quality })
    }
}

/// A weight of 0 to 1 in thousandths; further digits are ignored. `None`: it is none.
fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths =
        fraction.bytes().chain([b'0'; 3]).take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// Parts between separators that are not inside of quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        let inside = quoted;
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        character == separator && !inside
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn wanted(values: &[&str]) -> Format {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        negotiate(&headers)
    }

    #[test]
    fn what_scrapers_send_is_understood() {
        for accept in [
            // Prometheus 2.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            // Prometheus 3.
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            // With protobuf, which is not spoken here.
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text",
            "Application/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=1",
            "application/openmetrics-text, text/plain",
        ] {
            assert_eq!(wanted(&[accept]), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "*/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/*",
            "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5",
            "application/openmetrics-text;q=0.5,*/*",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=0.0.1,text/plain;q=0.5",
            "application/openmetrics-text;version=2.0.0",
            "application/json",
            "",
        ] {
            assert_eq!(wanted(&[accept]), Format::Text, "{accept}");
        }
        assert_eq!(wanted(&[]), Format::Text);
    }

    #[test]
    fn several_headers_are_one() {
        assert_eq!(wanted(&["text/plain;q=0.5", "application/openmetrics-text;q=0.6"]), Format::OpenMetrics);
        assert_eq!(wanted(&["text/plain;q=0.5", "ä, application/openmetrics-text"]), Format::Text);
    }

    #[test]
    fn the_range_that_is_more_exact_counts() {
        assert_eq!(
            wanted(&["application/openmetrics-text;version=1.0.0;q=0.1,application/openmetrics-text,text/plain;q=0.5"]),
            Format::Text
        );
        assert_eq!(wanted(&["*/*,text/plain;q=0.1,application/openmetrics-text;q=0.2"]), Format::OpenMetrics);
    }

    #[test]
    fn separators_in_quotes_part_nothing() {
        assert_eq!(wanted(&["text/plain;a=\"\\\",application/openmetrics-text,\";q=0.5"]), Format::Text);
        assert_eq!(split("a;\"b;\\\";c\";d", ';').collect::<Vec<_>>(), ["a", "\"b;\\\";c\"", "d"]);
    }

    #[test]
    fn weights_are_thousandths() {
        for (text, weight) in [("1", 1000), ("1.000", 1000), ("0.75", 750), ("0.1239", 123), ("0", 0), ("0.", 0)] {
            assert_eq!(quality(text), Some(weight));
        }
        for text in ["", "2", "1.001", "-1", ".5", "0.a", "nan", "0.5.1"] {
            assert_eq!(quality(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_answered(value in "[ -~]{0,80}") {
            wanted(&[&value]);
        }
    }
}
