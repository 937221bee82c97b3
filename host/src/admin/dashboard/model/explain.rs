//! Which way a request would take, and why.

use serde::Serialize;

use super::Subject;

/// A request that might come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Question {
    /// Its method.
    pub method: String,
    /// Where it goes: a URL, or a path.
    pub url: String,
    /// The listener that takes it; empty: whichever fits the URL.
    pub listener: String,
    /// Its headers, `name: value`.
    pub headers: Vec<(String, String)>,
}

/// The way that a request would take.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Explanation {
    /// What was asked.
    pub question: Question,
    /// What it comes to.
    pub verdict: Verdict,
    /// What was looked at, in order.
    pub steps: Vec<Step>,
}

/// What a request comes to.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nobody asked anything.
    #[default]
    Nothing,
    /// It goes to this cluster.
    Cluster(String),
    /// The proxy itself answers with this status and these details.
    Reply(u16, String),
    /// The question makes no sense, for this reason.
    Invalid(String),
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// What it is.
    pub kind: StepKind,
    /// Its name.
    pub name: String,
    /// Whether it takes the request.
    pub finding: Finding,
    /// Why.
    pub why: String,
    /// Where it was defined.
    pub origin: Option<String>,
    /// Where its page is.
    pub subject: Option<Subject>,
}

/// What a step is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A listener.
    Listener,
    /// A chain of filters.
    Chain,
    /// A virtual host.
    VirtualHost,
    /// A route.
    Route,
    /// A filter.
    Filter,
    /// A cluster.
    Cluster,
    /// An endpoint.
    Endpoint,
}

impl StepKind {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Chain => "chain",
            Self::VirtualHost => "virtual host",
            Self::Route => "route",
            Self::Filter => "filter",
            Self::Cluster => "cluster",
            Self::Endpoint => "endpoint",
        }
    }
}

/// Whether something takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It does.
    Taken,
    /// It was looked at and does not match.
    Passed,
    /// It was not looked at, because an earlier one matched.
    Unseen,
}
