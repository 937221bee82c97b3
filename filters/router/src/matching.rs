//! Whether a route matches a request, and how much of its path that took.

use std::cell::RefCell;

use fyke_sdk::units::Percent;
use fyke_sdk::{ConfigError, Request, random};
use regex_lite::Regex;

use crate::config::{Match, OneOrMany};
use crate::rewrite::check_path;
use crate::scan::{Part, Scan};
use crate::values::{Condition, cookie_value, query_value, whole_match};

/// All conditions of one route.
#[derive(Debug)]
pub struct Matcher {
    pub path: PathMatch,
    methods: Vec<String>,
    headers: Vec<Condition>,
    query: Vec<Condition>,
    cookies: Vec<Condition>,
    fraction: Option<Percent>,
}

/// The condition on the path, without its query.
#[derive(Debug)]
pub enum PathMatch {
    /// Any.
    Any,
    /// This one.
    Exact(String),
    /// Those that begin so.
    Prefix(String),
    /// Those that begin so and end there or go on with a slash.
    SeparatedPrefix(String),
    /// Those that an expression matches from end to end.
    Regex(Regex),
}

impl Matcher {
    pub fn build(raw: Match) -> Result<Self, ConfigError> {
        let path = PathMatch::build(raw.path, raw.path_prefix, raw.path_separated_prefix, raw.path_regex)?;
        let methods = match raw.method {
            None => Vec::new(),
            Some(OneOrMany::One(method)) => vec![method],
            Some(OneOrMany::Many(methods)) if methods.is_empty() => {
                return Err(ConfigError::at("method", "must not be empty; leave it out for every method"));
            }
            Some(OneOrMany::Many(methods)) => methods,
        };
        if let Some(bad) =
            methods.iter().find(|method| method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(ConfigError::at("method", format!("\"{bad}\" is not a method")));
        }
        let mut headers = conditions(raw.headers, "headers")?;
        for condition in &mut headers {
            condition.name.make_ascii_lowercase();
        }
        Ok(Self {
            path,
            methods,
            headers,
            query: conditions(raw.query, "query")?,
            cookies: conditions(raw.cookies, "cookies")?,
            fraction: raw.fraction,
        })
    }

    /// How many bytes of the path were recognised, if all conditions hold.
    pub fn matches(&self, subject: &Subject<'_>) -> Option<usize> {
        let matched = self.path.matches(subject.path, &subject.scan)?;
        let scan = &subject.scan;
        let holds = (self.methods.is_empty() || self.methods.iter().any(|method| method.as_bytes() == subject.request.method()))
            && self.headers.iter().all(|condition| subject.header(&condition.name, |value| condition.holds(value, scan, Part::Header)))
            && self.query.iter().all(|condition| condition.holds(query_value(subject.query, &condition.name).as_deref(), scan, Part::Target))
            && self.cookies.iter().all(|condition| subject.cookie(&condition.name, |value| condition.holds(value, scan, Part::Header)))
            // Last, so that the share is one of the requests that the route would otherwise get.
            && self.fraction.is_none_or(drawn);
        holds.then_some(matched)
    }
}

fn conditions(raw: Vec<crate::config::ValueMatch>, key: &str) -> Result<Vec<Condition>, ConfigError> {
    raw.into_iter()
        .enumerate()
        .map(|(at, raw)| Condition::build(raw).map_err(|error| error.under(format!("{key}[{at}]"))))
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn drawn(fraction: Percent) -> bool {
    ((random::number() >> 11) as f64) < fraction.fraction() * (1_u64 << 53) as f64
}

impl PathMatch {
    fn build(
        exact: Option<String>,
        prefix: Option<String>,
        separated: Option<String>,
        regex: Option<String>,
    ) -> Result<Self, ConfigError> {
        for (key, text) in [("path", &exact), ("path_prefix", &prefix), ("path_separated_prefix", &separated)] {
            let Some(text) = text else { continue };
            if key == "path" && text == "*" {
                continue; // OPTIONS *
            }
            check_path(text).map_err(|error| error.under(key))?;
            if text.contains(['?', '#']) {
                return Err(ConfigError::at(key, "is compared without the query; use `query` for that"));
            }
            if key == "path_separated_prefix" && text.ends_with('/') {
                return Err(ConfigError::at(key, "must not end with '/'; the separation is its own"));
            }
        }
        let regex =
            regex.map(|pattern| whole_match(&pattern).map_err(|error| error.under("path_regex"))).transpose()?;
        let mut all = [
            exact.map(Self::Exact),
            prefix.map(Self::Prefix),
            separated.map(Self::SeparatedPrefix),
            regex.map(Self::Regex),
        ]
        .into_iter()
        .flatten();
        let path = all.next().unwrap_or(Self::Any);
        if all.next().is_some() {
            return Err(ConfigError::new("needs only one of path, path_prefix, path_separated_prefix and path_regex"));
        }
        Ok(path)
    }

    fn matches(&self, path: &[u8], scan: &Scan) -> Option<usize> {
        match self {
            Self::Any => Some(0),
            Self::Exact(text) => (path == text.as_bytes()).then_some(path.len()),
            Self::Prefix(text) => path.starts_with(text.as_bytes()).then_some(text.len()),
            Self::SeparatedPrefix(text) => {
                let rest = path.strip_prefix(text.as_bytes())?;
                (rest.is_empty() || rest.starts_with(b"/")).then_some(text.len())
            }
            Self::Regex(regex) => {
                scan.text(path, Part::Target).is_some_and(|path| regex.is_match(path)).then_some(path.len())
            }
        }
    }
}

/// A request, as far as routes look at it. What was asked once is kept: many routes ask for the same header.
pub struct Subject<'a> {
    pub request: &'a Request,
    /// Without the query.
    pub path: &'a [u8],
    /// Without its question mark.
    pub query: Option<&'a [u8]>,
    /// What expressions have looked at.
    pub scan: Scan,
    joined: RefCell<Vec<(String, Option<Vec<u8>>)>>,
}

impl<'a> Subject<'a> {
    pub fn new(request: &'a Request, target: &'a [u8]) -> Self {
        let (path, query) = split_query(target);
        Self { request, path, query, scan: Scan::default(), joined: RefCell::default() }
    }

    /// All values of a header, joined by commas: a second one cannot hide behind the first.
    fn header<T>(&self, name: &str, look: impl FnOnce(Option<&[u8]>) -> T) -> T {
        if name.starts_with(':') {
            return look(self.request.get(name));
        }
        self.value(name, b",", look)
    }

    fn cookie<T>(&self, name: &str, look: impl FnOnce(Option<&[u8]>) -> T) -> T {
        // HTTP/2 may send one `cookie` header for each.
        self.value("cookie", b";", |cookies| look(cookies.and_then(|cookies| cookie_value(cookies, name))))
    }

    fn value<T>(&self, name: &str, separator: &[u8], look: impl FnOnce(Option<&[u8]>) -> T) -> T {
        let mut joined = self.joined.borrow_mut();
        if let Some((_, value)) = joined.iter().find(|(known, _)| known == name) {
            return look(value.as_deref());
        }
        let mut values = self.request.values(name).into_iter();
        let value = values.next().map(|mut first| {
            for value in values {
                first.extend_from_slice(separator);
                first.extend_from_slice(&value);
            }
            first
        });
        let result = look(value.as_deref());
        joined.push((name.to_owned(), value));
        result
    }
}

/// The path and, without its question mark, the query. A fragment, which no request should have, counts as query.
pub fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let at = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    match target.split_at_checked(at) {
        Some((path, [_, query @ ..])) => (path, Some(query)),
        _ => (target, None),
    }
}
