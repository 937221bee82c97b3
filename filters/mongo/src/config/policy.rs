//! Rules and limits.

use fyke_sdk::FilterConfig;
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
    /// Commands.
    pub commands: Vec<String>,
    /// Applications, likewise.
    pub applications: Vec<String>,
}

/// A limit of how often.
#[derive(Debug, Clone, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What it is called in metrics, logs and error messages.
    pub name: String,
    /// Which operations count. Default: all but those that set up a connection.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// Each combination of these has its own count. Default: one for all.
    #[serde(default)]
    pub by: Vec<By>,
    /// How often: `100/s`, or an object with `rate`, `burst`, `sustained`, `quota` and so on, as the filter rate-limit has them.
    #[config(schema = r#""type":["string","object"]"#)]
    pub limit: serde_json::Value,
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
}
