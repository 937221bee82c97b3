//! Rules: where a label gets its value.

use std::collections::BTreeMap;

use fyke_sdk::FilterConfig;
use serde::Deserialize;

/// One place from which a label may get its value.
#[derive(Debug, Clone, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The label. Without one, the rule is there for its `drop_sample`.
    pub label: Option<String>,
    /// Where the value comes from.
    pub from: Source,
    /// What the value has to match; where it does not, there is none.
    pub regex: Option<String>,
    /// What is made of a match, with `$1` or `${name}` for groups. Default: the first group, or else the whole match.
    pub value: Option<String>,
    /// What is done to the value, in order.
    #[serde(default)]
    pub then: Vec<Operation>,
    /// The value where there is none.
    pub default: Option<String>,
    /// The longest value, in bytes, 1 to 256. Default: that of all labels.
    pub maximum_length: Option<u16>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A request header.
    RequestHeader(String),
    /// A response header.
    ResponseHeader(String),
    /// A trailer of the response.
    ResponseTrailer(String),
    /// The request header `call_site_header`.
    CallSite,
    /// The request's authority, which is HTTP/1.1's `Host`.
    Host,
    /// The request's method.
    Method,
    /// Of these templates the one that the path matches (`/users/{id}`); the template itself is the value.
    PathTemplate(Vec<String>),
    /// The route's name.
    RouteName,
    /// A key of the route's metadata; dots lead into objects.
    RouteMetadata(String),
    /// The service of a gRPC request: `package.Service`.
    GrpcService,
    /// The method of a gRPC request.
    GrpcMethod,
    /// What the client's certificate says in its URI SAN, a SPIFFE id.
    Caller(Identity),
    /// What the upstream's certificate says.
    Callee(Identity),
    /// The cluster that the stream went to.
    Cluster,
    /// The answer's status.
    ResponseCode,
    /// Envoy's flags of how it ended, `UF,URX`.
    ResponseFlags,
    /// The status of a gRPC answer, a number.
    GrpcStatus,
    /// `http`, `grpc` or `tcp`.
    Protocol,
    /// This value.
    Value(String),
    /// A property, by its path with dots: `connection.tls_version`.
    Property(String),
    /// A property, by the parts of its path, which may have dots themselves.
    PropertyPath(Vec<String>),
    /// Text with properties in it: `%{source.address}`.
    Text(String),
}

/// A part of a SPIFFE id, `spiffe://trust.domain/ns/namespace/sa/account`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// All of it.
    Id,
    /// The trust domain.
    TrustDomain,
    /// What follows `/ns/`.
    Namespace,
    /// What follows `/sa/`.
    ServiceAccount,
}

/// What is done to a value.
#[derive(Debug, Clone, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Letters of ASCII become small.
    LowerCase,
    /// An address loses its port.
    WithoutPort,
    /// `204` becomes `2xx`. What is no status is no value.
    StatusClass,
    /// A number becomes the range that it is in: with `[10, 100]`, `<10`, `10-99` or `>=100`. What is no number is no value.
    Ranges(Vec<i64>),
    /// Other values for some.
    Map(Map),
    /// Matches are replaced, the first eight of a value.
    Replace(Replace),
    /// Such a value is none.
    DropLabel(Condition),
    /// A stream with such a value is not counted.
    DropSample(Condition),
}

/// Other values for some.
#[derive(Debug, Clone, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// By the value that is replaced.
    pub values: BTreeMap<String, String>,
    /// For every other one. Default: it stays.
    pub other: Option<String>,
}

/// Matches are replaced.
#[derive(Debug, Clone, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// What is replaced.
    pub regex: String,
    /// By what, with `$1` or `${name}` for groups.
    pub with: String,
}

/// Which values are meant; all of them, where neither is given.
#[derive(Debug, Clone, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Condition {
    /// These.
    pub values: Vec<String>,
    /// And those in which this is found.
    pub regex: Option<String>,
}
