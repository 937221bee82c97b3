//! From what was written to what it means. Each part reports all of its problems; the whole exists only if there
//! were none.

mod balancing;
mod certificates;
mod chains;
mod cluster;
mod control_plane;
mod discovery;
mod filter;
mod health;
mod listener;
mod names;
mod place;
mod register;
mod telemetry;
mod test;
mod tls;

pub use certificates::Certificates;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use serde::Serialize;

use self::place::Place;
use crate::config::{
    fingerprint::Fingerprint,
    include::Included,
    raw,
    report::Diagnostics,
    resolved::{Address, Admin, Config, Filter, Node as Identity, ProcessLimits, Reload, Sink},
    source::Sources,
    suggest,
    tree::{Node, Value, quote},
    units,
};

/// With less no worker can start.
const LEAST_MEMORY: u64 = 16 * 1024 * 1024;

/// The names that were written, whether or not what they name is in order: a reference to something broken is
/// not broken itself.
pub(crate) struct Names {
    filters: BTreeSet<String>,
    clusters: BTreeSet<String>,
    included: Included,
}

impl Names {
    pub fn of(root: &Node, included: Included) -> Self {
        let names = |section| match root.get(section) {
            Some((_, Node { value: Value::Map(entries), .. })) => {
                entries.iter().map(|(key, _)| key.text.clone()).collect()
            }
            _ => BTreeSet::new(),
        };
        Self { filters: names("filters"), clusters: names("clusters"), included }
    }
}

/// What every part needs.
struct Resolver<'a, 'b> {
    names: &'a Names,
    /// Paths that the check took out; that they are missing is not another mistake.
    removed: &'a BTreeSet<String>,
    diagnostics: &'a mut Diagnostics<'b>,
    /// `node.zone`
    zone: String,
    /// `node.id` and `node.cluster`
    node: (String, String),
    /// Names of `control_planes:`
    control_planes: BTreeSet<String>,
    /// Some of them is asked for clusters that are not there.
    on_demand: bool,
    /// The system's authorities, once someone has asked for them.
    system_roots: Option<Arc<rustls::RootCertStore>>,
    /// Files that were read.
    files: Vec<PathBuf>,
    /// What was in those of the part that is being resolved.
    contents: Vec<Fingerprint>,
}

/// Resolves a checked configuration. Problems go to the diagnostics; what is returned may only be used when there are none.
pub(crate) fn resolve(
    raw: &raw::File,
    root: &Node,
    names: &Names,
    removed: &BTreeSet<String>,
    sources: &Arc<Sources>,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<Config> {
    let zone = raw.node.as_ref().map(|node| node.zone.clone()).unwrap_or_default();
    let node = raw.node.as_ref().map(|node| (node.id.clone(), node.cluster.clone())).unwrap_or_default();
    let (files, contents) = (Vec::new(), Vec::new());
    let control_planes = raw.control_planes.keys().cloned().collect();
    let on_demand = raw.control_planes.values().any(|plane| plane.on_demand.is_some());
    let mut resolver = Resolver {
        names,
        removed,
        diagnostics,
        zone,
        node,
        control_planes,
        on_demand,
        system_roots: None,
        files,
        contents,
    };
    let root = Place::root(root);

    let admin = raw.admin.as_ref().and_then(|admin| resolver.admin(admin, &root.key("admin")));
    let filters = resolver.filters(&raw.filters, &root.key("filters"));
    let clusters = resolver.clusters(&raw.clusters, &root.key("clusters"));
    let sinks = resolver.sinks(&raw.sinks, &raw.node, &root.key("sinks"));
    let tracing = raw.tracing.as_ref().and_then(|tracing| resolver.tracing(tracing, &raw.node, &root.key("tracing")));
    let metrics = raw.metrics.as_ref().and_then(|metrics| resolver.metrics(metrics, &raw.node, &root.key("metrics")));
    let register = raw.register.as_ref().and_then(|register| resolver.register(register, &root.key("register")));
    let control_planes = resolver.control_planes(&raw.control_planes, &raw.node, &root.key("control_planes"));
    let taken = admin.as_ref().map(|admin| &admin.address);
    let come = control_planes.values().any(|plane| plane.has_listeners());
    let listeners = match raw.listeners.is_empty() && come {
        true => Vec::new(),
        false => resolver.listeners(&raw.listeners, &filters, taken, &root)?,
    };
    resolver.spoken_there(&listeners, &clusters, &root.key("listeners"));
    let tests = resolver.tests(&raw.tests, &listeners, &filters, &root.key("tests"));
    let limits = resolver.process_limits(raw.limits.clone().unwrap_or_default(), &root.key("limits"));
    // Of what was read for control planes, too.
    resolver.contents = control_planes.values().map(|plane| plane.fingerprint).collect();
    let rest = (&raw.node, &raw.workers, &raw.state, &raw.admin, &raw.limits, &raw.sinks, &raw.tracing, &raw.metrics);
    let rest = resolver.fingerprint(&(rest, &raw.register, &raw.control_planes));
    let mut files: Vec<PathBuf> = sources.file_names().map(PathBuf::from).collect();
    files.append(&mut resolver.files);
    // A folder changes when a file is put into it.
    let patterns = raw.include.iter().filter(|pattern| pattern.contains('*'));
    let base = sources.main_base();
    files.extend(patterns.filter_map(|pattern| base.join(pattern).parent().map(PathBuf::from)));

    Some(Config {
        node: identity(raw.node.clone().unwrap_or_default()),
        workers: workers(raw.workers.as_ref()),
        workers_are_auto: !matches!(raw.workers, Some(raw::Workers::Count(_))),
        state: raw.state.as_ref().map(|path| resolver.file(&root.key("state"), path)),
        admin,
        limits,
        listeners,
        filters,
        clusters,
        sinks,
        tracing: tracing.map(Arc::new),
        metrics: metrics.map(Arc::new),
        register,
        control_planes,
        reload: reload(raw.reload),
        tests,
        rest,
        files,
        sources: Arc::clone(sources),
    })
}

fn identity(node: raw::Node) -> Identity {
    Identity { id: node.id, cluster: node.cluster, zone: node.zone, metadata: node.metadata }
}

fn workers(written: Option<&raw::Workers>) -> usize {
    match written {
        Some(raw::Workers::Count(count)) => *count as usize,
        Some(raw::Workers::Auto(_)) | None => thread::available_parallelism().map_or(1, usize::from),
    }
}

fn reload(written: raw::Reload) -> Reload {
    match written {
        raw::Reload::Manual => Reload::Manual,
        raw::Reload::Watch => Reload::Watch,
    }
}

/// Filters by name, shared by the listeners that use them.
type Filters = BTreeMap<String, Arc<Filter>>;

impl Resolver<'_, '_> {
    fn admin(&mut self, admin: &raw::Admin, place: &Place<'_>) -> Option<Admin> {
        let address = place.key("address");
        let origin = self.diagnostics.sources.origin(address.span);
        let token_file = admin.token_file.as_ref().map(|path| self.file(&place.key("token_file"), path));
        let address = match admin.address.strip_prefix("unix:") {
            Some(path) => Address::Unix(self.file(&address, path)),
            None => Address::Tcp(self.address(&admin.address, &address)?),
        };
        Some(Admin { address, token_file, origin })
    }

    fn process_limits(&mut self, raw: raw::ProcessLimits, place: &Place<'_>) -> ProcessLimits {
        let memory =
            raw.memory.map(|_| self.size(raw.memory, 0, (LEAST_MEMORY, u64::MAX), &place.key("memory")) as u64);
        ProcessLimits { connections: raw.connections.unwrap_or(20_000) as usize, memory }
    }

    fn sinks(
        &mut self,
        sinks: &BTreeMap<String, raw::Sink>,
        node: &Option<raw::Node>,
        place: &Place<'_>,
    ) -> BTreeMap<String, Sink> {
        sinks
            .iter()
            .filter_map(|(name, sink)| {
                let place = place.key(name);
                let sink = match sink {
                    raw::Sink::Stdout => Sink::Stdout,
                    raw::Sink::File(path) => Sink::File(self.file(&place.key("file"), path)),
                    raw::Sink::Otlp(otlp) => {
                        Sink::Otlp(Arc::new(self.log_collector(otlp, node, &place.key("otlp"))?))
                    }
                };
                Some((name.clone(), sink))
            })
            .collect()
    }

    /// Of a part as it was written, and of the files that were read for it.
    fn fingerprint(&mut self, raw: &impl Serialize) -> Fingerprint {
        // What was read as JSON can be written as such.
        let written = serde_json::to_vec(raw).unwrap_or_default();
        Fingerprint::of(std::iter::once(&*written).chain(self.contents.iter().map(Fingerprint::bytes)))
    }

    /// A path, relative to the file that it is written in.
    fn file(&mut self, place: &Place<'_>, path: &str) -> PathBuf {
        if path.is_empty() {
            self.diagnostics.error(place.span, &place.path, "a path cannot be empty");
        }
        self.diagnostics.sources.base(place.span.file).join(path)
    }

    fn address(&mut self, text: &str, place: &Place<'_>) -> Option<SocketAddr> {
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let mut help = "expected an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned();
        if place.is_secret() {
            // Not a word about the value.
        } else if let Some(port) = text.strip_prefix(':').or(Some(text)).filter(|port| port.parse::<u16>().is_ok()) {
            help = format!(
                "write 0.0.0.0:{port} for every address of this machine, 127.0.0.1:{port} for this machine only"
            );
        } else if text.parse::<std::net::IpAddr>().is_ok() {
            help = "a port is missing".to_owned();
        } else if let Some(port) = text.strip_prefix("localhost:") {
            help = format!("write 127.0.0.1:{port}");
        } else if text.contains("://") {
            help = "write only the IP address and the port".to_owned();
        } else if text.rsplit_once(':').map_or(text, |(host, _)| host).contains(|c: char| c.is_ascii_alphabetic())
            && !text.contains('[')
        {
            help = "expected an IP address and a port; names are not looked up by this version".to_owned();
        }
        let message = format!("{} is not an address", place.shown());
        self.diagnostics.error_with_help(place.span, &place.path, message, help);
        None
    }

    /// Reports a name that nothing has.
    fn unknown(&mut self, kind: &str, name: &str, place: &Place<'_>) {
        let known = if kind == "filter" { &self.names.filters } else { &self.names.clusters };
        if known.contains(name) || self.names.included == Included::Some || self.removed.contains(&format!("{kind}s")) {
            return;
        }
        let help = match suggest::nearest(name, known.iter().map(String::as_str)) {
            Some(near) if !place.is_secret() => format!("did you mean {}?", quote(near)),
            _ if known.is_empty() => format!("there are no {kind}s; define it under `{kind}s:`"),
            _ => {
                let names: Vec<_> = known.iter().take(10).map(String::as_str).collect();
                let more = if known.len() > names.len() { ", ..." } else { "" };
                format!("define it under `{kind}s:`, or use one of: {}{more}", names.join(", "))
            }
        };
        let message = format!("{kind} {} does not exist", place.shown());
        self.diagnostics.error_with_help(place.span, &place.path, message, help);
    }

    /// A duration that must not be zero, because zero would mean "at once" where people mean "never".
    fn timeout(&mut self, written: Option<units::Duration>, default: Duration, place: &Place<'_>) -> Duration {
        match written {
            Some(units::Duration(Duration::ZERO)) => {
                let message = "this cannot be zero";
                self.diagnostics.error_with_help(
                    place.span,
                    &place.path,
                    message,
                    "there is always a limit; write a long one",
                );
                default
            }
            Some(units::Duration(duration)) => duration,
            None => default,
        }
    }

    fn size(
        &mut self,
        written: Option<units::ByteSize>,
        default: usize,
        bounds: (u64, u64),
        place: &Place<'_>,
    ) -> usize {
        let Some(units::ByteSize(size)) = written else {
            return default;
        };
        let (least, most) = bounds;
        let bound = match size {
            size if size < least => format!("at least {}", units::ByteSize(least)),
            size if size > most => format!("at most {}", units::ByteSize(most)),
            _ => return usize::try_from(size).unwrap_or(usize::MAX),
        };
        let message = format!("{} is out of range", place.shown());
        self.diagnostics.error_with_help(place.span, &place.path, message, format!("expected {bound}"));
        default
    }
}
