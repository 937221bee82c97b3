//! Which VMs a generation has, and which filters and configurations live in each.

use std::{collections::HashSet, sync::Arc};

use fyke_engine::{CallbackSet, InstanceOptions, Module};

use super::{
    build::{Blueprint, Built, Refusal, Surroundings},
    configuring::handed_over,
    manifest::Manifest,
    panels::Panel,
    route::RouteAction,
    schema::Mistake,
    source::Wanted,
};
use crate::{
    config::resolved::{self, Isolation, canary_name},
    telemetry::names,
};

/// One configuration of one filter: a plugin context.
#[derive(Debug, Clone)]
pub(super) struct PluginConfiguration {
    pub(super) settings: Arc<resolved::Filter>,
    pub(super) configuration: Vec<u8>,
}

/// One VM of a generation.
#[derive(Clone)]
pub(super) struct VmPlan {
    pub(super) name: String,
    pub(super) module: Module,
    pub(super) manifest: Manifest,
    /// Charts of its metrics.
    pub(super) panels: Arc<[Panel]>,
    pub(super) options: InstanceOptions,
    pub(super) plugins: Vec<PluginConfiguration>,
    /// Its routes carry configurations of other filters, by their numbers.
    pub(super) routed: bool,
}

impl VmPlan {
    /// Instances at a time, where every stream has one of its own.
    pub(super) fn copies(&self) -> Option<usize> {
        let settings = &self.plugins.first()?.settings;
        (settings.isolation == Isolation::Stream).then_some(settings.limits.instances)
    }

    /// Key of its shared data: a canary's is its filter's. A filter is never in the scope of a VM that happens to be called like it.
    pub(super) fn scope(&self) -> String {
        match self.plugins.first().map(|plugin| &plugin.settings) {
            Some(settings) => match &settings.vm {
                Some(vm) => format!("vm:{vm}"),
                None => format!("filter:{}", settings.plain_name()),
            },
            None => format!("filter:{}", self.name),
        }
    }
}

/// The callbacks that `callbacks:` names. `None`: all that there are.
pub(super) fn wanted(settings: &resolved::Filter) -> Option<CallbackSet> {
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

/// A filter whose charts are wrong serves all the same. `fyke filter check` refuses it.
fn panels(filter: &resolved::Filter, manifest: &Manifest) -> Arc<[Panel]> {
    manifest.panels().map_or_else(
        |why| {
            tracing::warn!(
                filter = filter.name,
                "the module's panels (custom section fyke.manifest) are left out: {why}"
            );
            Arc::default()
        },
        Into::into,
    )
}

/// A filter's name, and its canary's.
fn versions(filter: &str) -> [String; 2] {
    [filter.to_owned(), canary_name(filter)]
}

impl Blueprint {
    pub(super) fn add(&mut self, filter: &Arc<resolved::Filter>) -> Result<(), Vec<Refusal>> {
        let refuse = |message: String, help: Option<String>| {
            vec![Refusal {
                filter: filter.name.clone(),
                origin: filter.module_origin.clone(),
                path: Box::default(),
                message,
                help,
            }]
        };
        let Surroundings { modules, registry, .. } = &self.surroundings;
        let wanted_module =
            Wanted { source: &filter.module, sha256: filter.sha256.as_deref(), signed_by: &filter.signed_by };
        let read = modules.read(&wanted_module).map_err(|error| {
            let labels = [("filter", filter.name.as_str()), ("reason", error.label())];
            registry.counter(&names::FILTER_MODULE_FAILURES, &labels).inc();
            refuse(error.to_string(), None)
        })?;
        if let Some(why) = &read.fallback {
            let labels = [("filter", filter.name.as_str()), ("reason", "last_good")];
            registry.counter(&names::FILTER_MODULE_FAILURES, &labels).inc();
            tracing::warn!(filter = filter.name, "the last good copy of {} stands in: {why}", filter.module);
        }
        let bytes = read.bytes;
        let engine = &self.surroundings.engine;
        let compiled = match filter.isolation {
            Isolation::Worker => engine.compile(&bytes),
            Isolation::Stream => engine.compile_for_images(&bytes),
        };
        let module = compiled.map_err(|error| refuse(error.to_string(), None))?;
        let manifest = Manifest::of(&module);
        let mistakes = manifest.mistakes(&filter.configuration);
        if !mistakes.is_empty() {
            return Err(mistakes.into_iter().map(|mistake| mistaken(filter, &mistake)).collect());
        }
        let plugin = PluginConfiguration { settings: Arc::clone(filter), configuration: filter.configuration.clone() };
        // A canary shares an instance with nobody: it is on trial.
        let vm_name = filter.vm.clone().filter(|_| !filter.is_canary());
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
                panels: panels(filter, &manifest),
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
    pub(super) fn add_route_configurations(&mut self, built: &[Built]) {
        let mut seen = HashSet::new();
        for instance in built {
            for route in &instance.routes {
                for (filter, configuration) in &route.action.filters {
                    let text = handed_over(configuration);
                    if !seen.insert((filter.clone(), text.clone())) {
                        continue;
                    }
                    // A name that nothing has was refused when the route was defined.
                    for version in versions(filter) {
                        let Some((vm, index)) = self.filters.get(&version).copied() else { continue };
                        let Some(plan) = self.vms.get_mut(vm) else { continue };
                        let Some(settings) = plan.plugins.get(index).map(|plugin| Arc::clone(&plugin.settings)) else {
                            continue;
                        };
                        plan.plugins.push(PluginConfiguration { settings, configuration: text.clone().into_bytes() });
                    }
                }
            }
        }
    }

    /// For each filter that a route configures, and its canary, the number of that configuration in its VM.
    pub(super) fn numbers_of(&self, action: &RouteAction) -> Vec<(String, usize)> {
        let each = action.filters.iter().flat_map(|(filter, configuration)| {
            versions(filter).into_iter().map(move |version| (version, configuration))
        });
        each.filter_map(|(version, configuration)| {
            let number = self.number_of(&version, configuration)?;
            Some((version, number))
        })
        .collect()
    }

    /// The number of the configuration that a route carries for a filter.
    fn number_of(&self, filter: &str, configuration: &serde_json::Value) -> Option<usize> {
        let (vm, _) = self.filters.get(filter)?;
        let text = handed_over(configuration).into_bytes();
        let plan = self.vms.get(*vm)?;
        plan.plugins.iter().position(|plugin| plugin.settings.name == filter && plugin.configuration == text)
    }
}
