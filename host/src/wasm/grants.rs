//! What a filter may use (`allow:`), and what becomes of a call without the grant.
//!
//! Modules of every SDK import hostcalls whether they call them or not, so a missing grant can only show when one is used. Each use in
//! vain is counted, and the first of its kind is a line in the log that says what to write.

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeSet,
};

use crate::{
    config::resolved::{Allow, Filter},
    telemetry::{Counter, Registry, names},
};

/// Lines about things refused that one VM may cause on one worker.
const MOST_LINES: usize = 32;

/// A thing that `allow:` grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Calls to a cluster.
    Clusters,
    /// Shared data.
    SharedData,
    /// Shared queues.
    Queues,
    /// Metrics of its own.
    Metrics,
    /// `proxy_set_property`
    SetProperties,
    /// A foreign function.
    ForeignFunctions,
    /// The time of day.
    Clock,
    /// Random bytes.
    Random,
}

impl Capability {
    const ALL: [Self; 8] = [
        Self::Clusters,
        Self::SharedData,
        Self::Queues,
        Self::Metrics,
        Self::SetProperties,
        Self::ForeignFunctions,
        Self::Clock,
        Self::Random,
    ];

    /// Its key under `allow:`.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::SharedData => "shared_data",
            Self::Queues => "queues",
            Self::Metrics => "metrics",
            Self::SetProperties => "set_properties",
            Self::ForeignFunctions => "foreign_functions",
            Self::Clock => "clock",
            Self::Random => "random",
        }
    }

    fn is_granted(self, allow: &Allow, what: &[u8]) -> bool {
        match self {
            Self::Clusters => allow.clusters.iter().any(|cluster| cluster.as_bytes() == what),
            Self::SharedData => allow.shared_data,
            Self::Queues => allow.queues,
            Self::Metrics => allow.metrics,
            Self::SetProperties => allow.set_properties,
            Self::ForeignFunctions => allow.foreign_functions.contains(what),
            Self::Clock => allow.clock,
            Self::Random => allow.random,
        }
    }
}

/// A key of `allow:`, and which of its kind.
type Told = (&'static str, Box<[u8]>);

/// Looks at grants, and tells of those that are missing.
#[derive(Debug)]
pub struct Grants {
    registry: Registry,
    denied: [OnceCell<Counter>; Capability::ALL.len()],
    told: RefCell<BTreeSet<Told>>,
}

impl Grants {
    /// Of one VM on one worker.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self { registry: registry.clone(), denied: Default::default(), told: RefCell::default() }
    }

    /// Whether a filter may use a thing. `what` is which of its kind: a cluster, a function.
    #[must_use]
    pub fn allow(&self, settings: Option<&Filter>, capability: Capability, what: &[u8]) -> bool {
        let granted = settings.is_some_and(|settings| capability.is_granted(&settings.allow, what));
        if !granted {
            self.refuse(settings, capability, what);
        }
        granted
    }

    /// The same of an instance that several filters share: what one of them may, all may.
    #[must_use]
    pub fn allow_any<'a>(
        &self,
        mut settings: impl Iterator<Item = &'a Filter> + Clone,
        capability: Capability,
        what: &[u8],
    ) -> bool {
        let granted = settings.clone().any(|settings| capability.is_granted(&settings.allow, what));
        if !granted {
            self.refuse(settings.next(), capability, what);
        }
        granted
    }

    #[cold]
    fn refuse(&self, settings: Option<&Filter>, capability: Capability, what: &[u8]) {
        let filter = settings.map_or("", |settings| settings.name.as_str());
        let key = capability.key();
        if let Some(counter) = Capability::ALL.iter().zip(&self.denied).find(|(one, _)| **one == capability) {
            let labels = [("filter", filter), ("capability", key)];
            counter.1.get_or_init(|| self.registry.counter(&names::FILTER_DENIED, &labels)).inc();
        }
        let mut told = self.told.borrow_mut();
        if told.len() >= MOST_LINES || !told.insert((key, what.into())) {
            return;
        }
        let what = String::from_utf8_lossy(what);
        let (used, grant) = match capability {
            Capability::Clusters => (format!("cluster \"{what}\""), format!("clusters: [{what}]")),
            Capability::ForeignFunctions => {
                (format!("foreign function \"{what}\""), format!("foreign_functions: [{what}]"))
            }
            _ => (key.replace('_', " "), format!("{key}: true")),
        };
        tracing::warn!(
            target: "fyke::filter",
            filter,
            "{used} refused: the filter may not use it; grant it with `allow: {{ {grant} }}`"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_a_filter_reaches_no_further_than_itself() {
        let allow = Allow::default();
        let granted: Vec<_> =
            Capability::ALL.into_iter().filter(|one| one.is_granted(&allow, b"x")).map(Capability::key).collect();
        assert_eq!(granted, ["metrics", "set_properties", "foreign_functions", "clock", "random"]);
    }
}
