//! The engine's host while an instance is configured: no streams, no sockets. What is asked for is remembered, and what is
//! refused is explained with its place in the configuration.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fyke_engine::{
    Buffer, BufferKind, CallbackSet, ConfigureError, ContextId, GrpcCall, Host, HttpCall, LocalResponse, LogLevel, Map,
    MapKind, MetricKind, SharedData, Status, StreamKind,
};

use super::{
    build::{Refusal, Surroundings},
    call_out, entropy, foreign,
    grants::{Capability, Grants},
    grpc,
    lines::Lines,
    outside,
    pending::Pending,
    plan::{PluginConfiguration, VmPlan},
    properties,
    route::{RouteAction, Tunnel},
};
use crate::{
    config::{
        resolved::{self, ClusterProtocol},
        suggest,
    },
    shared,
    telemetry::{SinkHandle, labelled::Family},
};

/// The engine's host while an instance is built: no streams, no sockets; what is asked for is remembered.
pub(super) struct Configuring<'a> {
    pub(super) surroundings: &'a Surroundings,
    pub(super) filters: &'a BTreeMap<String, (usize, usize)>,
    pub(super) scope: Arc<shared::Scope>,
    lines: Lines,
    grants: Grants,
    pub(super) settings: Option<Arc<resolved::Filter>>,
    pub(super) routes: Vec<RouteAction>,
    pub(super) sinks: Vec<SinkHandle>,
    pub(super) metrics: Vec<Arc<Family>>,
    pub(super) ticks: Vec<(ContextId, Duration)>,
    pub(super) pending: Pending,
    pub(super) refusal: Option<(String, String)>,
    pub(super) last_error: Option<String>,
    /// The last error that the guest logged. It may become the report of a refusal; else it is a line of the log.
    held: Option<(LogLevel, Vec<u8>)>,
    /// Why the host said no to a route or a sink, until it says yes again.
    pub(super) denied: Option<String>,
    /// What the configuration has no use for.
    pub(super) skips: CallbackSet,
    /// Queues, and who listens to them.
    pub(super) queues: Vec<(ContextId, u32)>,
    pub(super) started: std::time::Instant,
}

impl<'a> Configuring<'a> {
    pub(super) fn new(
        surroundings: &'a Surroundings,
        plan: &VmPlan,
        filters: &'a BTreeMap<String, (usize, usize)>,
    ) -> Self {
        Self {
            surroundings,
            filters,
            scope: surroundings.shared.scope(&plan.scope()),
            lines: Lines::default(),
            grants: Grants::new(&surroundings.registry),
            settings: None,
            routes: Vec::new(),
            sinks: Vec::new(),
            metrics: Vec::new(),
            ticks: Vec::new(),
            pending: Pending::default(),
            refusal: None,
            last_error: None,
            held: None,
            denied: None,
            skips: CallbackSet::EMPTY,
            queues: Vec::new(),
            started: std::time::Instant::now(),
        }
    }

    /// Whether a cluster may be called, before the first call.
    fn require(&self, name: &[u8]) -> Result<(), String> {
        let name = String::from_utf8_lossy(name);
        let clusters = &self.surroundings.config.clusters;
        if !clusters.contains_key(&*name) {
            return Err(unknown("cluster", &name, clusters.keys()));
        }
        let granted =
            self.settings.as_ref().is_some_and(|settings| settings.allow.clusters.iter().any(|one| **one == *name));
        if granted {
            Ok(())
        } else {
            Err(format!("the filter may not use cluster \"{name}\"; grant it with `allow: {{ clusters: [{name}] }}`"))
        }
    }

    fn define(&mut self, args: &[u8]) -> Result<u32, String> {
        let action: RouteAction = serde_json::from_slice(args).map_err(|error| error.to_string())?;
        let config = &self.surroundings.config;
        for cluster in action.clusters() {
            // Mirrors are sent to what is there.
            let is_mirror = action.mirror.iter().any(|mirror| mirror.cluster.as_ref() == Some(cluster));
            let may_come = config.has_clusters_on_demand() && !is_mirror;
            if !config.clusters.contains_key(cluster) && !may_come {
                return Err(unknown("cluster", cluster, config.clusters.keys()));
            }
            // Bytes of a tunnel that ends here are all the same to it.
            let tcp = config.clusters.get(cluster).is_some_and(|cluster| cluster.protocol == ClusterProtocol::Tcp);
            if tcp && action.tunnel() != Some(Tunnel::Terminate) {
                return Err(format!("cluster \"{cluster}\" has `protocol: tcp` and takes no requests"));
            }
        }
        if action.cluster.is_some() && !action.weighted_clusters.is_empty() {
            return Err("a route has either `cluster` or `weighted_clusters`".to_owned());
        }
        if !action.weighted_clusters.is_empty() && action.weighted_clusters.iter().all(|choice| choice.weight == 0) {
            return Err("the weights of a route must not all be 0".to_owned());
        }
        if action.hedge.on_per_try_timeout && action.retry.as_ref().is_none_or(|retry| retry.per_try_timeout_ms == 0) {
            return Err("`hedge.on_per_try_timeout` needs a `retry` with a `per_try_timeout`".to_owned());
        }
        if action.timeout_status.is_some_and(|status| !(200..600).contains(&status)) {
            return Err("`timeout_status` is a status from 200 to 599".to_owned());
        }
        if action.mirror.iter().any(|mirror| !(0.0..=100.0).contains(&mirror.percent)) {
            return Err("the `percent` of a mirror is from 0 to 100".to_owned());
        }
        if action.mirror.iter().any(|mirror| mirror.cluster.is_some() == mirror.cluster_header.is_some()) {
            return Err("a mirror has either `cluster` or `cluster_header`".to_owned());
        }
        for filter in action.filters.keys() {
            if !self.filters.contains_key(filter) {
                return Err(unknown("filter", filter, self.filters.keys()));
            }
        }
        if self.routes.len() >= MOST_ROUTES {
            return Err(format!("a filter may define {MOST_ROUTES} routes"));
        }
        let handle = u32::try_from(self.routes.len()).map_err(|error| error.to_string())?;
        self.routes.push(action);
        Ok(handle)
    }

    /// `fyke.metric.define.v1`
    fn define_labelled(&mut self, args: &[u8]) -> Result<u32, String> {
        let definition = serde_json::from_slice(args).map_err(|error| error.to_string())?;
        let (owner, series) = foreign::budget(self.settings.as_deref());
        let family = self.surroundings.registry.labelled().define(owner, series, definition)?;
        // Defined again, by another of its configurations perhaps, it keeps its handle.
        let known = self.metrics.iter().position(|known| Arc::ptr_eq(known, &family));
        // Only another version may count otherwise.
        if known.is_none() && self.metrics.iter().any(|known| known.name() == family.name()) {
            let name = family.name();
            return Err(format!("\"{name}\" is defined already, with another kind, other labels or other buckets"));
        }
        let handle = u32::try_from(known.unwrap_or(self.metrics.len())).map_err(|error| error.to_string())?;
        if known.is_none() {
            self.metrics.push(family);
        }
        Ok(handle)
    }

    /// The scope of what the filter shares, if it was granted.
    fn shared(&self) -> Option<&shared::Scope> {
        self.may(Capability::SharedData, b"").then_some(&self.scope)
    }

    /// The same for queues.
    fn queues(&self) -> Option<&shared::Scope> {
        self.may(Capability::Queues, b"").then_some(&self.scope)
    }

    fn may(&self, capability: Capability, what: &[u8]) -> bool {
        self.grants.allow(self.settings.as_deref(), capability, what)
    }

    fn write(&self, level: LogLevel, message: &[u8]) {
        let name = self.settings.as_ref().map_or("", |settings| settings.name.as_str());
        outside::log(&self.lines, name, level, message);
    }

    /// Logs the error that no refusal has reported.
    pub(super) fn say_held(&mut self) {
        if let Some((level, message)) = self.held.take() {
            self.write(level, &message);
        }
    }

    /// Says no, and keeps the reason for the report.
    fn deny(&mut self, message: String) -> Status {
        self.last_error = Some(message.clone());
        self.denied = Some(message);
        Status::BadArgument
    }

    pub(super) fn explain(&self, plugin: &PluginConfiguration, index: usize, error: &ConfigureError) -> Refusal {
        let settings = &plugin.settings;
        let own = self.filters.get(&settings.name).is_some_and(|(_, number)| *number == index);
        let (path, message) = match (&self.refusal, &self.last_error) {
            (Some((path, message)), _) => (path.clone(), message.clone()),
            (None, Some(message)) => (String::new(), format!("it refused its configuration: {message}")),
            (None, None) => (String::new(), error.to_string()),
        };
        let place = if own { settings.locations.nearest(&path) } else { None };
        let origin = place.unwrap_or(&settings.origin).clone();
        let message = if own { message } else { format!("configuration carried by a route: {message}") };
        let message = if path.is_empty() { message } else { format!("config.{path}: {message}") };
        Refusal { filter: settings.name.clone(), origin, path: path.into(), message, help: None }
    }
}

/// What a filter is given of a configuration: text as it is, anything else as JSON.
pub(super) fn handed_over(configuration: &serde_json::Value) -> String {
    configuration.as_str().map_or_else(|| configuration.to_string(), str::to_owned)
}

/// Routes that one instance may define.
const MOST_ROUTES: usize = 1_000_000;
/// Sinks that one instance may open.
const MOST_SINKS: usize = 1024;

fn unknown<'k>(kind: &str, name: &str, known: impl Iterator<Item = &'k String>) -> String {
    match suggest::nearest(name, known.map(String::as_str)) {
        Some(near) => format!("there is no {kind} \"{name}\"; did you mean \"{near}\"?"),
        None => format!("there is no {kind} \"{name}\""),
    }
}

impl Host for Configuring<'_> {
    fn log(&mut self, _cx: ContextId, level: LogLevel, message: &[u8]) {
        if level >= LogLevel::Error {
            self.last_error = Some(String::from_utf8_lossy(message).into_owned());
            self.say_held();
            self.held = Some((level, message.to_vec()));
            return;
        }
        self.write(level, message);
    }

    fn log_level(&self) -> LogLevel {
        outside::log_level()
    }

    fn now(&self) -> u64 {
        if self.may(Capability::Clock, b"") { outside::now() } else { 0 }
    }

    fn monotonic(&self) -> u64 {
        if !self.may(Capability::Clock, b"") {
            return 0;
        }
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn random(&mut self, out: &mut [u8]) -> bool {
        let granted = self.may(Capability::Random, b"");
        if granted {
            entropy::from_system(out);
        }
        granted
    }

    fn set_tick_period(&mut self, root: ContextId, period: Option<Duration>) {
        self.ticks.retain(|(id, _)| *id != root);
        self.ticks.extend(period.map(|period| (root, period)));
    }

    fn with_map(&mut self, _cx: ContextId, _map: MapKind, _f: &mut dyn FnMut(&mut dyn Map)) -> bool {
        false
    }

    fn with_buffer(&mut self, _cx: ContextId, _buffer: BufferKind, _f: &mut dyn FnMut(&mut dyn Buffer)) -> bool {
        false
    }

    fn continue_stream(&mut self, _cx: ContextId, _stream: StreamKind) {}

    fn close_stream(&mut self, _cx: ContextId, _stream: StreamKind) {}

    fn send_local_response(&mut self, _cx: ContextId, _response: LocalResponse<'_>) {}

    fn clear_route_cache(&mut self, _cx: ContextId) {}

    fn http_call(&mut self, cx: ContextId, call: HttpCall<'_>) -> Result<u32, Status> {
        let request = call_out::callout_request(&self.grants, self.settings.as_deref(), &call)?;
        self.pending.http(cx, request)
    }

    fn grpc_call(&mut self, cx: ContextId, call: GrpcCall<'_>) -> Result<u32, Status> {
        let asked = grpc::asked(&call)?;
        let known = self.surroundings.config.clusters.contains_key(asked.cluster());
        if !known || !self.may(Capability::Clusters, asked.cluster().as_bytes()) {
            return Err(Status::ParseFailure);
        }
        self.pending.grpc(cx, asked)
    }

    fn grpc_send(&mut self, _cx: ContextId, token: u32, message: &[u8], end_of_stream: bool) -> Status {
        self.pending.send(token, message, end_of_stream)
    }

    fn grpc_close(&mut self, _cx: ContextId, token: u32) -> Status {
        self.pending.half_close(token)
    }

    fn grpc_cancel(&mut self, _cx: ContextId, token: u32) -> Status {
        self.pending.cancel(token)
    }

    fn shared_data(&mut self, _cx: ContextId, key: &[u8], out: &mut Vec<u8>) -> SharedData {
        outside::read_shared(self.shared(), key, out)
    }

    fn set_shared_data(&mut self, _cx: ContextId, key: &[u8], value: &[u8], cas: u32) -> Status {
        outside::write_shared(self.shared(), key, value, cas)
    }

    fn register_queue(&mut self, cx: ContextId, name: &[u8]) -> u32 {
        let registered = self.queues().and_then(|scope| scope.queues.register(&scope.name, name));
        let Some(queue) = registered else { return 0 };
        self.queues.retain(|(_, other)| *other != queue);
        self.queues.push((cx, queue));
        queue
    }

    fn resolve_queue(&mut self, _cx: ContextId, vm: &[u8], name: &[u8]) -> Option<u32> {
        self.queues()?.resolve_queue(vm, name)
    }

    fn enqueue(&mut self, _cx: ContextId, queue: u32, value: &[u8]) -> Status {
        outside::enqueue(self.queues(), queue, value)
    }

    fn dequeue(&mut self, _cx: ContextId, queue: u32, out: &mut Vec<u8>) -> Status {
        outside::dequeue(self.queues(), queue, out)
    }

    fn define_metric(&mut self, _cx: ContextId, kind: MetricKind, name: &[u8]) -> Result<u32, Status> {
        if !self.may(Capability::Metrics, b"") {
            return Ok(foreign::NO_METRIC);
        }
        Ok(foreign::define_metric(&self.surroundings.registry, self.settings.as_deref(), kind, name))
    }

    fn record_metric(&mut self, _cx: ContextId, metric: u32, value: u64) -> Status {
        foreign::record_metric(&self.surroundings.registry, metric, value)
    }

    fn increment_metric(&mut self, _cx: ContextId, metric: u32, delta: i64) -> Status {
        foreign::increment_metric(&self.surroundings.registry, metric, delta)
    }

    fn metric(&mut self, _cx: ContextId, metric: u32) -> Result<u64, Status> {
        foreign::metric(&self.surroundings.registry, metric)
    }

    fn property(&mut self, _cx: ContextId, path: &[u8], out: &mut Vec<u8>) -> Status {
        let config = &self.surroundings.config;
        let sample = config.tracing.as_ref().map(|tracing| tracing.sample);
        let found = properties::of_plugin(path, self.settings.as_deref(), &config.node, sample, out);
        if found { Status::Ok } else { Status::NotFound }
    }

    fn set_property(&mut self, _cx: ContextId, _path: &[u8], _value: &[u8]) {}

    fn foreign_function(&mut self, _cx: ContextId, name: &[u8], args: &[u8], out: &mut Vec<u8>) -> Status {
        // How a filter says what is wrong with its configuration is no power.
        if name != b"fyke.configure.refuse.v1" && !self.may(Capability::ForeignFunctions, name) {
            return Status::NotFound;
        }
        if name.starts_with(b"fyke.metric.") && !self.may(Capability::Metrics, b"") {
            return self.deny("the filter may not have metrics; grant it with `allow: { metrics: true }`".to_owned());
        }
        match name {
            b"fyke.cluster.require.v1" => match self.require(args) {
                Ok(()) => Status::Ok,
                Err(message) => self.deny(message),
            },
            b"fyke.route.define.v1" => match self.define(args) {
                Ok(handle) => {
                    self.denied = None;
                    out.extend_from_slice(&handle.to_le_bytes());
                    Status::Ok
                }
                Err(message) => self.deny(message),
            },
            b"fyke.log.open.v1" => {
                let name = String::from_utf8_lossy(args);
                if self.sinks.len() >= MOST_SINKS {
                    return self.deny(format!("an instance may open {MOST_SINKS} sinks"));
                }
                let Some(sink) = self.surroundings.sinks.handle(&name) else {
                    return self.deny(unknown("sink", &name, self.surroundings.config.sinks.keys()));
                };
                out.extend_from_slice(&u32::try_from(self.sinks.len()).unwrap_or(u32::MAX).to_le_bytes());
                self.sinks.push(sink);
                Status::Ok
            }
            b"fyke.metric.define.v1" => match self.define_labelled(args) {
                Ok(handle) => {
                    out.extend_from_slice(&handle.to_le_bytes());
                    Status::Ok
                }
                Err(message) => self.deny(message),
            },
            b"fyke.metric.record.v1" => foreign::record(&self.metrics, args).unwrap_or(Status::BadArgument),
            b"fyke.configure.refuse.v1" => {
                #[derive(serde::Deserialize)]
                struct Refused {
                    #[serde(default)]
                    path: String,
                    message: String,
                }
                let Ok(refused) = serde_json::from_slice::<Refused>(args) else { return Status::BadArgument };
                // The host knows better why it said no to a route or a sink.
                self.refusal = Some((refused.path, self.denied.take().unwrap_or(refused.message)));
                Status::Ok
            }
            b"fyke.callbacks.skip.v1" => {
                let Some(skips) = foreign::callbacks(args) else { return Status::BadArgument };
                self.skips = self.skips.union(skips);
                Status::Ok
            }
            b"fyke.features.v1" => {
                foreign::list(out, foreign::FEATURES.iter().map(|name| name.as_bytes()));
                Status::Ok
            }
            name if name.starts_with(b"fyke.shared.") => foreign::shared(self.shared(), name, args, out),
            b"set_envoy_filter_state" => Status::BadArgument,
            b"clear_route_cache" => Status::Ok,
            b"declare_property" | b"compress" | b"uncompress" => foreign::pure(name, args, out),
            b"fyke.route.select.v1" | b"fyke.log.write.v1" | b"fyke.headers.values.v1" | b"fyke.values.read.v1" => {
                Status::BadArgument
            }
            _ => Status::NotFound,
        }
    }
}
