//! What a module says of itself: its custom section `fyke.manifest`, JSON. A module without one says nothing.

use fyke_engine::Module;
use serde::Deserialize;

use super::{
    panels::{self, Panel},
    schema::{self, Mistake},
};
use crate::config::resolved::HeadersPause;

/// The parts that the host reads; others may be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    #[serde(default)]
    headers_pause: Option<String>,
    /// What the filter calls itself.
    #[serde(default)]
    pub name: Option<String>,
    /// `http` or `tcp`.
    #[serde(default)]
    pub kind: Option<String>,
    /// Its version.
    #[serde(default)]
    pub version: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// What it was made with.
    #[serde(default)]
    pub sdk: Option<String>,
    /// JSON Schema of its configuration.
    #[serde(default)]
    pub config: Option<serde_json::Value>,
    /// Charts of its metrics, as they are written.
    #[serde(default)]
    panels: Option<serde_json::Value>,
}

impl Manifest {
    /// The manifest of a module. One that cannot be read counts as none, and is logged.
    #[must_use]
    pub fn of(module: &Module) -> Self {
        module.manifest().map_or_else(Self::default, Self::parse)
    }

    /// A manifest as the section holds it.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_else(|error| {
            tracing::warn!("a module's manifest (custom section fyke.manifest) cannot be read: {error}");
            Self::default()
        })
    }

    /// What is wrong with a configuration, as far as the manifest tells.
    #[must_use]
    pub fn mistakes(&self, configuration: &[u8]) -> Vec<Mistake> {
        let Some(schema) = &self.config else { return Vec::new() };
        schema::check(schema, configuration).unwrap_or_else(|error| {
            tracing::warn!("the schema in a module's manifest (custom section fyke.manifest) cannot be used: {error}");
            Vec::new()
        })
    }

    /// Charts of its metrics.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn panels(&self) -> Result<Vec<Panel>, String> {
        self.panels.as_ref().map_or_else(|| Ok(Vec::new()), panels::read)
    }

    /// What the filter calls itself, and its version.
    #[must_use]
    pub fn name_and_version(&self) -> (Option<String>, Option<String>) {
        (self.name.clone(), self.version.clone())
    }

    /// What PAUSE from a headers callback means to it, where the configuration does not say.
    #[must_use]
    pub fn headers_pause(&self) -> HeadersPause {
        match self.headers_pause.as_deref() {
            Some("headers_only") => HeadersPause::HeadersOnly,
            _ => HeadersPause::StopAll,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_its_pauses_mean() {
        let pause = |text: &str| Manifest::parse(text.as_bytes()).headers_pause();
        assert_eq!(pause(r#"{"headers_pause":"headers_only","name":"x"}"#), HeadersPause::HeadersOnly);
        for other in ["{}", "not json", "", r#"{"headers_pause":"stop_all"}"#, r#"{"headers_pause":null}"#] {
            assert_eq!(pause(other), HeadersPause::StopAll, "{other}");
        }
    }
}
