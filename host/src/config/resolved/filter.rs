//! `filters:`

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use super::{Origin, Reload};
use crate::config::{
    fingerprint::Fingerprint,
    module::{PublicKey, Reference, Url},
};

/// One of `filters:`.
#[derive(Clone)]
pub struct Filter {
    /// Its key.
    pub name: String,
    /// Where it was written.
    pub origin: Origin,
    /// Where the module comes from.
    pub module: ModuleSource,
    /// Where that was written.
    pub module_origin: Origin,
    /// Lower-case hex digest that the module must have, when given.
    pub sha256: Option<String>,
    /// Keys of which one must have signed the module; empty: it needs no signature.
    pub signed_by: Vec<PublicKey>,
    /// What the filter's `proxy_on_configure` reads: a string as it is, anything else as JSON; empty when absent.
    pub configuration: Vec<u8>,
    /// Where each part of `config` was written, for refusals that name a path such as `routes[0].cluster`.
    pub locations: Arc<Locations>,
    /// What its module is asked for; by default its name.
    pub root_id: String,
    /// Name of a shared instance; `None`: its own.
    pub vm: Option<String>,
    /// Environment variables of the guest.
    pub environment: Vec<(String, String)>,
    /// What a trap does to the streams that need this filter.
    pub on_failure: OnFailure,
    /// Who shares an instance.
    pub isolation: Isolation,
    /// Memory and time.
    pub limits: FilterLimits,
    /// What it may use.
    pub allow: Allow,
    /// Names of the callbacks to call; `None`: all that the module exports.
    pub callbacks: Option<Vec<String>>,
    /// What PAUSE from a headers callback means; `None`: what the module's manifest says, else to stop everything.
    pub headers_pause: Option<HeadersPause>,
    /// Whether a change of the module's file makes a new generation.
    pub reload: Reload,
    /// A new version that has a share of the streams.
    pub canary: Option<Arc<Canary>>,
    /// What its instances are made from: all of this but the canary, and what is in the module's file.
    pub of_instance: Fingerprint,
    /// The same with the canary.
    pub fingerprint: Fingerprint,
}

/// What the name of a canary ends with, in metrics and logs: `NAME@canary`.
pub const CANARY: &str = "@canary";

/// The name of a filter's canary.
#[must_use]
pub fn canary_name(filter: &str) -> String {
    format!("{filter}{CANARY}")
}

impl Filter {
    /// The name in the configuration, of a canary too.
    #[must_use]
    pub fn plain_name(&self) -> &str {
        self.name.strip_suffix(CANARY).unwrap_or(&self.name)
    }

    /// The name of its canary.
    #[must_use]
    pub fn canary_name(&self) -> String {
        canary_name(&self.name)
    }

    /// Whether it is the new version of another one.
    #[must_use]
    pub fn is_canary(&self) -> bool {
        self.name.ends_with(CANARY)
    }
}

/// Streams that a canary must have met before it is judged, where nothing else is said.
pub const MIN_STREAMS: u32 = 100;

/// `canary:` of a filter.
#[derive(Debug, Clone)]
pub struct Canary {
    /// The filter with the canary's module and configuration; its name ends with [`CANARY`].
    pub version: Arc<Filter>,
    /// Share of the streams, between 0 and 1.
    pub share: f64,
    /// Streams that must have met it before it is judged.
    pub min_streams: u64,
    /// What it must not do.
    pub rollback_on: RollbackOn,
}

/// `rollback_on:` of a canary. Shares are between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RollbackOn {
    /// Most of its streams that may meet a trap.
    pub traps: f64,
    /// Most by which the share of its errors may be larger than the old version's.
    pub errors: f64,
    /// Most by which its streams may take longer than the old version's; `None`: any.
    pub latency: Option<f64>,
}

impl Default for RollbackOn {
    fn default() -> Self {
        Self { traps: 0.01, errors: 0.05, latency: None }
    }
}

impl std::fmt::Debug for Filter {
    /// Without configuration and environment: there may be secrets in them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("name", &self.name)
            .field("module", &self.module)
            .field("vm", &self.vm)
            .finish_non_exhaustive()
    }
}

/// Paths inside a filter's `config` and where they were written.
#[derive(Debug, Clone, Default)]
pub struct Locations {
    /// From a path such as `virtual_hosts[0].routes[2].match` (empty: the whole) to its place.
    pub paths: BTreeMap<String, Origin>,
}

/// `module:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleSource {
    /// `builtin:NAME`
    Builtin(String),
    /// A file; relative paths were resolved against the configuration file's folder.
    File(PathBuf),
    /// `https://...`, or `http://` on this machine.
    Https(Url),
    /// `oci://...`
    Oci(Reference),
    /// It came over the admin endpoint.
    Loaded(Loaded),
}

/// The bytes of a module that is not in a file.
#[derive(Clone)]
pub struct Loaded {
    /// Lower-case hex SHA-256.
    pub sha256: String,
    /// Detached, where there is one.
    pub signature: Option<Vec<u8>>,
    /// The module.
    pub bytes: bytes::Bytes,
}

impl PartialEq for Loaded {
    fn eq(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
    }
}

impl Eq for Loaded {}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Loaded").field(&self.sha256).finish()
    }
}

impl std::fmt::Display for ModuleSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Builtin(name) => write!(f, "builtin:{name}"),
            Self::File(path) => path.display().fmt(f),
            Self::Https(url) => url.fmt(f),
            Self::Oci(reference) => reference.fmt(f),
            Self::Loaded(loaded) => write!(f, "loaded:{}", loaded.sha256.get(..12).unwrap_or(&loaded.sha256)),
        }
    }
}

/// `on_failure:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Answer 503, or reset what has begun.
    #[default]
    Close,
    /// Go on without the filter where it has buffered and altered nothing.
    Open,
}

/// `isolation:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// The streams of one worker.
    #[default]
    Worker,
    /// Nobody: every stream has one of its own.
    Stream,
}

/// `headers_pause:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadersPause {
    /// Nothing of the stream goes on.
    #[default]
    StopAll,
    /// The headers are held while the body flows to the filter.
    HeadersOnly,
}

/// `limits:` of a filter.
#[derive(Debug, Clone)]
pub struct FilterLimits {
    /// Linear memory of one instance. Default 64 MiB.
    pub memory: usize,
    /// Thread CPU time of one call. Default 10 ms.
    pub call_time: Duration,
    /// CPU time of instantiation and configuration. Default 10 s.
    pub configure_time: Duration,
    /// Metrics that it may define, and as many series of metrics with labels. Default 1,000.
    pub series: usize,
    /// Instances at a time with `isolation: stream`, all workers together. Default 1,000.
    pub instances: usize,
}

impl Default for FilterLimits {
    fn default() -> Self {
        Self {
            memory: 64 * 1024 * 1024,
            call_time: Duration::from_millis(10),
            configure_time: Duration::from_secs(10),
            series: 1_000,
            instances: 1_000,
        }
    }
}

/// `allow:`. Default: what reaches no further than the filter's own streams and counts.
#[derive(Debug, Clone)]
pub struct Allow {
    /// Clusters that it may call; each exists. Default: none.
    pub clusters: Vec<String>,
    /// Shared data. Default: no.
    pub shared_data: bool,
    /// Shared queues. Default: as `shared_data`.
    pub queues: bool,
    /// Metrics of its own. Default: yes.
    pub metrics: bool,
    /// Setting properties. Default: yes.
    pub set_properties: bool,
    /// Foreign functions. Default: all.
    pub foreign_functions: Choice,
    /// The time of day. Default: yes.
    pub clock: bool,
    /// Random bytes. Default: yes.
    pub random: bool,
}

impl Default for Allow {
    fn default() -> Self {
        Self {
            clusters: Vec::new(),
            shared_data: false,
            queues: false,
            metrics: true,
            set_properties: true,
            foreign_functions: Choice::All,
            clock: true,
            random: true,
        }
    }
}

impl Allow {
    /// Whether nothing is denied that a filter may do by default and on every stream.
    #[must_use]
    pub fn is_ordinary(&self) -> bool {
        self.metrics && self.set_properties && self.foreign_functions == Choice::All
    }
}

/// All of something, or some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// All.
    All,
    /// Those with these names.
    Named(Vec<String>),
}

impl Choice {
    /// Whether this is one of them.
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|known| known.as_bytes() == name),
        }
    }
}
