//! `control_plane.py`

use serde_json::{Value, json};

use crate::script::{Script, port, python};

/// One that runs until this is dropped.
pub struct ControlPlane {
    script: Script,
    pub port: u16,
}

impl ControlPlane {
    /// `None`: there is no Python.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_at(0)
    }

    /// The same at a port.
    #[must_use]
    pub fn start_at(at: u16) -> Option<Self> {
        let script = Script::start(&python()?, "control_plane.py", &[at.to_string()]);
        let port = script.hear(|line| port(&line));
        let port = port.expect("the control plane starts: are grpcio and xds-protos installed?");
        Some(Self { script, port })
    }

    /// Tells it something; `control_plane.py` says what.
    pub fn say(&mut self, command: &Value) {
        self.script.say(command);
    }

    /// It has a resource now; `kind` is the full name of its message.
    pub fn set(&mut self, kind: &str, name: &str, resource: Value) {
        self.say(&json!({ "set": { kind: { name: resource } } }));
    }

    /// It makes resources, by their types and names, and keeps them under a name until they are wanted.
    pub fn keep(&mut self, name: &str, resources: &Value) {
        self.say(&json!({ "keep": name, "set": resources }));
        self.heard("kept", name);
    }

    /// It has those now that it has kept.
    pub fn set_kept(&mut self, name: &str) {
        self.say(&json!({ "use": name }));
    }

    /// It has one no more.
    pub fn remove(&mut self, kind: &str, name: &str) {
        self.say(&json!({ "remove": { kind: [name] } }));
    }

    /// What it has said and nobody has looked at.
    pub fn said(&self) -> impl Iterator<Item = Value> {
        self.script.said()
    }

    /// The next event of a kind about a type.
    #[track_caller]
    pub fn heard(&self, event: &str, kind: &str) -> Value {
        let heard = self.script.hear(|line| (line["event"] == event && line["type"] == kind).then_some(line));
        heard.unwrap_or_else(|| panic!("no {event} of {kind}"))
    }
}
