//! Paths of pages, and parameters of queries.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::admin::dashboard::model::{ServiceKind, Subject};

/// Where all pages are.
pub const BASE: &str = "/dashboard";

/// Most parameters that are read of a query.
const PARAMETERS: usize = 64;

/// RFC 3986, section 2.3: what needs no escaping, wherever it stands.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A part of a path, or of a query, escaped.
#[must_use]
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// A page, by its path below [`BASE`].
#[must_use]
pub fn page(path: &str) -> String {
    if path.is_empty() { BASE.to_owned() } else { format!("{BASE}/{path}") }
}

/// Whether a path is one of our pages: nobody is led elsewhere by it.
#[must_use]
pub fn is_own(path: &str) -> bool {
    let rest = path.strip_prefix(BASE);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// The page of a service.
#[must_use]
pub fn service(kind: ServiceKind, name: &str) -> String {
    format!("{BASE}/services/{}/{}", kind.word(), escaped(name))
}

/// The page of a filter.
#[must_use]
pub fn filter(name: &str) -> String {
    format!("{BASE}/filters/{}", escaped(name))
}

/// The panels of a filter.
#[must_use]
pub fn panels(name: &str) -> String {
    format!("{BASE}/filters/{}/panels", escaped(name))
}

/// Where something can be seen.
#[must_use]
pub fn subject(subject: &Subject) -> String {
    match subject {
        Subject::Process => page(""),
        Subject::Listener(name) => service(ServiceKind::Listener, name),
        Subject::Cluster(name) => service(ServiceKind::Cluster, name),
        Subject::Route(_) => page("flow"),
        Subject::Endpoint { cluster, address } => {
            format!("{BASE}/endpoints?cluster={}&q={}", escaped(cluster), escaped(address))
        }
        Subject::Filter(name) => filter(name),
        Subject::Certificate(_) => page("certificates"),
    }
}

/// Parameters of a query or a form, decoded; bytes that are no UTF-8 are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=1&b=two+words`. What is beyond 64 parameters is not read.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let decoded = |part: &str| -> String {
            let part: Cow<'_, str> = if part.contains('+') { part.replace('+', " ").into() } else { part.into() };
            percent_decode_str(&part).decode_utf8_lossy().into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).take(PARAMETERS);
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (decoded(key), decoded(value)))
                .collect(),
        )
    }

    /// From pairs.
    #[must_use]
    pub fn of(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The first value of a parameter; empty when it is not given.
    #[must_use]
    pub fn value(&self, key: &str) -> &str {
        self.0.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }

    /// All parameters.
    #[must_use]
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The same with one parameter set, or taken away when the value is empty, as `?a=1&b=2`; empty without any.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> String {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for (name, held) in &self.0 {
            if name != key && !held.is_empty() {
                pairs.push((name, held));
            }
        }
        if !value.is_empty() {
            pairs.push((key, value));
        }
        let written: Vec<_> =
            pairs.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        if written.is_empty() { String::new() } else { format!("?{}", written.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_query_is_read_as_forms_are_sent() {
        let query = Query::read("q=two+words&&header=x-a%3A%20b&empty=&flag&q=later&bad=%zz%ff");
        assert_eq!(query.value("q"), "two words");
        assert_eq!(query.value("header"), "x-a: b");
        assert_eq!((query.value("empty"), query.value("flag"), query.value("none")), ("", "", ""));
        assert_eq!(query.value("bad"), "%zz\u{fffd}");
        assert_eq!(query.with("q", ""), "?header=x-a%3A%20b&bad=%25zz%EF%BF%BD");
        assert_eq!(Query::default().with("q", ""), "");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pairs in prop::collection::vec((".{1,10}", ".{1,10}"), 0..20)) {
            let mut unique: Vec<(String, String)> = Vec::new();
            for (key, value) in pairs {
                if !unique.iter().any(|(name, _)| *name == key) {
                    unique.push((key, value));
                }
            }
            let query = Query::of(unique.clone());
            let written = query.with("\u{0}unused", "");
            let read = Query::read(written.trim_start_matches('?'));
            prop_assert_eq!(read.pairs(), &unique[..]);
            prop_assert!(written.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'<'));
        }

        #[test]
        fn a_name_stays_one_part_of_its_path(name in ".{0,20}") {
            let path = filter(&name);
            let last = path.strip_prefix("/dashboard/filters/").unwrap();
            prop_assert!(!last.contains(['/', '?', '#', '&']));
            prop_assert_eq!(percent_decode_str(last).decode_utf8().unwrap(), name);
        }
    }
}
