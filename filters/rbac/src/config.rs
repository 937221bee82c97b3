//! The configuration.

use std::collections::BTreeMap;

use fyke_sdk::FilterConfig;
use serde::Deserialize;

/// Without `policies` everything passes.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What becomes of whoever a policy matches. Default: `allow`.
    pub action: Action,
    /// By name. Empty, with `allow`: nobody passes. Default: everybody does.
    pub policies: Option<BTreeMap<String, Policy>>,
    /// Others, which are counted and have no effect.
    pub shadow: Option<Shadow>,
}

/// Policies that are tried.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    /// What would become of whoever a policy matches. Default: `allow`.
    #[serde(default)]
    pub action: Action,
    /// By name.
    pub policies: BTreeMap<String, Policy>,
}

/// What a match means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Only those pass that some policy matches.
    #[default]
    Allow,
    /// Only those pass that no policy matches.
    Deny,
}

/// Who may do what, or may not. At least one of the two.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// What is wanted: any of these. Default: anything.
    pub permissions: Option<Vec<Rule>>,
    /// Who wants it: any of these. Default: anybody.
    pub principals: Option<Vec<Rule>>,
}

/// A condition: exactly one of these.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// It always holds; has to be true.
    pub any: Option<bool>,
    /// All of these conditions hold.
    #[config(schema = r#""type":["array","null"],"items":{"type":"object"}"#)]
    pub all_of: Option<Vec<Self>>,
    /// One of these conditions holds.
    #[config(schema = r#""type":["array","null"],"items":{"type":"object"}"#)]
    pub any_of: Option<Vec<Self>>,
    /// This condition does not hold.
    #[config(schema = r#""type":["object","null"]"#)]
    pub not: Option<Box<Self>>,
    /// A header of the request; a connection has none.
    pub header: Option<HeaderMatch>,
    /// The path of the request, without its query; a connection has none.
    pub path: Option<TextMatch>,
    /// The server name that TLS was asked for.
    pub server_name: Option<TextMatch>,
    /// Where the connection comes from: networks, such as `10.0.0.0/8`, or addresses.
    pub source_ip: Option<Vec<String>>,
    /// Where it went to.
    pub destination_ip: Option<Vec<String>>,
    /// The port that it went to.
    pub destination_port: Option<u16>,
    /// The same, from `start` to below `end`.
    pub destination_port_range: Option<PortRange>,
    /// The client has shown a certificate that was believed; where a text is given, its URI, its name or its subject is that.
    pub authenticated: Option<TextMatch>,
}

/// Ports.
#[derive(Debug, Clone, Copy, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct PortRange {
    /// The first.
    pub start: u16,
    /// The first that is not meant, up to 65536.
    pub end: u32,
}

/// What a text is. At most one kind; none means any text.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct TextMatch {
    /// All of it.
    pub exact: Option<String>,
    /// Its beginning.
    pub prefix: Option<String>,
    /// Its end.
    pub suffix: Option<String>,
    /// A part of it.
    pub contains: Option<String>,
    /// All of it, as a regular expression.
    pub regex: Option<String>,
    /// Takes letters in either case. Default: no.
    pub ignore_case: bool,
}

/// What a header is. At most one kind; none means that it is there. All values of the same name are one, joined by commas.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderMatch {
    /// Its name; `:method`, `:authority` and `:path` are among them.
    pub name: String,
    /// All of it.
    pub exact: Option<String>,
    /// Its beginning.
    pub prefix: Option<String>,
    /// Its end.
    pub suffix: Option<String>,
    /// A part of it.
    pub contains: Option<String>,
    /// All of it, as a regular expression.
    pub regex: Option<String>,
    /// An integer from `start` to below `end`.
    pub range: Option<Range>,
    /// Whether there is one at all.
    pub present: Option<bool>,
    /// Takes letters in either case. Default: no.
    pub ignore_case: bool,
    /// No header is an empty one. Default: no header meets no condition.
    pub treat_missing_as_empty: bool,
    /// The opposite. Default: no.
    pub invert: bool,
}

/// Integers.
#[derive(Debug, Clone, Copy, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first.
    pub start: i64,
    /// The first that is not meant.
    pub end: i64,
}
