//! `register:`

use std::sync::Arc;

use fyke_registry::client::RegistrationSettings;

use super::{Resolver, place::Place};
use crate::config::{
    raw,
    resolved::{Register, RegisterLoad},
};

impl Resolver<'_, '_> {
    pub(super) fn register(&mut self, raw: &raw::Register, place: &Place<'_>) -> Option<Arc<Register>> {
        let mut path = |key: &str, path: &Option<String>| path.as_ref().map(|path| self.file(&place.key(key), path));
        let settings = RegistrationSettings {
            service: raw.service.clone(),
            address: raw.address.clone(),
            registry: raw.registry.clone(),
            token_file: path("token_file", &raw.token_file),
            revision: raw.revision.clone(),
            tags: raw.tags.clone(),
            ca: path("ca", &raw.ca),
            certificate: path("certificate", &raw.certificate),
            key: path("key", &raw.key),
        };
        if let Err(problem) = settings.check() {
            self.diagnostics.error(place.span, &place.path, format!("register cannot be: {problem}"));
            return None;
        }
        let written = serde_json::to_value(raw).unwrap_or_default();
        let load = match raw.load {
            None | Some(raw::RegisterLoad::Machine) => RegisterLoad::Machine,
            Some(raw::RegisterLoad::Group) => RegisterLoad::Group,
            Some(raw::RegisterLoad::None) => RegisterLoad::None,
        };
        Some(Arc::new(Register { settings, load, written }))
    }
}
