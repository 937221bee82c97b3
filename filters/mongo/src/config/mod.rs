//! The configuration.

mod fault;
mod policy;

use std::time::Duration;

use fyke_sdk::units::{Percent, optional_duration, optional_size};
use fyke_sdk::{ConfigError, FilterConfig};
use serde::Deserialize;

pub use fault::{Abort, Fault};
pub use policy::{Action, By, FailureMode, Limit, Match, Rule};

use crate::message::command::Command;
use crate::pool::config::Pool;
use crate::series::Most;
use crate::wire::frames::Reach;

/// All keys have defaults.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The value of the label `mongo_prefix`, and what stands behind `mongo.` in Envoy's names. Default: `mongo`.
    pub stat_prefix: String,
    /// Whether everything is counted under Envoy's dotted names too. Default: true.
    pub envoy_stats: bool,
    /// Commands that have dotted names of their own; the others are `unknown_command`, and `find` is a query. Labels know all commands.
    /// Default: `delete`, `insert`, `update`, as in Envoy.
    pub commands: Vec<String>,
    /// The key of an operation's comment that names its call site. Default: `callingFunction`, as in Envoy.
    pub callsite_key: String,
    /// Which labels there are, and how many values each may have.
    pub labels: Labels,
    /// Whether filters behind this one are told what the client does: `["mongo", "operations"]`. Default: false.
    pub metadata: bool,
    /// A record for each operation. Default: none.
    pub log: Option<Log>,
    /// Operations that take longer are counted, and written down even where others are not. Default: none is slow.
    #[config(schema = r#""anyOf":[{"type":"string"},{"type":"null"}]"#)]
    #[serde(deserialize_with = "optional_duration")]
    pub slow: Option<Duration>,
    /// Makes operations slow, or lets them fail.
    pub fault: Option<Fault>,
    /// Who may do what: the first rule that fits decides.
    pub rules: Vec<Rule>,
    /// What is decided where no rule fits. Default: `allow`.
    pub otherwise: Action,
    /// How often it may be done.
    pub limits: Vec<Limit>,
    /// Clients share connections to the servers. Default: each has its own.
    pub pool: Option<Pool>,
    /// How much of a message is looked at.
    pub inspect: Inspect,
    /// Operations of one connection that may wait for their replies, 1 to 65535; beyond, the oldest is forgotten. Default: 256.
    pub in_flight: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stat_prefix: "mongo".to_owned(),
            envoy_stats: true,
            commands: ["delete", "insert", "update"].map(str::to_owned).to_vec(),
            callsite_key: "callingFunction".to_owned(),
            labels: Labels::default(),
            metadata: false,
            log: None,
            slow: None,
            fault: None,
            rules: Vec::new(),
            otherwise: Action::default(),
            limits: Vec::new(),
            pool: None,
            inspect: Inspect::default(),
            in_flight: 256,
        }
    }
}

/// How many values a label may have; more are `_overflow`. Zero: it has none, and is not there.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Labels {
    /// Of `mongo_db`. Default: 100.
    pub databases: u16,
    /// Of `mongo_collection`. Default: 500.
    pub collections: u16,
    /// Of `mongo_callsite`. Default: 500.
    pub callsites: u16,
    /// Of `app`. Default: 100.
    pub applications: u16,
    /// Of `server`. Default: 100.
    pub servers: u16,
    /// Combinations that a worker keeps. Default: 5000. The host's own limit is `limits.series`.
    pub series: u16,
}

impl Default for Labels {
    fn default() -> Self {
        Self { databases: 100, collections: 500, callsites: 500, applications: 100, servers: 100, series: 5000 }
    }
}

/// Records of operations.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// One of the configuration's `sinks:`. Default: standard output.
    pub sink: String,
    /// Whether every operation is written down, and not only slow ones and those that are refused. Default: true.
    pub operations: bool,
    /// Which share of those that are neither slow, nor failed, nor refused. Default: 100%.
    pub sample: Option<Percent>,
    /// Whether commands are written without the values in them. Default: true. Those that carry credentials are never written.
    pub redact: bool,
    /// How much of a command is written, up to `4KiB`; `0B`: nothing. Default: `1KiB`.
    #[config(schema = r#""anyOf":[{"type":"string"},{"type":"null"}]"#)]
    #[serde(deserialize_with = "optional_size")]
    pub statement: Option<u64>,
}

impl Default for Log {
    fn default() -> Self {
        Self { sink: String::new(), operations: true, sample: None, redact: true, statement: None }
    }
}

/// How much of a message is looked at.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Inspect {
    /// Bytes below the first level of a command or reply, `1KiB` to `1MiB`. What a longer batch holds is estimated from what was seen. Default: `64KiB`.
    #[config(schema = r#""anyOf":[{"type":"string"},{"type":"null"}]"#)]
    #[serde(deserialize_with = "optional_size")]
    pub document: Option<u64>,
    /// Compressed bytes that are kept of a message until it can be read, `1KiB` to `1MiB`. Default: `128KiB`.
    #[config(schema = r#""anyOf":[{"type":"string"},{"type":"null"}]"#)]
    #[serde(deserialize_with = "optional_size")]
    pub compressed: Option<u64>,
    /// Bytes that are made of them, `1KiB` to `4MiB`. Default: `256KiB`.
    #[config(schema = r#""anyOf":[{"type":"string"},{"type":"null"}]"#)]
    #[serde(deserialize_with = "optional_size")]
    pub inflated: Option<u64>,
}

/// The most that is written of a command, in bytes.
const STATEMENT: u64 = 4 << 10;

impl Config {
    /// What serde cannot check.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(&self) -> Result<(), ConfigError> {
        let prefix = &self.stat_prefix;
        if prefix.is_empty() || prefix.len() > 64 || prefix.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(ConfigError::at("stat_prefix", "must be 1 to 64 bytes without spaces"));
        }
        if self.in_flight == 0 {
            return Err(ConfigError::at("in_flight", "must be at least 1"));
        }
        if self.labels.series == 0 {
            return Err(ConfigError::at("labels.series", "must be at least 1"));
        }
        for (at, name) in self.commands.iter().enumerate() {
            let place = format!("commands[{at}]");
            let command = known(name).map_err(|error| error.under(&place))?;
            if command.is_find() {
                return Err(ConfigError::at(place, "\"find\" is a query, and counted by collection"));
            }
        }
        if self.log.as_ref().and_then(|log| log.statement).is_some_and(|size| size > STATEMENT) {
            return Err(ConfigError::at("log.statement", "is 4KiB at most"));
        }
        for (key, value, most) in [
            ("document", self.inspect.document, 1 << 20),
            ("compressed", self.inspect.compressed, 1 << 20),
            ("inflated", self.inspect.inflated, 4 << 20),
        ] {
            if value.is_some_and(|value| !(1 << 10..=most).contains(&value)) {
                let most = most >> 20;
                return Err(ConfigError::at(format!("inspect.{key}"), format!("must be from 1KiB to {most}MiB")));
            }
        }
        Ok(())
    }

    /// How much of messages is looked at.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let bytes =
            |value: Option<u64>, default: usize| value.and_then(|value| usize::try_from(value).ok()).unwrap_or(default);
        Reach {
            document: bytes(self.inspect.document, 64 << 10),
            compressed: bytes(self.inspect.compressed, 128 << 10),
            inflated: bytes(self.inspect.inflated, 256 << 10),
        }
    }

    /// How many names are kept.
    #[must_use]
    pub fn most(&self) -> Most {
        Most {
            databases: self.labels.databases.into(),
            collections: self.labels.collections.into(),
            callsites: self.labels.callsites.into(),
            applications: self.labels.applications.into(),
            series: self.labels.series.into(),
        }
    }
}

/// A command by its name.
///
/// # Errors
/// There is none, and what may have been meant.
pub fn known(name: &str) -> Result<&'static Command, ConfigError> {
    let command = Command::find(name.as_bytes());
    if *command != Command::UNKNOWN || name == Command::UNKNOWN.name {
        return Ok(command);
    }
    let near = Command::names()
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    Err(ConfigError::new(match near {
        Some((_, near)) => format!("there is no command \"{name}\"; did you mean \"{near}\"?"),
        None => format!("there is no command \"{name}\""),
    }))
}
