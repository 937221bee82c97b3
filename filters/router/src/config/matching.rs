//! What a request must be like.

use fyke_sdk::FilterConfig;
use fyke_sdk::units::Percent;
use serde::Deserialize;

/// All that is given must hold.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The whole path.
    pub path: Option<String>,
    /// Its beginning.
    pub path_prefix: Option<String>,
    /// Its beginning, up to its end or a `/`.
    pub path_separated_prefix: Option<String>,
    /// The whole path, as a regular expression.
    pub path_regex: Option<String>,
    /// The whole path, as in `/users/{id}/*/**`: `*` and `{name}` are a segment, `**` any number of them.
    pub path_template: Option<String>,
    /// Takes the letters of the path in either case. Default: no.
    #[serde(default)]
    pub ignore_case: bool,
    /// One of these methods.
    pub method: Option<OneOrMany>,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Whether `content-type` is gRPC's.
    pub grpc: Option<bool>,
    /// Whether the method is CONNECT. One without a path matches only routes that say `true`.
    pub connect: Option<bool>,
    /// The client's certificate.
    pub tls: Option<TlsMatch>,
    /// Conditions on headers.
    #[serde(default)]
    pub headers: Vec<ValueMatch>,
    /// Conditions on query parameters.
    #[serde(default)]
    pub query: Vec<ValueMatch>,
    /// Conditions on cookies.
    #[serde(default)]
    pub cookies: Vec<ValueMatch>,
    /// Conditions on properties of the stream, such as those that a filter before the router has set.
    #[serde(default)]
    pub properties: Vec<PropertyMatch>,
    /// This share of the requests, at random.
    pub fraction: Option<Percent>,
}

/// `GET`, or `[GET, HEAD]`.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Many.
    Many(Vec<String>),
}

/// About the client's certificate.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct TlsMatch {
    /// Whether there is one.
    pub presented: Option<bool>,
    /// Whether it was checked. A listener checks every one that it asks for, so this is `presented`.
    pub validated: Option<bool>,
}

/// A condition on a named value. At most one kind; none means `present: true`.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct ValueMatch {
    /// Of the header, parameter or cookie.
    pub name: String,
    /// The whole value.
    pub exact: Option<String>,
    /// One of these is the whole value.
    pub any_of: Option<Vec<String>>,
    /// Its beginning.
    pub prefix: Option<String>,
    /// Its end.
    pub suffix: Option<String>,
    /// A part of it.
    pub contains: Option<String>,
    /// The whole value, as a regular expression.
    pub regex: Option<String>,
    /// An integer in `start <= value < end`.
    pub range: Option<Range>,
    /// Whether there is a value at all.
    pub present: Option<bool>,
    /// Takes letters in either case. Default: no.
    #[serde(default)]
    pub ignore_case: bool,
    /// No value is an empty one. Default: no value meets no condition.
    #[serde(default)]
    pub treat_missing_as_empty: bool,
    /// The opposite.
    #[serde(default)]
    pub invert: bool,
}

/// A condition on a property, as text. At most one kind; none means `present: true`.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct PropertyMatch {
    /// Its path: `[connection, requested_server_name]`.
    pub path: Vec<String>,
    /// The whole value.
    pub exact: Option<String>,
    /// One of these is the whole value.
    pub any_of: Option<Vec<String>>,
    /// Its beginning.
    pub prefix: Option<String>,
    /// Its end.
    pub suffix: Option<String>,
    /// A part of it.
    pub contains: Option<String>,
    /// The whole value, as a regular expression.
    pub regex: Option<String>,
    /// An integer in `start <= value < end`.
    pub range: Option<Range>,
    /// Whether there is a value at all.
    pub present: Option<bool>,
    /// Takes letters in either case. Default: no.
    #[serde(default)]
    pub ignore_case: bool,
    /// No value is an empty one. Default: no value meets no condition.
    #[serde(default)]
    pub treat_missing_as_empty: bool,
    /// The opposite.
    #[serde(default)]
    pub invert: bool,
}

/// `start <= value < end`.
#[derive(Debug, Clone, Copy, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first that matches.
    pub start: i64,
    /// The first that does not.
    pub end: i64,
}
