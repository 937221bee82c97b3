//! A running proxy, and how its next generation takes over.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as sync_mpsc},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::{
    addresses::{Addresses, Place},
    compilers::Compilers,
    handover::{Heirloom, Inherited},
    prepare::{Foundation, Prepared},
};
use crate::{
    cluster::shared::SharedCluster,
    config::{Config, Origin, Problem, Report, resolved::Cluster},
    snapshot::Snapshot,
    telemetry::{Gauge, Registry, names},
    wasm::{build::Blueprint, tap::Tap, vm::Rebuild},
    worker::{Command, GenerationParts, Job, ListenerParts, VmParts, VmSource, Worker, WorkerParts},
};

/// Files that the process needs besides its connections.
const SPARE_FILES: u64 = 128;
/// Generations that a rollback can go back to, the one that runs included.
const KEPT: usize = 10;
/// How long a worker may take to begin on a generation before that is worth a warning. A guest may run for `call_time` at a time.
const SWAP: Duration = Duration::from_secs(10);

/// The surroundings that a proxy starts in. Default: those of operation.
#[derive(Debug, Default)]
pub struct Setup {
    /// Is told what filters do.
    pub tap: Option<Tap>,
    /// Time stands still.
    pub stopped: bool,
    /// Sockets that another process has bound.
    pub inherited: Inherited,
}

/// A running proxy.
pub struct Proxy {
    foundation: Foundation,
    snapshot: ArcSwap<Snapshot>,
    workers: Vec<Worker>,
    compilers: Compilers,
    state: Mutex<State>,
    facts: Facts,
}

/// What changes with a generation, and is changed by one at a time.
struct State {
    addresses: Addresses,
    /// The newest is last.
    history: VecDeque<Arc<Snapshot>>,
}

/// Gauges live as long as their handles.
struct Facts {
    generation: Gauge,
    _others: [Gauge; 2],
}

/// What became of a configuration that was to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It runs, as this generation.
    Generation(u64),
    /// It is the same as the one that runs, so that one goes on.
    Unchanged(u64),
}

impl Prepared {
    /// Binds every address and starts the workers. Must be called inside the control plane's runtime.
    ///
    /// # Errors
    /// Everything that is wrong; nothing has started then.
    pub fn start(self, setup: Setup) -> Result<Proxy, Report> {
        let registry = self.foundation.registry.clone();
        let mut addresses = Addresses::new(connections(&self.config), setup.inherited);
        let Next { snapshot, parts, places } = next(&self, &mut addresses, None)?;
        let failed = |what: &str, error: std::io::Error| {
            let problem = Problem::new(Origin::default(), format!("cannot start {what}: {error}"));
            Report::single(Arc::clone(&self.config.sources), problem)
        };
        let compilers = Compilers::new().map_err(|error| failed("threads that compile", error))?;
        let mut workers = Vec::new();
        for (number, generation) in parts.into_iter().enumerate() {
            let parts = WorkerParts {
                number,
                registry: registry.clone(),
                tap: setup.tap.clone(),
                stopped: setup.stopped,
                generation,
            };
            workers.push(Worker::spawn(parts).map_err(|error| failed("a worker", error))?);
        }
        self.blueprint.forget_spares();
        addresses.settle(places, &self.config.listeners, connections(&self.config));
        let snapshot = Arc::new(snapshot);
        let history = VecDeque::from([Arc::clone(&snapshot)]);
        Ok(Proxy {
            foundation: self.foundation,
            snapshot: ArcSwap::new(snapshot),
            workers,
            compilers,
            state: Mutex::new(State { addresses, history }),
            facts: Facts::new(&registry),
        })
    }
}

/// A generation on its way to the workers.
struct Next {
    snapshot: Snapshot,
    /// By worker.
    parts: Vec<GenerationParts>,
    places: Vec<Place>,
}

/// Makes everything of a generation that can fail.
fn next(prepared: &Prepared, addresses: &mut Addresses, before: Option<&Snapshot>) -> Result<Next, Report> {
    let Prepared { foundation, config, blueprint, sinks } = prepared;
    let refused = |problems: Vec<Problem>| Report::of(Arc::clone(&config.sources), problems);
    let mut places = addresses.places(&config.listeners, config.workers).map_err(refused)?;
    let clusters = clusters(config, &foundation.registry, before);
    let kept = before.map_or_else(|| vec![None; blueprint.len()], |before| blueprint.kept_of(&before.blueprint));
    let (rebuild, requests) = mpsc::unbounded_channel();
    let number = before.map_or(1, |before| before.generation + 1);
    let listeners: Vec<_> = config.listeners.iter().cloned().map(Arc::new).collect();
    let mut parts = Vec::new();
    for _ in 0..config.workers {
        let mut vms = Vec::new();
        for (vm, kept) in kept.iter().enumerate() {
            if let Some(kept) = kept {
                vms.push(VmSource::Kept(*kept));
                continue;
            }
            let built = blueprint.build(vm).map_err(|error| refused(vec![Problem::new(Origin::default(), error)]))?;
            let Some((name, scope)) = blueprint.describe(vm) else { continue };
            let parts = VmParts { number: vm, name: name.to_owned(), scope, built, rebuild: rebuild.clone() };
            vms.push(VmSource::New(Box::new(parts)));
        }
        let listeners = listeners.iter().zip(&mut places).map(|(settings, place)| ListenerParts {
            gate: place.number,
            sockets: place.sockets.pop().unwrap_or_default(),
            admission: Arc::clone(&place.admission),
            filters: settings.filters.iter().filter_map(|filter| blueprint.facts(&filter.name)).collect(),
            settings: Arc::clone(settings),
        });
        parts.push(GenerationParts {
            vms,
            listeners: listeners.collect(),
            clusters: clusters.clone(),
            node: Arc::new(config.node.clone()),
        });
    }
    tokio::spawn(rebuild_instances(Arc::clone(blueprint), requests));
    let bound = listeners.iter().zip(&places).map(|(listener, place)| (listener.name.clone(), place.address)).collect();
    let snapshot = Snapshot {
        generation: number,
        since: SystemTime::now(),
        config: Arc::clone(config),
        blueprint: Arc::clone(blueprint),
        sinks: Arc::clone(sinks),
        clusters,
        listeners: bound,
    };
    Ok(Next { snapshot, parts, places })
}

/// Clusters that have not changed are the same, with their connections and what is known of their endpoints.
fn clusters(config: &Config, registry: &Registry, before: Option<&Snapshot>) -> Vec<Arc<SharedCluster>> {
    let known = |name: &str| before?.clusters.iter().find(|cluster| cluster.settings.name == name);
    let one = |settings: &Arc<Cluster>| {
        let cluster = match known(&settings.name) {
            Some(known) if known.settings.fingerprint == settings.fingerprint => return Arc::clone(known),
            Some(known) => SharedCluster::in_place_of(Arc::clone(settings), known),
            None => SharedCluster::new(Arc::clone(settings)),
        };
        let labels = [("cluster", settings.name.as_str()), ("health", "healthy")];
        let gauge = registry.gauge(&names::CLUSTER_ENDPOINTS, &labels);
        gauge.set(i64::try_from(settings.endpoints.len()).unwrap_or(i64::MAX));
        cluster.keep(gauge);
        cluster
    };
    config.clusters.values().map(one).collect()
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
fn connections(config: &Config) -> usize {
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

impl Facts {
    fn new(registry: &Registry) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let start = registry.gauge(&names::PROCESS_START, &[]);
        start.set(i64::try_from(since).unwrap_or(0));
        let generation = registry.gauge(&names::PROCESS_GENERATION, &[]);
        generation.set(1);
        let build = registry.gauge(
            &names::PROCESS_BUILD,
            &[("version", env!("CARGO_PKG_VERSION")), ("commit", option_env!("FYKE_COMMIT").unwrap_or("unknown"))],
        );
        build.set(1);
        Self { generation, _others: [start, build] }
    }
}

impl Proxy {
    /// What runs.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Generations that can be gone back to, oldest first; the last one runs.
    #[must_use]
    pub fn history(&self) -> Vec<Arc<Snapshot>> {
        self.state().history.iter().map(Arc::clone).collect()
    }

    /// Metrics.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.foundation.registry
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a configuration to the end, as a successor of what runs. Blocks for as long as modules are compiled and filters
    /// configured.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn prepare(&self, config: Config) -> Result<Prepared, Report> {
        let fixed = fixed(&self.snapshot().config, &config);
        if !fixed.is_empty() {
            return Err(Report::of(config.sources, fixed));
        }
        self.foundation.prepare(config, Some(&self.snapshot().sinks), Some(&self.compilers))
    }

    /// Everything new begins on this generation; what has begun ends on its own. Returns once every worker is on it. Blocks; must be
    /// called inside the control plane's runtime, by one of its threads that may.
    ///
    /// # Errors
    /// What cannot be bound or built. What ran goes on then.
    pub fn apply(&self, prepared: &Prepared) -> Result<Applied, Report> {
        let mut state = self.state();
        let before = self.snapshot();
        if is_same(&before, prepared) {
            return Ok(Applied::Unchanged(before.generation));
        }
        let Next { snapshot, parts, places } = next(prepared, &mut state.addresses, Some(&before))?;
        let (done, swapped) = sync_mpsc::channel();
        for (worker, parts) in self.workers.iter().zip(parts) {
            worker.tell(Command::Swap(Box::new(parts), done.clone()));
        }
        drop(done);
        for _ in &self.workers {
            if swapped.recv_timeout(SWAP).is_err() {
                tracing::warn!(generation = snapshot.generation, "a worker has not begun on the new generation yet");
                break;
            }
        }
        prepared.blueprint.forget_spares();
        state.addresses.settle(places, &prepared.config.listeners, connections(&prepared.config));
        let snapshot = Arc::new(snapshot);
        state.history.push_back(Arc::clone(&snapshot));
        if state.history.len() > KEPT {
            state.history.pop_front();
        }
        self.facts.generation.set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        let number = snapshot.generation;
        self.snapshot.store(snapshot);
        Ok(Applied::Generation(number))
    }

    /// A generation of the history as it would have to be applied. `None`: it is not kept any more, or never was.
    #[must_use]
    pub fn again(&self, generation: u64) -> Option<Prepared> {
        let state = self.state();
        let snapshot = state.history.iter().find(|snapshot| snapshot.generation == generation)?;
        Some(Prepared {
            foundation: self.foundation.clone(),
            config: Arc::clone(&snapshot.config),
            sinks: Arc::clone(&snapshot.sinks),
            blueprint: Arc::clone(&snapshot.blueprint),
        })
    }

    /// The listeners' patience: how long open streams get when the process drains.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.snapshot().config.listeners.iter().map(|listener| listener.drain).max().unwrap_or_default()
    }

    /// Listeners' names and the addresses that they are bound to.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, SocketAddr)> {
        self.snapshot().listeners.clone()
    }

    /// How many bytes of records are not written yet.
    #[must_use]
    pub fn queued_records(&self) -> usize {
        self.snapshot().sinks.queued()
    }

    /// Copies of all listening sockets, for a process that takes over.
    #[must_use]
    pub fn sockets(&self) -> Vec<Heirloom> {
        // No generation changes them meanwhile.
        let state = self.state();
        let (reply, sockets) = sync_mpsc::channel();
        for worker in &self.workers {
            worker.tell(Command::Sockets(reply.clone()));
        }
        drop(reply);
        let named = state.addresses.named();
        let mut heirlooms = Vec::new();
        while let Ok(of_worker) = sockets.recv_timeout(SWAP) {
            for (number, socket) in of_worker {
                if let Some((_, named)) = named.iter().find(|(known, _)| *known == number) {
                    heirlooms.push(Heirloom { named: Some(named.clone()), socket });
                }
            }
        }
        heirlooms
    }

    /// Has a worker do something on its own thread, among its tasks. A worker that has ended does nothing.
    pub fn on_worker(&self, number: usize, job: Job) {
        if let Some(worker) = self.workers.get(number) {
            worker.tell(Command::Run(job));
        }
    }

    /// Stops accepting, lets open streams finish for at most `patience`, and ends the workers. Blocks.
    pub fn drain(&self, patience: Duration) {
        // No generation takes over any more.
        let _state = self.state();
        for worker in &self.workers {
            worker.tell(Command::Drain(patience));
        }
        for worker in &self.workers {
            worker.join();
        }
        self.snapshot().sinks.close(Duration::from_secs(2));
    }
}

/// Whether a generation would be no other one.
fn is_same(before: &Snapshot, prepared: &Prepared) -> bool {
    let (old, new) = (&before.config, &prepared.config);
    let listeners = old.listeners.iter().map(|one| one.fingerprint).eq(new.listeners.iter().map(|one| one.fingerprint))
        && old.listeners.iter().map(|one| &one.name).eq(new.listeners.iter().map(|one| &one.name));
    let clusters = old.clusters.iter().map(|(name, one)| (name, one.fingerprint));
    let filters = old.filters.iter().map(|(name, one)| (name, one.fingerprint));
    old.rest == new.rest
        && old.reload == new.reload
        && listeners
        && clusters.eq(new.clusters.iter().map(|(name, one)| (name, one.fingerprint)))
        && filters.eq(new.filters.iter().map(|(name, one)| (name, one.fingerprint)))
        && prepared.blueprint.is_same(&before.blueprint)
}

/// What a running process cannot change.
fn fixed(old: &Config, new: &Config) -> Vec<Problem> {
    let file = new.listeners.first().map(|listener| listener.origin.file.clone()).unwrap_or_default();
    let admin = |config: &Config| config.admin.as_ref().map(|admin| admin.address.clone());
    let parts = [
        ("workers", old.workers == new.workers),
        ("state", old.state == new.state),
        ("admin", admin(old) == admin(new)),
    ];
    let changed = parts.into_iter().filter(|(_, same)| !same);
    let problem = |(name, _)| {
        Problem::new(
            Origin { file: file.clone(), line: 0, column: 0 },
            format!("`{name}` cannot change while the process runs"),
        )
        .help("start the process anew for that, or put back what it was")
    };
    changed.map(problem).collect()
}
