//! `statsd_server.mjs`

use serde_json::Value;
use tempfile::TempDir;

use crate::script::{Script, node_folder, port};

/// One that runs until this is dropped.
pub struct StatsdServer {
    script: Script,
    pub port: u16,
    /// Its configuration.
    _folder: TempDir,
}

/// What it has understood in a fifth of a second: `counters`, `gauges`, `timers` and `sets` by name.
pub type Understood = Value;

impl StatsdServer {
    /// `None`: there is no Node, or nothing was installed for it.
    #[must_use]
    pub fn start() -> Option<Self> {
        let modules = node_folder()?;
        if !modules.join("node_modules/statsd").is_dir() {
            eprintln!("skipped: `npm ci` has not installed StatsD's server");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder for its configuration");
        let script = Script::start_node(&modules, "statsd_server.mjs", &[folder.path().display().to_string()]);
        let port = script.hear(|line| port(&line)).expect("the server starts");
        Some(Self { script, port, _folder: folder })
    }

    /// What it has understood and nobody has looked at.
    pub fn understood(&self) -> impl Iterator<Item = Understood> {
        self.script.said()
    }
}
