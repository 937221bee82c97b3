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

use fyke_engine::{CallbackSet, ContextId, Engine, Instance, InstanceOptions, Module};

use super::{
    configuring::{Configuring, handed_over},
    manifest::Manifest,
    pending::Pending,
    route::Route,
    schema::Mistake,
    source,
    vm::Root,
};
use crate::{
    config::resolved::{self, HeadersPause, Origin},
    shared,
    telemetry::{Registry, SinkHandle, Sinks, labelled::Family},
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
    pub roots: Vec<Root>,
    /// Routes by handle.
    pub routes: Vec<Route>,
    /// Sinks by handle.
    pub sinks: Vec<SinkHandle>,
    /// Metrics with labels, by handle.
    pub metrics: Vec<Arc<Family>>,
    /// Timers that were asked for.
    pub ticks: Vec<(ContextId, Duration)>,
    /// Queues that it wants to hear of.
    pub queues: Vec<(ContextId, u32)>,
    /// Callouts that were asked for.
    pub pending: Pending,
}

/// A filter that could not be loaded or was refused.
#[derive(Debug)]
pub struct Refusal {
    /// The filter.
    pub filter: String,
    /// Where in the configuration.
    pub origin: Origin,
    /// Which part of the filter's own configuration; empty: none, or all of it.
    pub path: Box<str>,
    /// What went wrong.
    pub message: String,
    /// What to try.
    pub help: Option<String>,
}

/// One configuration of one filter: a plugin context.
#[derive(Debug, Clone)]
pub(super) struct PluginConfiguration {
    pub(super) settings: Arc<resolved::Filter>,
    pub(super) configuration: Vec<u8>,
}

/// One VM of a generation.
pub(super) struct VmPlan {
    pub(super) name: String,
    pub(super) module: Module,
    manifest: Manifest,
    pub(super) options: InstanceOptions,
    pub(super) plugins: Vec<PluginConfiguration>,
    /// Its routes carry configurations of other filters, by their numbers.
    pub(super) routed: bool,
}

impl VmPlan {
    /// Key of its shared data. A filter is never in the scope of a VM that happens to be called like it.
    pub(super) fn scope(&self) -> String {
        let kind = if self.plugins.iter().any(|plugin| plugin.settings.vm.is_some()) { "vm" } else { "filter" };
        format!("{kind}:{}", self.name)
    }
}

/// The callbacks that `callbacks:` names. `None`: all that there are.
fn wanted(settings: &resolved::Filter) -> Option<CallbackSet> {
    let names = settings.callbacks.as_ref()?;
    Some(names.iter().filter_map(|name| fyke_engine::Callback::from_name(name)).collect())
}

/// A mistake that the manifest's schema finds, at its place.
fn mistaken(filter: &resolved::Filter, mistake: &Mistake) -> Refusal {
    let path = resolved::Locations::path_of(&mistake.pointer);
    Refusal {
        filter: filter.name.clone(),
        origin: filter.locations.nearest(&path).unwrap_or(&filter.origin).clone(),
        message: match path.as_str() {
            "" => format!("config: {}", mistake.message),
            path => format!("config.{path}: {}", mistake.message),
        },
        path: path.into(),
        help: None,
    }
}

/// All VMs of a generation.
pub struct Blueprint {
    pub(super) surroundings: Surroundings,
    pub(super) vms: Vec<VmPlan>,
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
    /// What PAUSE from a headers callback means.
    pub headers_pause: HeadersPause,
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
            if let Err(refused) = blueprint.add(&filter) {
                refusals.extend(refused);
            }
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let mut built = Vec::new();
        for vm in 0..blueprint.vms.len() {
            match blueprint.build_vm(vm) {
                Ok(instance) => built.push(instance),
                Err(refusal) => refusals.push(*refusal),
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
            if let Some(plan) = blueprint.vms.get_mut(number) {
                plan.routed = routed;
            }
            if grew {
                match blueprint.build_vm(number) {
                    Ok(instance) => blueprint.keep_spare(number, instance),
                    Err(refusal) => refusals.push(*refusal),
                }
            } else if !routed {
                blueprint.keep_spare(number, instance);
            }
        }
        if refusals.is_empty() { Ok(blueprint) } else { Err(refusals) }
    }

    /// Lets instances go that were made while this was checked and that nobody has asked for.
    pub fn forget_spares(&self) {
        let spares = self.spares.lock().map(|mut spares| std::mem::take(&mut *spares));
        drop(spares);
    }

    /// What chains need to know of a filter.
    #[must_use]
    pub fn facts(&self, filter: &str) -> Option<FilterFacts> {
        let (vm, index) = *self.filters.get(filter)?;
        let plan = self.vms.get(vm)?;
        let settings = Arc::clone(&plan.plugins.get(index)?.settings);
        let exported = plan.module.callbacks();
        let callbacks = wanted(&settings).map_or(exported, |wanted| exported.intersect(wanted));
        Some(FilterFacts {
            vm,
            index,
            callbacks,
            edits_bodies: plan.module.imports().iter().any(|name| name == "proxy_set_buffer_bytes"),
            headers_pause: settings.headers_pause.unwrap_or_else(|| plan.manifest.headers_pause()),
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
        Some((&plan.name, self.surroundings.shared.scope(&plan.scope())))
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

    fn add(&mut self, filter: &Arc<resolved::Filter>) -> Result<(), Vec<Refusal>> {
        let refuse = |message: String, help: Option<String>| {
            vec![Refusal {
                filter: filter.name.clone(),
                origin: filter.module_origin.clone(),
                path: Box::default(),
                message,
                help,
            }]
        };
        let bytes =
            source::read(&filter.module, filter.sha256.as_deref()).map_err(|error| refuse(error.to_string(), None))?;
        let module = self.surroundings.engine.compile(&bytes).map_err(|error| refuse(error.to_string(), None))?;
        let manifest = Manifest::of(&module);
        let mistakes = manifest.mistakes(&filter.configuration);
        if !mistakes.is_empty() {
            return Err(mistakes.into_iter().map(|mistake| mistaken(filter, &mistake)).collect());
        }
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
                manifest,
                options: InstanceOptions {
                    memory: filter.limits.memory,
                    call_time: filter.limits.call_time,
                    configure_time: filter.limits.configure_time,
                    environment: filter.environment.clone(),
                    ..InstanceOptions::default()
                },
                plugins: Vec::new(),
                routed: false,
            });
            self.vms.len() - 1
        };
        if let Some(vm) = self.vms.get_mut(number) {
            // An instance that several filters share is called for what any of them wants.
            vm.options.callbacks = match (vm.plugins.is_empty(), vm.options.callbacks, wanted(filter)) {
                (true, _, wanted) => wanted,
                (false, Some(others), Some(wanted)) => Some(others.union(wanted)),
                (false, ..) => None,
            };
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

    fn build_vm(&self, number: usize) -> Result<Built, Box<Refusal>> {
        let Some(plan) = self.vms.get(number) else {
            return Err(Box::new(Refusal {
                filter: String::new(),
                origin: Origin::default(),
                path: Box::default(),
                message: "no such VM".to_owned(),
                help: None,
            }));
        };
        let mut host = Configuring::new(&self.surroundings, plan, &self.filters);
        let refuse = |settings: &resolved::Filter, message: String| {
            Box::new(Refusal {
                filter: settings.name.clone(),
                origin: settings.origin.clone(),
                path: Box::default(),
                message,
                help: None,
            })
        };
        let first = plan.plugins.first().map(|plugin| Arc::clone(&plugin.settings));
        let Some(first) = first else {
            return Err(Box::new(Refusal {
                filter: plan.name.clone(),
                origin: Origin::default(),
                path: Box::default(),
                message: "no filter uses this VM".to_owned(),
                help: None,
            }));
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
            host.skips = CallbackSet::EMPTY;
            match instance.configure_root(&mut host, &plugin.configuration) {
                Ok(context) => {
                    host.say_held();
                    roots.push(Root { context, settings: Arc::clone(&plugin.settings), skips: host.skips });
                }
                Err(error) => return Err(Box::new(host.explain(plugin, index, &error))),
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
            metrics: host.metrics,
            ticks: host.ticks,
            queues: host.queues,
            pending: host.pending,
        })
    }
}
