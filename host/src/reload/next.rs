//! Makes everything of a generation, before any worker hears of it.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use tokio::sync::mpsc;

use super::{
    addresses::{Addresses, Place},
    canary,
    prepare::Prepared,
};
use crate::{
    cluster::{clusters::SharedClusters, shared::SharedCluster},
    config::{
        Config, Origin, Problem, Report,
        resolved::{self, Cluster, Filter},
    },
    snapshot::Snapshot,
    telemetry::{export::Tracing, otlp::statistics::Statistics},
    wasm::{
        build::{Blueprint, Built},
        trace::Tracer,
        trial::Trial,
        vm::Rebuild,
    },
    worker::{FilterParts, GenerationParts, ListenerParts, VmParts, VmSource},
};

/// Files that the process needs besides its connections.
const SPARE_FILES: u64 = 128;

/// A generation on its way to the workers.
pub(super) struct Next {
    pub snapshot: Snapshot,
    /// By worker.
    pub parts: Vec<GenerationParts>,
    pub places: Vec<Place>,
}

/// Instances for every worker: where they come from, by worker and VM.
pub(super) type Instances = Vec<Vec<Instance>>;

/// One of them.
pub(super) enum Instance {
    /// That of this number in the generation before goes on.
    Kept(usize),
    /// A new one.
    New(Box<Built>),
}

/// Builds instances for every worker, but for those that can go on from the generation before.
///
/// # Errors
/// What cannot be built.
pub(super) fn instances(prepared: &Prepared, before: Option<&Snapshot>) -> Result<Instances, Report> {
    let Prepared { config, blueprint, .. } = prepared;
    let kept = before.map_or_else(|| vec![None; blueprint.len()], |before| blueprint.kept_of(&before.blueprint));
    let one = |(vm, kept): (usize, &Option<usize>)| match kept {
        Some(kept) => Ok(Instance::Kept(*kept)),
        None => blueprint.build(vm).map(|built| Instance::New(Box::new(built))),
    };
    let all: Result<Instances, String> =
        (0..config.workers).map(|_| kept.iter().enumerate().map(one).collect()).collect();
    // What nobody has asked for was made for the check alone.
    blueprint.forget_spares();
    all.map_err(|error| Report::single(Arc::clone(&config.sources), Problem::new(Origin::default(), error)))
}

/// Makes everything of a generation that can fail.
pub(super) fn next(
    prepared: &Prepared,
    instances: Instances,
    addresses: &mut Addresses,
    before: Option<&Snapshot>,
) -> Result<Next, Report> {
    let Prepared { config, written, overlay, blueprint, sinks, .. } = prepared;
    let refused = |problems: Vec<Problem>| Report::of(Arc::clone(&config.sources), problems);
    let mut places = addresses.places(&config.listeners, config.workers).map_err(refused)?;
    let clusters = Arc::new(clusters(config, before));
    let tracing = tracing(config, before, &prepared.foundation.spans);
    let trials = canary::trials(config, blueprint, before);
    let (rebuild, requests) = mpsc::unbounded_channel();
    let number = before.map_or(1, |before| before.generation + 1);
    let listeners: Vec<_> = config.listeners.iter().cloned().map(Arc::new).collect();
    let mut parts = Vec::new();
    for instances in instances {
        let vms = instances.into_iter().enumerate().filter_map(|(number, instance)| match instance {
            Instance::Kept(kept) => Some(VmSource::Kept(kept)),
            Instance::New(built) => {
                let (name, scope) = blueprint.describe(number)?;
                let rebuild = rebuild.clone();
                Some(VmSource::New(Box::new(VmParts { number, name: name.to_owned(), scope, built: *built, rebuild })))
            }
        });
        let vms = vms.collect();
        let listeners = listeners.iter().zip(&mut places).map(|(settings, place)| ListenerParts {
            gate: place.number,
            sockets: place.sockets.pop().unwrap_or_default(),
            admission: Arc::clone(&place.admission),
            filters: chain_parts(blueprint, &trials, &settings.filters),
            chains: settings.chains.iter().map(|chain| chain_parts(blueprint, &trials, &chain.filters)).collect(),
            settings: Arc::clone(settings),
        });
        parts.push(GenerationParts {
            vms,
            listeners: listeners.collect(),
            clusters: Arc::clone(&clusters),
            node: Arc::new(config.node.clone()),
            tracer: tracing.as_deref().map(tracer),
        });
    }
    tokio::spawn(rebuild_instances(Arc::clone(blueprint), requests));
    let bound =
        listeners.iter().zip(&places).map(|(listener, place)| (listener.name.clone(), place.address.clone())).collect();
    let snapshot = Snapshot {
        generation: number,
        origin: prepared.origin.unwrap_or(number),
        since: SystemTime::now(),
        config: Arc::clone(config),
        written: Arc::clone(written),
        overlay: overlay.clone(),
        versions: versions(config, blueprint, before, number),
        trials,
        blueprint: Arc::clone(blueprint),
        sinks: Arc::clone(sinks),
        tracing,
        clusters,
        listeners: bound,
    };
    Ok(Next { snapshot, parts, places })
}

/// Where spans go: as before, where nothing of it has changed.
fn tracing(config: &Config, before: Option<&Snapshot>, statistics: &Arc<Statistics>) -> Option<Arc<Tracing>> {
    let settings = config.tracing.as_ref()?;
    let same = |known: &&Arc<Tracing>| known.settings.fingerprint == settings.fingerprint;
    if let Some(known) = before.and_then(|before| before.tracing.as_ref()).filter(same) {
        return Some(Arc::clone(known));
    }
    Tracing::start(settings, &config.node, Arc::clone(statistics)).map(Arc::new)
}

fn tracer(tracing: &Tracing) -> Tracer {
    let resolved::Tracing { sample, filter_threshold, .. } = *tracing.settings;
    Tracer { queue: tracing.queue.clone(), sample, filter_threshold }
}

/// Since which generation each filter has its module and configuration.
fn versions(config: &Config, blueprint: &Blueprint, before: Option<&Snapshot>, now: u64) -> BTreeMap<String, u64> {
    let since = |name: &String, filter: &Filter| {
        let before = before?;
        let old = before.config.filters.get(name)?;
        let hash = |blueprint: &Blueprint| blueprint.facts(name).map(|facts| facts.hash);
        let same = old.of_instance == filter.of_instance && hash(blueprint) == hash(&before.blueprint);
        before.versions.get(name).copied().filter(|_| same)
    };
    config.filters.iter().map(|(name, filter)| (name.clone(), since(name, filter).unwrap_or(now))).collect()
}

/// The filters of a chain, as workers need them.
fn chain_parts(
    blueprint: &Blueprint,
    trials: &BTreeMap<String, Arc<Trial>>,
    filters: &[Arc<Filter>],
) -> Vec<FilterParts> {
    filters.iter().filter_map(|filter| filter_parts(blueprint, trials, &filter.name)).collect()
}

/// A filter and its canary, as workers need them.
fn filter_parts(blueprint: &Blueprint, trials: &BTreeMap<String, Arc<Trial>>, name: &str) -> Option<FilterParts> {
    let facts = blueprint.facts(name)?;
    let canary = trials.get(name).and_then(|trial| {
        let facts = blueprint.facts(&trial.settings.version.name)?;
        Some((facts, Arc::clone(trial)))
    });
    Some(FilterParts { facts, canary })
}

/// Clusters that have not changed are the same, with their connections and what is known of their endpoints.
fn clusters(config: &Config, before: Option<&Snapshot>) -> SharedClusters {
    let known = |name: &str| before?.clusters.get(name);
    let one = |settings: &Arc<Cluster>| match known(&settings.name) {
        Some(known) if known.settings.fingerprint == settings.fingerprint => Arc::clone(known),
        Some(known) => SharedCluster::in_place_of(Arc::clone(settings), config.workers, known),
        None => SharedCluster::new(Arc::clone(settings), config.workers),
    };
    config.clusters.iter().map(|(name, settings)| (name.clone(), one(settings))).collect()
}

/// Builds instances in place of trapped ones, on threads that may block.
async fn rebuild_instances(blueprint: Arc<Blueprint>, mut requests: mpsc::UnboundedReceiver<Rebuild>) {
    while let Some(request) = requests.recv().await {
        let blueprint = Arc::clone(&blueprint);
        tokio::task::spawn_blocking(move || {
            let _ = request.reply.send(blueprint.build(request.vm));
        });
    }
}

/// `limits.connections`, lowered where the system allows fewer files: each connection may need one more towards its upstream.
pub(super) fn connections(config: &Config) -> usize {
    let wanted = config.limits.connections;
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let possible = usize::try_from(files.saturating_sub(SPARE_FILES)).unwrap_or(usize::MAX);
    if possible < wanted / 10 * 9 {
        tracing::warn!(
            "limits.connections is {wanted}, but this process may open {files} files: {possible} connections are accepted; raise the limit with `ulimit -n`"
        );
    }
    wanted.min(possible)
}
