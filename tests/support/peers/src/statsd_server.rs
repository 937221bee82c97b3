//! `statsd_server.mjs`

use serde_json::Value;

use crate::script::{Script, node_folder, port};

/// One that runs until this is dropped.
pub struct StatsdServer {
    script: Script,
    pub port: u16,
}

/// What it has understood in a fifth of a second: `counters`, `gauges`, `timers` and `sets` by name.
pub type Understood = Value;

impl StatsdServer {
    /// `None`: there is no Node, or nothing was installed for it.
    #[must_use]
    pub fn start() -> Option<Self> {
        let script = Script::start_node(&node_folder()?, "statsd_server.mjs", &[]);
        let port = script.hear(|line| port(&line)).expect("the server starts: was `npm ci` run?");
        Some(Self { script, port })
    }

    /// What it has understood and nobody has looked at.
    pub fn understood(&self) -> impl Iterator<Item = Understood> {
        self.script.said()
    }
}
