//! Which VMs of a generation can go on in the next one: those that would be built the same again.

use super::{build::Blueprint, plan::VmPlan};
use crate::config::{fingerprint::Fingerprint, resolved::ClusterProtocol};

impl VmPlan {
    /// Whether an instance of one is as good as one of the other.
    fn is_same(&self, other: &Self) -> bool {
        let plugins = self.plugins.iter().zip(&other.plugins);
        self.name == other.name
            && self.scope() == other.scope()
            && self.module.hash() == other.module.hash()
            && self.options.callbacks == other.options.callbacks
            && self.plugins.len() == other.plugins.len()
            && plugins.into_iter().all(|(one, other)| {
                one.settings.of_instance == other.settings.of_instance && one.configuration == other.configuration
            })
    }
}

impl Blueprint {
    /// For each VM the number of the one in `old` that can go on in its place, because nothing that it has seen has changed.
    #[must_use]
    pub fn kept_of(&self, old: &Self) -> Vec<Option<usize>> {
        if self.world() != old.world() {
            return vec![None; self.vms.len()];
        }
        let numbered = |blueprint: &Self| -> Vec<(String, Vec<u8>)> {
            let plugins = blueprint.vms.iter().flat_map(|vm| &vm.plugins);
            plugins.map(|plugin| (plugin.settings.name.clone(), plugin.configuration.clone())).collect()
        };
        let same_numbers = numbered(self) == numbered(old);
        let same = |vm: &VmPlan| old.vms.iter().position(|known| vm.is_same(known));
        self.vms.iter().map(|vm| same(vm).filter(|_| same_numbers || !vm.routed)).collect()
    }

    /// Whether nothing at all is different from `old`.
    #[must_use]
    pub fn is_same(&self, old: &Self) -> bool {
        let kept = self.kept_of(old);
        self.vms.len() == old.vms.len() && kept.iter().enumerate().all(|(number, kept)| *kept == Some(number))
    }

    /// What filters may ask about while they are configured.
    fn world(&self) -> Fingerprint {
        let config = &self.surroundings.config;
        let clusters = config.clusters.values().flat_map(|cluster| {
            let kind: &[u8] = if cluster.protocol == ClusterProtocol::Tcp { b"tcp" } else { b"http" };
            [cluster.name.as_bytes(), kind]
        });
        let filters = config.filters.keys().map(String::as_bytes);
        Fingerprint::of(std::iter::once(config.rest.bytes()).chain(clusters).chain([&b""[..]]).chain(filters))
    }
}
