//! `tests:`

use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

use http::{HeaderMap, Method, Uri, uri::Authority};
use regex_lite::Regex;

use super::Origin;

/// One of `tests:`.
#[derive(Debug, Clone)]
pub struct Test {
    /// What it shows; no two have the same.
    pub name: String,
    /// Where it was written.
    pub origin: Origin,
    /// What is sent.
    pub request: TestRequest,
    /// What clusters answer, by name; never empty. Others answer with 200 and no body.
    pub upstreams: BTreeMap<String, Vec<TestAnswer>>,
    /// How often it is sent. Default 1.
    pub count: u32,
    /// How long one answer may take. Default 10 s.
    pub timeout: Duration,
    /// What has to come of it, in the order in which it is looked at.
    pub expectations: Vec<Expectation>,
}

/// A request that can be sent.
#[derive(Debug, Clone)]
pub struct TestRequest {
    /// A listener that speaks HTTP.
    pub listener: String,
    /// Method.
    pub method: Method,
    /// Path and query.
    pub target: Uri,
    /// Host, with its port if one was written.
    pub host: Authority,
    /// Over TLS, asking for this name if for any. `None`: without.
    pub tls: Option<Option<String>>,
    /// Over HTTP/2; else over HTTP/1.1.
    pub http2: bool,
    /// Headers.
    pub headers: HeaderMap,
    /// Body; empty: none.
    pub body: String,
    /// Where the client is.
    pub from: SocketAddr,
}

/// What a cluster answers.
#[derive(Debug, Clone, Default)]
pub struct TestAnswer {
    /// Status.
    pub status: http::StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body; empty: none.
    pub body: String,
    /// Before it answers.
    pub delay: Duration,
    /// The connection is cut instead.
    pub reset: bool,
}

/// One thing that has to come of a request.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// Where it was written.
    pub origin: Origin,
    /// What it is called: `headers[0]`.
    pub path: String,
    /// What it is.
    pub what: Expected,
}

/// What has to be, and of what.
#[derive(Debug, Clone)]
pub enum Expected {
    /// The status.
    Status(StatusCondition),
    /// A header of the answer.
    Header(HeaderCondition),
    /// The answer's body.
    Body(TextCondition),
    /// The route's name.
    Route(TextCondition),
    /// The cluster.
    Cluster(String),
    /// `response.code_details`
    Details(TextCondition),
    /// The filter that answered.
    RepliedBy(String),
    /// What a cluster saw; `None`: the one that the request was sent to.
    Upstream(Option<String>, Seen),
    /// Shares of all requests, of 100, and by how much they may be off.
    Shares(BTreeMap<String, f64>, f64),
}

/// What a cluster saw.
#[derive(Debug, Clone)]
pub enum Seen {
    /// So many requests.
    Requests(u32),
    /// The method of the last one.
    Method(TextCondition),
    /// Its path and query.
    Path(TextCondition),
    /// Its host.
    Host(TextCondition),
    /// A header of it.
    Header(HeaderCondition),
    /// Its body.
    Body(TextCondition),
}

/// A status, or a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusCondition {
    /// This one.
    Code(u16),
    /// The hundreds.
    Class(u16),
}

impl StatusCondition {
    /// Whether it holds.
    #[must_use]
    pub fn holds(self, status: u16) -> bool {
        match self {
            Self::Code(code) => status == code,
            Self::Class(class) => status / 100 == class,
        }
    }
}

impl fmt::Display for StatusCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => code.fmt(f),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

/// A condition on a header.
#[derive(Debug, Clone)]
pub struct HeaderCondition {
    /// In lower case.
    pub name: String,
    /// On its values, joined with a comma.
    pub condition: TextCondition,
}

/// A condition on a text.
#[derive(Debug, Clone)]
pub struct TextCondition {
    /// What it asks.
    pub test: TextTest,
    /// It must not hold.
    pub invert: bool,
}

/// What can be asked of a text.
#[derive(Debug, Clone)]
pub enum TextTest {
    /// Is this.
    Exact(String),
    /// Begins so.
    Prefix(String),
    /// Ends so.
    Suffix(String),
    /// Has this in it.
    Contains(String),
    /// What was written, and the expression: all of the text has to match.
    Regex(String, Regex),
    /// Is there, or is not.
    Present(bool),
}

impl TextCondition {
    /// Is this.
    #[must_use]
    pub fn exact(text: &str) -> Self {
        Self { test: TextTest::Exact(text.to_owned()), invert: false }
    }

    /// Whether it holds; `None` is a text that is not there.
    #[must_use]
    pub fn holds(&self, text: Option<&str>) -> bool {
        let holds = match (&self.test, text) {
            (TextTest::Present(wanted), text) => text.is_some() == *wanted,
            (_, None) => false,
            (TextTest::Exact(wanted), Some(text)) => text == wanted,
            (TextTest::Prefix(wanted), Some(text)) => text.starts_with(wanted.as_str()),
            (TextTest::Suffix(wanted), Some(text)) => text.ends_with(wanted.as_str()),
            (TextTest::Contains(wanted), Some(text)) => text.contains(wanted.as_str()),
            (TextTest::Regex(_, regex), Some(text)) => regex.is_match(text),
        };
        holds != self.invert
    }
}

impl fmt::Display for TextCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.invert {
            f.write_str("not ")?;
        }
        match &self.test {
            TextTest::Exact(text) => write!(f, "{text:?}"),
            TextTest::Prefix(text) => write!(f, "something that begins with {text:?}"),
            TextTest::Suffix(text) => write!(f, "something that ends with {text:?}"),
            TextTest::Contains(text) => write!(f, "something with {text:?} in it"),
            TextTest::Regex(text, _) => write!(f, "a match of {text:?}"),
            TextTest::Present(true) => f.write_str("something"),
            TextTest::Present(false) => f.write_str("nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_where_they_should() {
        let of = |test| TextCondition { test, invert: false };
        let regex = TextTest::Regex("a+".to_owned(), Regex::new("^(?:a+)$").unwrap());
        for (test, good, bad) in [
            (TextTest::Exact("ab".to_owned()), Some("ab"), Some("abc")),
            (TextTest::Prefix("ab".to_owned()), Some("abc"), Some("cab")),
            (TextTest::Suffix("ab".to_owned()), Some("cab"), Some("abc")),
            (TextTest::Contains("b".to_owned()), Some("abc"), Some("ac")),
            (regex, Some("aa"), Some("aab")),
            (TextTest::Exact("ab".to_owned()), Some("ab"), None),
            (TextTest::Present(true), Some(""), None),
            (TextTest::Present(false), None, Some("")),
        ] {
            assert!(of(test.clone()).holds(good), "{test:?}");
            assert!(!of(test.clone()).holds(bad), "{test:?}");
            assert!(TextCondition { test, invert: true }.holds(bad));
        }
    }

    #[test]
    fn a_class_is_all_of_its_hundred() {
        assert!(StatusCondition::Class(2).holds(204) && !StatusCondition::Class(2).holds(304));
        assert!(StatusCondition::Code(404).holds(404) && !StatusCondition::Code(404).holds(400));
    }
}
