//! Rules and limits.

use fyke_sdk::FilterConfig;
use fyke_sdk::units::Percent;
use serde::Deserialize;

/// What is decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It goes on.
    #[default]
    Allow,
    /// It is answered with MongoDB's error 13, `Unauthorized`.
    Deny,
}

/// One rule.
#[derive(Debug, Clone, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it is called in metrics, logs and error messages. Default: its place, `rules[0]`.
    pub name: Option<String>,
    /// What it decides.
    pub action: Action,
    /// Databases that it is about: names, or beginnings with a star behind them (`shop*`). Default: all.
    #[serde(default)]
    pub databases: Vec<String>,
    /// Collections, likewise.
    #[serde(default)]
    pub collections: Vec<String>,
    /// Commands, by MongoDB's names. Default: all but those that set up a connection (`hello`, `saslStart`, `ping` and the like), which only
    /// rules that name them are about.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Applications, by the name that drivers tell (`appName`): names, or beginnings with a star.
    #[serde(default)]
    pub applications: Vec<String>,
}

/// What a limit is about; all operations, where nothing is said.
#[derive(Debug, Clone, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Databases: names, or beginnings with a star behind them.
    pub databases: Vec<String>,
    /// Collections, likewise.
    pub collections: Vec<String>,
    /// Commands. Default: all but those that set up a connection (`hello`, `saslStart`, `ping` and the like) and those that end what others have
    /// begun (`commitTransaction`, `abortTransaction`, `killCursors`).
    pub commands: Vec<String>,
    /// Call sites, likewise.
    pub callsites: Vec<String>,
    /// Applications, likewise.
    pub applications: Vec<String>,
    /// Users, as MongoDB writes them (`app@admin`), likewise.
    pub users: Vec<String>,
}

/// A limit of how often.
#[derive(Debug, Clone, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What it is called in metrics, logs and error messages, 1 to 64 letters, digits, `_`, `-` and `.`; no two the same.
    pub name: String,
    /// Which operations count.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// Each combination of these has its own count. Default: one for all.
    #[serde(default)]
    pub by: Vec<By>,
    /// How often: `100/s`, or an object with `rate`, `burst`, `sustained`, `quota`, `concurrency`, `lease`, as the filter rate-limit has them.
    pub limit: fyke_limiter::Limit,
    /// Whether it only counts what it would refuse. Default: false.
    #[serde(default)]
    pub shadow: bool,
    /// For which share of its combinations it is more than a shadow: always the same ones. Default: 100%.
    #[serde(default)]
    pub rollout: Option<Percent>,
    /// What becomes of operations while it cannot be looked up. Default: `open`.
    #[serde(default)]
    pub failure_mode: FailureMode,
}

/// What becomes of operations whose limits cannot be looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum FailureMode {
    /// They go on.
    #[default]
    Open,
    /// They are refused.
    Closed,
}

/// What is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The database.
    Database,
    /// The collection.
    Collection,
    /// The command.
    Command,
    /// The call site.
    Callsite,
    /// The application.
    Application,
    /// The user as whom the client has logged in, else the subject of its certificate.
    User,
    /// The client's address, without the port.
    Address,
}
