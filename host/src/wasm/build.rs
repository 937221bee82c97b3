//! Builds configured instances on the control plane, before anything is swapped.
//!
//! A [`Blueprint`] holds all VMs of a generation. It is made in three steps: compile every module; configure one
//! instance of each VM, which tells the routes that filters define and with them the configurations that those routes
//! carry for other filters; check that those configurations are accepted. From then on [`Blueprint::build`] makes as
//! many instances of a VM as workers ask for, all with the same numbers for the same things.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use fyke_engine::{
    Buffer, BufferKind, CallbackSet, ConfigureError, ContextId, Engine, Host, HttpCall, Instance, InstanceOptions,
    LocalResponse, LogLevel, Map, MapKind, MetricKind, Module, SharedData, Status, StreamKind,
};

use super::{
    call::{self, PendingCall},
    foreign, properties,
    route::{Route, RouteAction},
    source,
};
use crate::{
    config::resolved::{self, Origin},
    shared,
    telemetry::{Registry, SinkHandle, Sinks},
};

/// What instances need from the process while they are configured.
#[derive(Clone)]
pub struct Surroundings {
    /// Compiles and runs.
    pub engine: Engine,
    /// Metrics.
    pub registry: Registry,
    /// Shared data.
    pub shared: Arc<shared::SharedData>,
    /// Sinks; the empty name is standard output.
    pub sinks: Arc<Sinks>,
    /// The configuration.
    pub config: Arc<resolved::Config>,
}

/// A configured instance on its way to a worker.
#[derive(Debug)]
pub struct Built {
    /// It.
    pub instance: Instance,
    /// Plugin contexts by number of configuration.
    pub roots: Vec<(ContextId, Arc<resolved::Filter>)>,
    /// Routes by handle.
    pub routes: Vec<Route>,
    /// Sinks by handle.
    pub sinks: Vec<SinkHandle>,
    /// Timers that were asked for.
    pub ticks: Vec<(ContextId, Duration)>,
    /// Callouts that were asked for.
    pub calls: Vec<PendingCall>,
    /// The first free callout token.
    pub next_token: u32,
}

/// A filter that could not be loaded or was refused.
#[derive(Debug)]
pub struct Refusal {
    /// The filter.
    pub filter: String,
    /// Where in the configuration.
    pub origin: Origin,
    /// What went wrong.
    pub message: String,
    /// What to try.
    pub help: Option<String>,
}

/// One configuration of one filter: a plugin context.
#[derive(Debug, Clone)]
struct PluginConfiguration {
    settings: Arc<resolved::Filter>,
    configuration: Vec<u8>,
}

/// One VM of a generation.
struct VmPlan {
    name: String,
    module: Module,
    options: InstanceOptions,
    plugins: Vec<PluginConfiguration>,
}

/// All VMs of a generation.
pub struct Blueprint {
    surroundings: Surroundings,
    vms: Vec<VmPlan>,
    /// Filter name to (VM, number of its own configuration).
    filters: BTreeMap<String, (usize, usize)>,
    /// Instances made while the blueprint was checked, used before new ones are built.
    spares: Mutex<HashMap<usize, Built>>,
}

/// What a chain needs to know of a filter.
#[derive(Debug, Clone)]
pub struct FilterFacts {
    /// Its VM.
    pub vm: usize,
    /// Number of its own configuration there.
    pub index: usize,
    /// The callbacks to call.
    pub callbacks: CallbackSet,
    /// Whether the module can change bodies.
    pub edits_bodies: bool,
    /// Content hash of the module.
    pub hash: String,
    /// Its ABI version.
    pub abi: String,
    /// Settings.
    pub settings: Arc<resolved::Filter>,
}

impl Blueprint {
    /// Loads, instantiates and configures every filter that a listener uses.
    ///
    /// # Errors
    /// All refusals together.
    pub fn new(surroundings: Surroundings) -> Result<Self, Vec<Refusal>> {
        let mut blueprint = Self { surroundings, vms: Vec::new(), filters: BTreeMap::new(), spares: Mutex::default() };
        let mut refusals = Vec::new();
        let filters: Vec<_> = blueprint.surroundings.config.filters.values().map(Arc::clone).collect();
        for filter in filters {
            if let Err(refusal) = blueprint.add(&filter) {
                refusals.push(refusal);
            }
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let mut built = Vec::new();
        for vm in 0..blueprint.vms.len() {
            match blueprint.build_vm(vm) {
                Ok(instance) => built.push(instance),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let known: Vec<usize> = blueprint.vms.iter().map(|vm| vm.plugins.len()).collect();
        blueprint.add_route_configurations(&built);
        for (number, instance) in built.into_iter().enumerate() {
            // An instance that met more configurations after it was built is not the one a worker would get.
            let grew = blueprint.vms.get(number).is_some_and(|vm| known.get(number) != Some(&vm.plugins.len()));
            let routed = instance.routes.iter().any(|route| !route.action.filters.is_empty());
            if grew {
                if let Err(refusal) = blueprint.build_vm(number) {
                    refusals.push(refusal);
                }
            } else if !routed {
                blueprint.keep_spare(number, instance);
            }
        }
        if refusals.is_empty() { Ok(blueprint) } else { Err(refusals) }
    }

    /// What chains need to know of a filter.
    #[must_use]
    pub fn facts(&self, filter: &str) -> Option<FilterFacts> {
        let (vm, index) = *self.filters.get(filter)?;
        let plan = self.vms.get(vm)?;
        let settings = Arc::clone(&plan.plugins.get(index)?.settings);
        let exported = plan.module.callbacks();
        let callbacks = match &settings.callbacks {
            None => exported,
            Some(names) => {
                let mut wanted = CallbackSet::default();
                for name in names {
                    if let Some(callback) = fyke_engine::Callback::from_name(name) {
                        wanted.insert(callback);
                    }
                }
                exported.intersect(wanted)
            }
        };
        Some(FilterFacts {
            vm,
            index,
            callbacks,
            edits_bodies: plan.module.imports().iter().any(|name| name == "proxy_set_buffer_bytes"),
            hash: plan.module.hash().to_owned(),
            abi: plan.module.abi().to_string(),
            settings,
        })
    }

    /// Number of VMs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.vms.len()
    }

    /// Whether there is no VM.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vms.is_empty()
    }

    /// Name and shared-data scope of a VM.
    #[must_use]
    pub fn describe(&self, vm: usize) -> Option<(&str, Arc<shared::Scope>)> {
        let plan = self.vms.get(vm)?;
        Some((&plan.name, self.surroundings.shared.scope(&plan.name)))
    }

    /// An instance for a worker.
    ///
    /// # Errors
    /// What went wrong, for the log.
    pub fn build(&self, vm: usize) -> Result<Built, String> {
        if let Ok(mut spares) = self.spares.lock()
            && let Some(built) = spares.remove(&vm)
        {
            return Ok(built);
        }
        self.build_vm(vm).map_err(|refusal| format!("filter \"{}\": {}", refusal.filter, refusal.message))
    }

    fn keep_spare(&self, vm: usize, built: Built) {
        if let Ok(mut spares) = self.spares.lock() {
            spares.insert(vm, built);
        }
    }

    fn add(&mut self, filter: &Arc<resolved::Filter>) -> Result<(), Refusal> {
        let refuse = |message: String, help: Option<String>| Refusal {
            filter: filter.name.clone(),
            origin: filter.locations.paths.get("module").cloned().unwrap_or_else(|| filter.origin.clone()),
            message,
            help,
        };
        let bytes =
            source::read(&filter.module, filter.sha256.as_deref()).map_err(|error| refuse(error.to_string(), None))?;
        let module = self.surroundings.engine.compile(&bytes).map_err(|error| refuse(error.to_string(), None))?;
        let plugin = PluginConfiguration { settings: Arc::clone(filter), configuration: filter.configuration.clone() };
        let vm_name = filter.vm.clone();
        let shared = vm_name.as_ref().and_then(|name| {
            self.vms.iter().position(|vm| {
                &vm.name == name
                    && vm.module.hash() == module.hash()
                    && vm.plugins.iter().any(|plugin| plugin.settings.vm.as_ref() == Some(name))
            })
        });
        let number = if let Some(number) = shared {
            if let Some(vm) = self.vms.get(number)
                && (vm.options.memory != filter.limits.memory
                    || vm.options.call_time != filter.limits.call_time
                    || vm.options.environment != filter.environment)
            {
                return Err(refuse(
                    format!(
                        "it shares the VM \"{}\" with another filter, but their limits or environment differ",
                        vm.name
                    ),
                    Some("give both the same `limits` and `environment`, or name different VMs".to_owned()),
                ));
            }
            number
        } else {
            self.vms.push(VmPlan {
                name: vm_name.unwrap_or_else(|| filter.name.clone()),
                module,
                options: InstanceOptions {
                    memory: filter.limits.memory,
                    call_time: filter.limits.call_time,
                    configure_time: filter.limits.configure_time,
                    environment: filter.environment.clone(),
                    ..InstanceOptions::default()
                },
                plugins: Vec::new(),
            });
            self.vms.len() - 1
        };
        if let Some(vm) = self.vms.get_mut(number) {
            self.filters.insert(filter.name.clone(), (number, vm.plugins.len()));
            vm.plugins.push(plugin);
        }
        Ok(())
    }

    /// Collects what routes say to other filters, and gives each distinct configuration a number in its VM.
    fn add_route_configurations(&mut self, built: &[Built]) {
        let mut seen = HashSet::new();
        for instance in built {
            for route in &instance.routes {
                for (filter, configuration) in &route.action.filters {
                    let text = handed_over(configuration);
                    if !seen.insert((filter.clone(), text.clone())) {
                        continue;
                    }
                    let Some((vm, index)) = self.filters.get(filter).copied() else {
                        continue; // Refused when the route was defined.
                    };
                    let Some(plan) = self.vms.get_mut(vm) else { continue };
                    let Some(settings) = plan.plugins.get(index).map(|plugin| Arc::clone(&plugin.settings)) else {
                        continue;
                    };
                    plan.plugins.push(PluginConfiguration { settings, configuration: text.into_bytes() });
                }
            }
        }
    }

    /// The number of the configuration that a route carries for a filter.
    fn number_of(&self, filter: &str, configuration: &serde_json::Value) -> Option<usize> {
        let (vm, _) = self.filters.get(filter)?;
        let text = handed_over(configuration).into_bytes();
        let plan = self.vms.get(*vm)?;
        plan.plugins.iter().position(|plugin| plugin.settings.name == filter && plugin.configuration == text)
    }

    fn build_vm(&self, number: usize) -> Result<Built, Refusal> {
        let Some(plan) = self.vms.get(number) else {
            return Err(Refusal {
                filter: String::new(),
                origin: Origin::default(),
                message: "no such VM".to_owned(),
                help: None,
            });
        };
        let mut host = Configuring::new(&self.surroundings, plan, &self.filters);
        let refuse = |settings: &resolved::Filter, message: String| Refusal {
            filter: settings.name.clone(),
            origin: settings.origin.clone(),
            message,
            help: None,
        };
        let first = plan.plugins.first().map(|plugin| Arc::clone(&plugin.settings));
        let Some(first) = first else {
            return Err(Refusal {
                filter: plan.name.clone(),
                origin: Origin::default(),
                message: "no filter uses this VM".to_owned(),
                help: None,
            });
        };
        host.settings = Some(Arc::clone(&first));
        let mut instance =
            Instance::new(&plan.module, &plan.options, &mut host).map_err(|error| refuse(&first, error.to_string()))?;
        let mut roots = Vec::with_capacity(plan.plugins.len());
        for (index, plugin) in plan.plugins.iter().enumerate() {
            host.settings = Some(Arc::clone(&plugin.settings));
            host.refusal = None;
            host.last_error = None;
            host.denied = None;
            match instance.configure_root(&mut host, &plugin.configuration) {
                Ok(root) => {
                    roots.push((root, Arc::clone(&plugin.settings)));
                }
                Err(error) => return Err(host.explain(plugin, index, &error)),
            }
        }
        let routes = host
            .routes
            .into_iter()
            .map(|action| Route {
                plugins: action
                    .filters
                    .iter()
                    .filter_map(|(filter, configuration)| {
                        Some((filter.clone(), self.number_of(filter, configuration)?))
                    })
                    .collect(),
                action: Arc::new(action),
            })
            .collect();
        Ok(Built {
            instance,
            roots,
            routes,
            sinks: host.sinks,
            ticks: host.ticks,
            calls: host.calls,
            next_token: host.next_token,
        })
    }
}

/// The engine's host while an instance is built: no streams, no sockets; what is asked for is remembered.
struct Configuring<'a> {
    surroundings: &'a Surroundings,
    filters: &'a BTreeMap<String, (usize, usize)>,
    scope: Arc<shared::Scope>,
    settings: Option<Arc<resolved::Filter>>,
    routes: Vec<RouteAction>,
    sinks: Vec<SinkHandle>,
    ticks: Vec<(ContextId, Duration)>,
    calls: Vec<PendingCall>,
    next_token: u32,
    refusal: Option<(String, String)>,
    last_error: Option<String>,
    /// Why the host said no to a route or a sink, until it says yes again.
    denied: Option<String>,
    started: std::time::Instant,
}

impl<'a> Configuring<'a> {
    fn new(surroundings: &'a Surroundings, plan: &VmPlan, filters: &'a BTreeMap<String, (usize, usize)>) -> Self {
        Self {
            surroundings,
            filters,
            scope: surroundings.shared.scope(&plan.name),
            settings: None,
            routes: Vec::new(),
            sinks: Vec::new(),
            ticks: Vec::new(),
            calls: Vec::new(),
            next_token: 1,
            refusal: None,
            last_error: None,
            denied: None,
            started: std::time::Instant::now(),
        }
    }

    fn define(&mut self, args: &[u8]) -> Result<u32, String> {
        let action: RouteAction = serde_json::from_slice(args).map_err(|error| error.to_string())?;
        let config = &self.surroundings.config;
        let clusters = action.cluster.iter().chain(action.weighted_clusters.iter().map(|choice| &choice.cluster));
        for cluster in clusters {
            if !config.clusters.contains_key(cluster) {
                return Err(unknown("cluster", cluster, config.clusters.keys()));
            }
        }
        if action.cluster.is_some() && !action.weighted_clusters.is_empty() {
            return Err("a route has either `cluster` or `weighted_clusters`".to_owned());
        }
        if !action.weighted_clusters.is_empty() && action.weighted_clusters.iter().all(|choice| choice.weight == 0) {
            return Err("the weights of a route must not all be 0".to_owned());
        }
        for filter in action.filters.keys() {
            if !self.filters.contains_key(filter) {
                return Err(unknown("filter", filter, self.filters.keys()));
            }
        }
        let handle = u32::try_from(self.routes.len()).map_err(|error| error.to_string())?;
        self.routes.push(action);
        Ok(handle)
    }

    fn explain(&self, plugin: &PluginConfiguration, index: usize, error: &ConfigureError) -> Refusal {
        let settings = &plugin.settings;
        let own = self.filters.get(&settings.name).is_some_and(|(_, number)| *number == index);
        let (path, message) = match (&self.refusal, &self.last_error) {
            (Some((path, message)), _) => (path.clone(), message.clone()),
            (None, Some(message)) => (String::new(), format!("it refused its configuration: {message}")),
            (None, None) => (String::new(), error.to_string()),
        };
        let origin =
            if own { nearest(&settings.locations, &path) } else { None }.unwrap_or_else(|| settings.origin.clone());
        let message = if own { message } else { format!("configuration carried by a route: {message}") };
        let message = if path.is_empty() { message } else { format!("config.{path}: {message}") };
        Refusal { filter: settings.name.clone(), origin, message, help: None }
    }
}

/// What a filter is given of a configuration: text as it is, anything else as JSON.
fn handed_over(configuration: &serde_json::Value) -> String {
    configuration.as_str().map_or_else(|| configuration.to_string(), str::to_owned)
}

/// The place of a path, or of the nearest part around it that has one.
fn nearest(locations: &resolved::Locations, path: &str) -> Option<Origin> {
    let mut path = path;
    loop {
        if let Some(origin) = locations.paths.get(path) {
            return Some(origin.clone());
        }
        if path.is_empty() {
            return None;
        }
        path = path.rfind(['.', '[']).and_then(|end| path.get(..end)).unwrap_or_default();
    }
}

fn unknown<'k>(kind: &str, name: &str, known: impl Iterator<Item = &'k String>) -> String {
    let near = known
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.len() / 4);
    match near {
        Some((_, near)) => format!("there is no {kind} \"{name}\"; did you mean \"{near}\"?"),
        None => format!("there is no {kind} \"{name}\""),
    }
}

impl Host for Configuring<'_> {
    fn log(&mut self, _cx: ContextId, level: LogLevel, message: &[u8]) {
        if level >= LogLevel::Error {
            self.last_error = Some(String::from_utf8_lossy(message).into_owned());
        }
        let name = self.settings.as_ref().map_or("", |settings| settings.name.as_str());
        // A refusal is reported with its place; saying it twice helps nobody.
        let level = if level >= LogLevel::Error { LogLevel::Debug } else { level };
        call::log(name, level, message);
    }

    fn log_level(&self) -> LogLevel {
        call::log_level()
    }

    fn now(&self) -> u64 {
        call::now()
    }

    fn monotonic(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn random(&mut self, out: &mut [u8]) {
        call::random(out);
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
        let request = call::callout_request(self.settings.as_ref().map(|settings| &settings.allow), &call)?;
        let token = self.next_token;
        self.next_token += 1;
        self.calls.push(PendingCall { root: cx, token, request });
        Ok(token)
    }

    fn shared_data(&mut self, _cx: ContextId, key: &[u8], out: &mut Vec<u8>) -> SharedData {
        call::read_shared(&self.scope, self.settings.as_deref(), key, out)
    }

    fn set_shared_data(&mut self, _cx: ContextId, key: &[u8], value: &[u8], cas: u32) -> Status {
        call::write_shared(&self.scope, self.settings.as_deref(), key, value, cas)
    }

    fn define_metric(&mut self, _cx: ContextId, kind: MetricKind, name: &[u8]) -> Result<u32, Status> {
        let owner = self.settings.as_ref().map_or("", |settings| settings.name.as_str());
        Ok(foreign::define_metric(&self.surroundings.registry, owner, kind, name))
    }

    fn record_metric(&mut self, _cx: ContextId, metric: u32, value: u64) -> Status {
        foreign::metric_status(self.surroundings.registry.filter_metrics().record(metric, value))
    }

    fn increment_metric(&mut self, _cx: ContextId, metric: u32, delta: i64) -> Status {
        foreign::metric_status(self.surroundings.registry.filter_metrics().increment(metric, delta))
    }

    fn metric(&mut self, _cx: ContextId, metric: u32) -> Result<u64, Status> {
        self.surroundings.registry.filter_metrics().value_of(metric).map_err(|error| foreign::metric_status(Err(error)))
    }

    fn property(&mut self, _cx: ContextId, path: &[u8], out: &mut Vec<u8>) -> Status {
        let found = properties::of_plugin(path, self.settings.as_deref(), &self.surroundings.config.node, out);
        if found { Status::Ok } else { Status::NotFound }
    }

    fn set_property(&mut self, _cx: ContextId, _path: &[u8], _value: &[u8]) {}

    fn foreign_function(&mut self, _cx: ContextId, name: &[u8], args: &[u8], out: &mut Vec<u8>) -> Status {
        match name {
            b"fyke.route.define.v1" => match self.define(args) {
                Ok(handle) => {
                    self.denied = None;
                    out.extend_from_slice(&handle.to_le_bytes());
                    Status::Ok
                }
                Err(message) => {
                    self.last_error = Some(message.clone());
                    self.denied = Some(message);
                    Status::BadArgument
                }
            },
            b"fyke.log.open.v1" => {
                let name = String::from_utf8_lossy(args);
                let Some(sink) = self.surroundings.sinks.handle(&name) else {
                    let message = unknown("sink", &name, self.surroundings.config.sinks.keys());
                    self.last_error = Some(message.clone());
                    self.denied = Some(message);
                    return Status::BadArgument;
                };
                out.extend_from_slice(&u32::try_from(self.sinks.len()).unwrap_or(u32::MAX).to_le_bytes());
                self.sinks.push(sink);
                Status::Ok
            }
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
            b"fyke.features.v1" => {
                foreign::list(out, foreign::FEATURES.iter().map(|name| name.as_bytes()));
                Status::Ok
            }
            b"clear_route_cache" => Status::Ok,
            b"fyke.route.select.v1" | b"fyke.log.write.v1" | b"fyke.headers.values.v1" => Status::BadArgument,
            _ => Status::NotFound,
        }
    }
}
