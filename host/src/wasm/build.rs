//! Builds configured instances on the control plane, before anything is swapped.
//!
//! A [`Blueprint`] holds all VMs of a generation. It is made in three steps: compile every module; configure one
//! instance of each VM, which tells the routes that filters define and with them the configurations that those routes
//! carry for other filters; check that those configurations are accepted. From then on [`Blueprint::build`] makes as
//! many instances of a VM as workers ask for, all with the same numbers for the same things.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use fyke_engine::{CallbackSet, ContextId, Engine, Image, Instance};

use super::{
    configuring::Configuring,
    panels::Panel,
    pending::Pending,
    plan::{VmPlan, wanted},
    route::Route,
    source::Fetcher,
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
    /// Reads modules.
    pub modules: Fetcher,
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
    /// What every stream has a copy of, where none shares the instance.
    pub copied: Option<Copied>,
}

/// A configured instance that every stream has a copy of.
#[derive(Debug, Clone)]
pub struct Copied {
    /// It.
    pub image: Image,
    /// Copies that are alive, of all workers.
    pub alive: Arc<AtomicUsize>,
    /// How many there may be.
    pub most: usize,
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

/// All VMs of a generation.
pub struct Blueprint {
    pub(super) surroundings: Surroundings,
    pub(super) vms: Vec<VmPlan>,
    /// Filter name to (VM, number of its own configuration).
    pub(super) filters: BTreeMap<String, (usize, usize)>,
    /// Instances made while the blueprint was checked, used before new ones are built.
    spares: Mutex<HashMap<usize, Built>>,
    /// By VM; one is for all workers.
    copied: Mutex<HashMap<usize, Copied>>,
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
    /// What its manifest calls it, and which version it says it is.
    pub version: (Option<String>, Option<String>),
    /// Charts of its metrics.
    pub panels: Arc<[Panel]>,
    /// Settings.
    pub settings: Arc<resolved::Filter>,
}

impl Blueprint {
    /// Loads, instantiates and configures every filter that a listener uses.
    ///
    /// # Errors
    /// All refusals together.
    pub fn new(surroundings: Surroundings) -> Result<Self, Vec<Refusal>> {
        let mut blueprint = Self {
            surroundings,
            vms: Vec::new(),
            filters: BTreeMap::new(),
            spares: Mutex::default(),
            copied: Mutex::default(),
        };
        let mut refusals = Vec::new();
        let filters = blueprint.surroundings.config.filters.values().flat_map(|filter| {
            let canary = filter.canary.as_ref().map(|canary| Arc::clone(&canary.version));
            std::iter::once(Arc::clone(filter)).chain(canary)
        });
        let filters: Vec<_> = filters.collect();
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

    /// The same filters without anything that one of them remembers: modules stay compiled, and every instance will be a new one.
    #[must_use]
    pub fn afresh(&self, registry: Registry, sinks: Arc<Sinks>) -> Self {
        let shared = Arc::default();
        Self {
            surroundings: Surroundings { registry, shared, sinks, ..self.surroundings.clone() },
            vms: self.vms.clone(),
            filters: self.filters.clone(),
            spares: Mutex::default(),
            copied: Mutex::default(),
        }
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
            version: plan.manifest.name_and_version(),
            panels: Arc::clone(&plan.panels),
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
            .map(|action| Route { plugins: self.numbers_of(&action), action: Arc::new(action) })
            .collect();
        Ok(Built {
            roots,
            routes,
            sinks: host.sinks,
            metrics: host.metrics,
            ticks: host.ticks,
            queues: host.queues,
            pending: host.pending,
            copied: match plan.copies() {
                Some(most) => {
                    let copied = self.copied(number, most, &mut instance);
                    Some(copied.map_err(|error| refuse(&first, error))?)
                }
                None => None,
            },
            instance,
        })
    }

    /// What streams have copies of: made of the first instance, the same for all others.
    fn copied(&self, vm: usize, most: usize, instance: &mut Instance) -> Result<Copied, String> {
        let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = copied.get(&vm) {
            return Ok(known.clone());
        }
        let image = instance.image(&self.surroundings.engine).map_err(|error| error.to_string())?;
        let made = Copied { image, alive: Arc::default(), most };
        copied.insert(vm, made.clone());
        Ok(made)
    }
}
