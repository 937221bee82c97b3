//! Checks a configuration to the end: loads its modules and has every filter configured, before anything runs on it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use fyke_engine::{CallbackSet, Engine, EngineError, EngineOptions};

use super::{compilers::Compilers, overlay::Overlay};
use crate::{
    config::{
        Config, Origin, Problem, Report,
        resolved::{self, ListenerProtocol},
    },
    shared::SharedData,
    snapshot::Snapshot,
    telemetry::{Registry, SinkTarget, Sinks, otlp::statistics::Statistics},
    wasm::{
        build::{Blueprint, Refusal, Surroundings},
        source::Fetcher,
    },
};

/// Where the records go that filters write to sinks.
#[derive(Debug, Clone)]
pub enum Records {
    /// Where the configuration says.
    Configured,
    /// There will be none, so no file is made.
    Nowhere,
    /// All into this file.
    Into(PathBuf),
}

impl Records {
    /// What is written is not kept.
    #[must_use]
    pub fn discarded() -> Self {
        Self::Into(PathBuf::from("/dev/null"))
    }
}

/// What all generations of a process share.
#[derive(Clone)]
pub struct Foundation {
    engine: Engine,
    modules: Fetcher,
    pub(super) registry: Registry,
    shared: Arc<SharedData>,
    pub(super) records: Records,
    /// What became of spans, whichever generation sent them.
    pub(super) spans: Arc<Statistics>,
}

/// A checked configuration with every filter compiled and configured; nothing runs on it yet.
#[derive(Clone)]
pub struct Prepared {
    pub(super) foundation: Foundation,
    /// The generation that it is again; `None`: it is new.
    pub(super) origin: Option<u64>,
    pub(super) config: Arc<Config>,
    pub(super) written: Arc<Config>,
    pub(super) overlay: Overlay,
    pub(super) sinks: Arc<Sinks>,
    pub(super) blueprint: Arc<Blueprint>,
}

/// Loads and configures all filters of a process's first generation: what `fyke validate` does beyond reading the file.
///
/// # Errors
/// Everything that is wrong, with its place in the configuration.
pub fn prepare(config: Config, records: &Records) -> Result<Prepared, Report> {
    let cache: Option<PathBuf> = config.state.as_ref().map(|state| state.join("modules"));
    let modules = Fetcher::new(config.state.as_ref().map(|state| state.join("downloads")));
    let engine = engine(cache).map_err(|error| whole(&config, error.to_string()))?;
    let foundation = Foundation {
        engine,
        modules,
        registry: Registry::new(),
        shared: Arc::default(),
        records: records.clone(),
        spans: Arc::default(),
    };
    foundation.prepare(Arc::new(config), Overlay::default(), None, None)
}

/// An engine, without its cache where the disk is not as it should be: that costs time at the next start, and nothing else. A cache that
/// others can write into is refused: somebody may have put code there.
fn engine(cache: Option<PathBuf>) -> Result<Engine, EngineError> {
    match Engine::new(EngineOptions { cache, ..EngineOptions::default() }) {
        Err(error @ EngineError::CacheDirectory { .. }) => {
            tracing::warn!("compiled modules are not kept for the next start: {error}");
            Engine::new(EngineOptions::default())
        }
        other => other,
    }
}

/// A problem of the configuration as a whole.
pub(super) fn whole(config: &Config, message: String) -> Report {
    let file = config.sources.main().to_owned();
    Report::single(Arc::clone(&config.sources), Problem::new(Origin { file, line: 0, column: 0 }, message))
}

impl Foundation {
    /// Loads and configures all filters of what is written with the changes on top, on `compilers` where traffic flows meanwhile. Sinks that `before` has open stay open.
    ///
    /// # Errors
    /// Everything that is wrong, with its place in the configuration.
    pub(super) fn prepare(
        &self,
        written: Arc<Config>,
        overlay: Overlay,
        before: Option<&Sinks>,
        compilers: Option<&Compilers>,
    ) -> Result<Prepared, Report> {
        let config = Arc::new(overlay.apply(&written));
        let sinks = Arc::new(self.sinks(&config, before)?);
        let surroundings = Surroundings {
            engine: self.engine.clone(),
            modules: self.modules.clone(),
            registry: self.registry.clone(),
            shared: Arc::clone(&self.shared),
            sinks: Arc::clone(&sinks),
            config: Arc::clone(&config),
        };
        let blueprint = match compilers {
            Some(compilers) => compilers.run(|| Blueprint::new(surroundings)),
            None => Blueprint::new(surroundings),
        };
        let blueprint = blueprint.map_err(|refusals| report(&config, refusals))?;
        let misplaced = misplaced(&config, &blueprint);
        if !misplaced.is_empty() {
            return Err(report(&config, misplaced));
        }
        Ok(Prepared {
            foundation: self.clone(),
            origin: None,
            config,
            written,
            overlay,
            sinks,
            blueprint: Arc::new(blueprint),
        })
    }

    /// Opens sinks; those that `before` has open stay open.
    fn sinks(&self, config: &Config, before: Option<&Sinks>) -> Result<Sinks, Report> {
        let records = &self.records;
        let unnamed = matches!(records, Records::Into(_)).then_some((String::new(), &resolved::Sink::Stdout));
        let named = config.sinks.iter().map(|(name, sink)| (name.clone(), sink));
        let targets = named.chain(unnamed).map(|(name, sink)| {
            let target = match (records, sink) {
                (Records::Into(path), _) => SinkTarget::File(path.clone()),
                (Records::Configured, resolved::Sink::File(path)) => SinkTarget::File(path.clone()),
                (Records::Configured, resolved::Sink::Otlp(collector)) => SinkTarget::Otlp(Arc::clone(collector)),
                (Records::Configured, resolved::Sink::Stdout) | (Records::Nowhere, _) => SinkTarget::Stdout,
            };
            (name, target)
        });
        let sinks = match before {
            Some(before) => before.next(targets, &self.registry),
            None => Sinks::open(targets, &self.registry),
        };
        sinks.map_err(|error| whole(config, error.to_string()))
    }

    /// One that shares nothing with this one but the compiler, and writes nothing.
    pub(super) fn apart(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            modules: self.modules.clone(),
            registry: Registry::new(),
            shared: Arc::default(),
            records: Records::discarded(),
            spans: Arc::default(),
        }
    }
}

impl Prepared {
    /// A generation that has run, as it would have to be applied.
    pub(super) fn again(foundation: &Foundation, snapshot: &Snapshot) -> Self {
        Self {
            foundation: foundation.clone(),
            origin: Some(snapshot.origin),
            config: Arc::clone(&snapshot.config),
            written: Arc::clone(&snapshot.written),
            overlay: snapshot.overlay.clone(),
            sinks: Arc::clone(&snapshot.sinks),
            blueprint: Arc::clone(&snapshot.blueprint),
        }
    }

    /// Where its metrics are.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.foundation.registry
    }

    /// The same with nothing counted, shared or remembered yet, and nothing written: filters are configured anew when it starts.
    ///
    /// # Errors
    /// Sinks that cannot be opened.
    pub fn afresh(&self) -> Result<Self, Report> {
        let foundation = self.foundation.apart();
        let sinks = Arc::new(foundation.sinks(&self.config, None)?);
        let blueprint = self.blueprint.afresh(foundation.registry.clone(), Arc::clone(&sinks));
        Ok(Self { foundation, sinks, blueprint: Arc::new(blueprint), ..self.clone() })
    }
}

/// Filters in chains that would never call them.
fn misplaced(config: &Config, blueprint: &Blueprint) -> Vec<Refusal> {
    let chains = config.listeners.iter().flat_map(|listener| {
        // A filter that is wrong in several chains of a listener is wrong once.
        let filters: BTreeMap<_, _> = listener.filter_lists().flatten().map(|one| (&one.name, one)).collect();
        filters.into_values().map(move |one| (listener, one))
    });
    chains
        .filter_map(|(listener, filter)| {
            let callbacks = blueprint.facts(&filter.name)?.callbacks;
            let (http, tcp) = (callbacks.meets(CallbackSet::HTTP), callbacks.meets(CallbackSet::TCP));
            let (has, misses) = match listener.protocol {
                ListenerProtocol::Tcp if http && !tcp => ("`protocol: tcp`", "TCP connections"),
                ListenerProtocol::Http if tcp && !http => ("`protocol: http`", "HTTP streams"),
                _ => return None,
            };
            let (whose, help) = match filter.callbacks {
                Some(_) => (
                    "`callbacks` leaves none",
                    "name others under `callbacks`, or take it out of that listener's `filters`",
                ),
                None => ("this module has no callback", "take it out of that listener's `filters`"),
            };
            Some(Refusal {
                filter: filter.name.clone(),
                origin: filter.origin.clone(),
                path: Box::default(),
                message: format!("listener \"{}\" has {has}, and {whose} for {misses}", listener.name),
                help: Some(help.to_owned()),
            })
        })
        .collect()
}

fn report(config: &Config, refusals: Vec<Refusal>) -> Report {
    let mut report = Report::new(Arc::clone(&config.sources));
    for refusal in refusals {
        let mut problem = Problem::new(refusal.origin, format!("filter \"{}\": {}", refusal.filter, refusal.message));
        problem.help = refusal.help;
        if !refusal.path.is_empty() {
            problem.path = format!("filters.{}.config.{}", refusal.filter, refusal.path);
        }
        report.push(problem);
    }
    report
}
