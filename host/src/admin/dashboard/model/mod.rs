//! What the pages show, as plain data.
//!
//! The host fills these types when somebody looks, at most once a second for each page that is open; nothing here reads a
//! clock, a registry or a snapshot. What the host does not know is `None`, and the pages show a dash for it: a missing
//! number never looks like a zero.
//!
//! Moments are [`Time`], milliseconds since 1970. Durations are seconds, rates are per second, shares go from 0 to 1, all of
//! them `f64`; what is no finite number is shown like one that is not known.

mod certificates;
mod endpoints;
mod events;
mod explain;
mod filters;
mod flow;
mod overview;
mod panels;
mod sources;
mod tap;

use serde::Serialize;

pub use self::{
    certificates::{Certificate, CertificateUse},
    endpoints::{Check, CheckOutcome, ClusterEndpoints, EndpointRow, Errors, Health},
    events::{Event, EventKind},
    explain::{Explanation, Finding, Question, Step, StepKind, Verdict},
    filters::{
        Callout, Canary, FilterPage, FilterSummary, Frame, MetricKind, MetricRow, Refusal, Tally, Trap, Version,
        VersionRole,
    },
    flow::{Column, Edge, Flow, Node},
    overview::{
        DiffKind, DiffLine, Overview, Reload, ReloadOutcome, SPARK, Service, ServiceKind, Summary, Trend, Warning,
    },
    panels::{Chart, PANELS, Panel, PanelPage, PanelSeries, ROWS, SERIES, Unit},
    sources::{ControlPlane, Discovery, Resources, Sources},
    tap::{Tap, TapEntry, TapFilter, TapFilterError},
};

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// Seconds from `earlier` to this moment; 0 when it is the later one.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an age is rounded for people anyway")]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e3
    }
}

/// When something was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LastUsed {
    /// Nobody keeps count.
    #[default]
    Unknown,
    /// Not since it was made.
    Never,
    /// Then.
    At(Time),
}

/// Where an object comes from, and whether anybody needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Provenance {
    /// Where it was defined: `proxy.yaml:12`, `xds control-plane`, `admin (127.0.0.1)`.
    pub origin: Option<String>,
    /// When it was last used.
    pub last_used: LastUsed,
}

/// What something is about, where a page can lead there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The process.
    #[default]
    Process,
    /// A listener, by name.
    Listener(String),
    /// A route, by name.
    Route(String),
    /// A cluster, by name.
    Cluster(String),
    /// An endpoint of a cluster.
    Endpoint {
        /// Its cluster.
        cluster: String,
        /// Its address.
        address: String,
    },
    /// A filter, by name.
    Filter(String),
    /// A certificate, by its first name.
    Certificate(String),
}

impl Subject {
    /// Its name, without its kind.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Process => "process",
            Self::Listener(name)
            | Self::Route(name)
            | Self::Cluster(name)
            | Self::Filter(name)
            | Self::Certificate(name) => name,
            Self::Endpoint { address, .. } => address,
        }
    }
}

/// How much something matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    #[default]
    Info,
    /// Somebody should look soon.
    Warning,
    /// Somebody must act.
    Critical,
}

impl Severity {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// The process, as every page's frame shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Process {
    /// Version of the program.
    pub version: String,
    /// Name of the node; empty: it has none.
    pub node: String,
    /// Process id.
    pub pid: u32,
    /// Generation that new streams begin on.
    pub generation: u64,
    /// Since when that one runs.
    pub generation_since: Time,
    /// When the process started.
    pub started: Time,
    /// Worker threads.
    pub workers: usize,
    /// Whether it accepts no more.
    pub draining: bool,
    /// Resident memory, in bytes.
    pub memory: Option<u64>,
    /// Most of it, in bytes.
    pub memory_limit: Option<u64>,
    /// Downstream connections now.
    pub connections: Option<u64>,
    /// Most of them.
    pub connections_limit: Option<u64>,
    /// Endpoints that get no requests now.
    pub endpoints_down: usize,
    /// Filters whose breaker is open, or that run a canary.
    pub filters_noteworthy: usize,
    /// Certificates that expire soon or have expired.
    pub certificates_expiring: usize,
    /// Control planes and discoveries that say nothing now, or something that is refused.
    pub sources_failing: usize,
}

/// Who looks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Viewer {
    /// The value that forms send back, so that no other page can send them; `None`: this viewer may not change anything yet.
    #[serde(skip)]
    pub csrf: Option<String>,
    /// Whether signing in is possible and needed for changes. Behind a unix socket it is not.
    pub signs_in: bool,
}
