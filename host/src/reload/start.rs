//! Starts a proxy, and ends it.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use fyke_engine::{CallbackSet, Engine, EngineOptions};
use tokio::sync::mpsc;

use crate::{
    cluster::shared::SharedCluster,
    config::{
        Config, Origin, Problem, Report,
        resolved::{self, ListenerProtocol},
    },
    listener::{
        accept::{Admission, Count},
        socket,
    },
    snapshot::Snapshot,
    telemetry::{Gauge, Registry, SinkTarget, Sinks, names},
    wasm::{
        build::{Blueprint, Refusal, Surroundings},
        tap::Tap,
        vm::Rebuild,
    },
    worker::{Command, Job, ListenerParts, VmParts, Worker, WorkerParts},
};

/// Files that the process needs besides its connections.
const SPARE_FILES: u64 = 128;

/// A running proxy.
pub struct Proxy {
    /// What runs.
    pub snapshot: Arc<Snapshot>,
    /// Metrics.
    pub registry: Registry,
    workers: Vec<Worker>,
    sinks: Arc<Sinks>,
    /// A gauge lives as long as its handle.
    _facts: [Gauge; 3],
}

/// A checked configuration with every filter compiled and configured; nothing is bound yet.
pub struct Prepared {
    config: Arc<Config>,
    registry: Registry,
    sinks: Arc<Sinks>,
    blueprint: Arc<Blueprint>,
}

/// The surroundings that a proxy starts in. Default: those of operation.
#[derive(Debug, Default)]
pub struct Setup {
    /// What listens already is not bound again.
    pub sockets: Sockets,
    /// Is told what filters do.
    pub tap: Option<Tap>,
    /// Time stands still.
    pub stopped: bool,
}

/// Sockets that listen whoever serves them. Connections that nobody has accepted yet wait for the next one to serve.
#[derive(Debug, Default)]
pub struct Sockets(HashMap<SocketAddr, TcpListener>);

impl Sockets {
    /// Listens on an address, if it does not yet.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn bind(&mut self, address: SocketAddr) -> io::Result<()> {
        if !self.0.contains_key(&address) {
            let socket = socket::bind(address, 1)?.pop();
            self.0.extend(socket.map(|socket| (address, socket)));
        }
        Ok(())
    }

    /// Stops listening on the others.
    pub fn keep(&mut self, wanted: impl Fn(SocketAddr) -> bool) {
        self.0.retain(|address, _| wanted(*address));
    }

    /// A socket for each worker: one that listens already, for all of them, or new ones.
    fn get(&self, address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
        match self.0.get(&address) {
            Some(socket) => (0..workers).map(|_| socket.try_clone()).collect(),
            None => socket::bind(address, workers),
        }
    }
}

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

/// Loads and configures all filters: what `fyke validate` does beyond reading the file.
///
/// # Errors
/// Everything that is wrong, with its place in the configuration.
pub fn prepare(config: Config, records: &Records) -> Result<Prepared, Report> {
    let config = Arc::new(config);
    let registry = Registry::new();
    let whole = |message: String| {
        let file = config.listeners.first().map(|listener| listener.origin.file.clone()).unwrap_or_default();
        Report::single(Arc::clone(&config.sources), Problem::new(Origin { file, line: 0, column: 0 }, message))
    };
    let cache: Option<PathBuf> = config.state.as_ref().map(|state| state.join("modules"));
    let engine =
        Engine::new(EngineOptions { cache, ..EngineOptions::default() }).map_err(|error| whole(error.to_string()))?;
    let unnamed = matches!(records, Records::Into(_)).then_some((String::new(), &resolved::Sink::Stdout));
    let named = config.sinks.iter().map(|(name, sink)| (name.clone(), sink));
    let targets = named.chain(unnamed).map(|(name, sink)| {
        let target = match (records, sink) {
            (Records::Into(path), _) => SinkTarget::File(path.clone()),
            (Records::Configured, resolved::Sink::File(path)) => SinkTarget::File(path.clone()),
            (Records::Configured, resolved::Sink::Stdout) | (Records::Nowhere, _) => SinkTarget::Stdout,
        };
        (name, target)
    });
    let sinks = Arc::new(Sinks::open(targets, &registry).map_err(|error| whole(error.to_string()))?);
    let surroundings = Surroundings {
        engine,
        registry: registry.clone(),
        shared: Arc::default(),
        sinks: Arc::clone(&sinks),
        config: Arc::clone(&config),
    };
    let blueprint = Blueprint::new(surroundings).map_err(|refusals| report(&config, refusals))?;
    let misplaced = misplaced(&config, &blueprint);
    if !misplaced.is_empty() {
        return Err(report(&config, misplaced));
    }
    Ok(Prepared { config, registry, sinks, blueprint: Arc::new(blueprint) })
}

/// What to do about an address that cannot be bound.
pub(crate) fn unbound(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another process has the address, or a listener of this file has all addresses of the port"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; 0.0.0.0 and [::] mean all that it has"
        }
        std::io::ErrorKind::PermissionDenied => "a port below 1024 needs CAP_NET_BIND_SERVICE",
        _ => "choose another address",
    }
}

/// Filters in chains that would never call them.
fn misplaced(config: &Config, blueprint: &Blueprint) -> Vec<Refusal> {
    let chains = config.listeners.iter().flat_map(|listener| listener.filters.iter().map(move |one| (listener, one)));
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

impl Prepared {
    /// Where its metrics are.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Binds every address and starts the workers. Must be called inside the control plane's runtime.
    ///
    /// # Errors
    /// Everything that is wrong; nothing has started then.
    pub fn start(self) -> Result<Proxy, Report> {
        self.start_with(&Setup::default())
    }

    /// As [`Prepared::start`], in other surroundings.
    ///
    /// # Errors
    /// Everything that is wrong; nothing has started then.
    pub fn start_with(self, setup: &Setup) -> Result<Proxy, Report> {
        let Self { config, registry, sinks, blueprint } = self;
        let mut problems = Report::new(Arc::clone(&config.sources));
        let process = Arc::new(Count::new(connections(&config)));
        let ids = Arc::new(AtomicU64::new(1));
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            match setup.sockets.get(listener.address, config.workers) {
                Ok(sockets) => {
                    let admission = Admission::new(Arc::clone(&process), listener.limits.connections, Arc::clone(&ids));
                    let address =
                        sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(listener.address);
                    listeners.push((listener.clone(), sockets, admission, address));
                }
                Err(error) => problems.push(
                    Problem::new(
                        listener.origin.clone(),
                        format!("listener \"{}\" cannot listen on {}: {error}", listener.name, listener.address),
                    )
                    .help(unbound(&error)),
                ),
            }
        }
        let clusters: Vec<_> =
            config.clusters.values().map(|cluster| SharedCluster::new(Arc::clone(cluster))).collect();
        for cluster in &clusters {
            let gauge = registry
                .gauge(&names::CLUSTER_ENDPOINTS, &[("cluster", &cluster.settings.name), ("health", "healthy")]);
            gauge.set(i64::try_from(cluster.settings.endpoints.len()).unwrap_or(i64::MAX));
            cluster.keep(gauge);
        }
        let (rebuild, requests) = mpsc::unbounded_channel();
        let bound = listeners.iter().map(|(listener, _, _, address)| (listener.name.clone(), *address)).collect();
        let mut all = Vec::new();
        for number in 0..config.workers {
            let mut vms = Vec::new();
            for vm in 0..blueprint.len() {
                match (blueprint.describe(vm), blueprint.build(vm)) {
                    (Some((name, scope)), Ok(built)) => vms.push(VmParts { name: name.to_owned(), scope, built }),
                    (_, Err(error)) => problems.push(Problem::new(Origin::default(), error)),
                    (None, _) => {}
                }
            }
            let listeners = listeners
                .iter_mut()
                .filter_map(|(settings, sockets, admission, _)| {
                    Some(ListenerParts {
                        socket: sockets.pop()?,
                        admission: Arc::clone(admission),
                        filters: settings.filters.iter().filter_map(|filter| blueprint.facts(&filter.name)).collect(),
                        settings: settings.clone(),
                    })
                })
                .collect();
            all.push(WorkerParts {
                number,
                vms,
                listeners,
                clusters: clusters.clone(),
                registry: registry.clone(),
                node: Arc::new(config.node.clone()),
                rebuild: rebuild.clone(),
                tap: setup.tap.clone(),
                stopped: setup.stopped,
            });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut workers = Vec::new();
        for parts in all {
            match Worker::spawn(parts) {
                Ok(worker) => workers.push(worker),
                Err(error) => problems.push(Problem::new(Origin::default(), format!("cannot start a worker: {error}"))),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        tokio::spawn(rebuild_instances(Arc::clone(&blueprint), requests));
        let facts = describe_process(&registry);
        let snapshot = Arc::new(Snapshot {
            generation: 1,
            since: SystemTime::now(),
            config,
            blueprint,
            clusters,
            listeners: bound,
        });
        Ok(Proxy { snapshot, registry, workers, sinks, _facts: facts })
    }
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

fn describe_process(registry: &Registry) -> [Gauge; 3] {
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
    [start, generation, build]
}

impl Proxy {
    /// The listeners' patience: how long open streams get when the process drains.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.snapshot.config.listeners.iter().map(|listener| listener.drain).max().unwrap_or_default()
    }

    /// How many bytes of records are not written yet.
    #[must_use]
    pub fn queued_records(&self) -> usize {
        self.sinks.queued()
    }

    /// Has a worker do something on its own thread, among its tasks. A worker that has ended does nothing.
    pub fn on_worker(&self, number: usize, job: Job) {
        if let Some(worker) = self.workers.get(number) {
            worker.tell(Command::Run(job));
        }
    }

    /// Stops accepting, lets open streams finish for at most `patience`, and ends.
    pub fn drain(self, patience: Duration) {
        for worker in &self.workers {
            worker.tell(Command::Drain(patience));
        }
        for worker in self.workers {
            worker.join();
        }
        drop(self.snapshot);
        self.sinks.close(Duration::from_secs(2));
    }
}
