//! `tests:`

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{Duration, Percent};

/// A request, and what is to become of it. `fyke test` sends it through this very configuration; nothing leaves the process.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What it shows, in a few words. Each test has another name.
    pub name: String,
    /// What is sent.
    pub request: TestRequest,
    /// What the clusters answer, by name: an answer, or several, one after the other, of which the last one stays. Default: 200 without a body.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub upstreams: BTreeMap<String, TestAnswers>,
    /// How often it is sent, one after the other. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub count: Option<u32>,
    /// How long one answer may take. Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What has to come of it. At least one expectation.
    pub expect: TestExpectations,
}

/// What a test sends.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestRequest {
    /// The listener. May be left out where there is only one that speaks HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Default GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Path and query. Default `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Host, with a port if need be. Default `localhost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Default: `https` where the listener has certificates, else `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<TestScheme>,
    /// What the client speaks. Default `http1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<TestProtocol>,
    /// Headers: a value, or a list of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, TestValues>,
    /// Body. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Where the client is, an IP address, with a port if need be. Default 127.0.0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The name that a client asks for over TLS. Default: the host, where it is a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
}

/// How a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestScheme {
    /// As it is.
    Http,
    /// Over TLS.
    Https,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
}

/// A header's value, or several.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TestValues {
    /// One.
    One(String),
    /// Several, in this order.
    Several(Vec<String>),
}

impl TestValues {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }
}

/// An answer, or several.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TestAnswers {
    /// One after the other; the last one stays.
    Several(Vec<TestAnswer>),
    /// Always the same.
    One(TestAnswer),
}

impl TestAnswers {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[TestAnswer] {
        match self {
            Self::One(answer) => std::slice::from_ref(answer),
            Self::Several(answers) => answers,
        }
    }
}

/// What a cluster answers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestAnswer {
    /// Default 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// Headers: a value, or a list of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, TestValues>,
    /// Body. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How long it takes. Default: no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// The connection is cut instead.
    pub reset: bool,
}

/// What has to come of a request.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestExpectations {
    /// Status, or a class of them such as `2xx`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<TestStatus>,
    /// Headers of the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<TestHeader>,
    /// Body of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<TestText>,
    /// Name of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<TestText>,
    /// Name of the cluster that it was sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Why it was answered so, as in access logs (`response.code_details`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_code_details: Option<TestText>,
    /// Name of the filter that answered in the upstream's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replied_by: Option<String>,
    /// The request as the cluster that it was sent to saw it; of several attempts the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_request: Option<TestUpstreamRequest>,
    /// What clusters saw, by name: those that filters call, or that get copies, too.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub upstreams: BTreeMap<String, TestUpstreamRequest>,
    /// Shares of the requests that clusters get, by name. Goes with `count`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub share: BTreeMap<String, Percent>,
    /// How far shares may be off, of all requests. Default 5%.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Percent>,
}

/// Status, or a class of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TestStatus {
    /// This one.
    Code(#[schemars(range(min = 200, max = 599))] u16),
    /// `2xx` to `5xx`.
    Class(String),
}

/// A condition on a header. Several values are joined with a comma.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestHeader {
    /// Name.
    pub name: String,
    /// Is this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// Begins so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Ends so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// Has this in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// An expression matches all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Whether it is there at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
    /// It is not there; as `present: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<bool>,
    /// The opposite.
    #[serde(default)]
    pub invert: bool,
}

/// A text, or a condition on one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TestText {
    /// Is this.
    Exact(String),
    /// In other words.
    Condition(TestCondition),
}

/// A condition on a text: one of these words.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestCondition {
    /// Is this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// Begins so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Ends so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// Has this in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// An expression matches all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// The opposite.
    pub invert: bool,
}

/// What a cluster saw of a request.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestUpstreamRequest {
    /// How many requests it got; 0: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<TestText>,
    /// Path and query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<TestText>,
    /// Host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<TestText>,
    /// Headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<TestHeader>,
    /// Body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<TestText>,
}
