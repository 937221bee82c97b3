//! Where the configuration of a filter is: beside its name, or in a resource of its own (`ExtensionConfigSource`).

use super::{bootstrap, context::Context};
use crate::{
    place::{Place, ResourceKind},
    reader::Reader,
};

/// The configuration of a filter, wherever it is; `None`, with a finding: nowhere. `warming` looks at what is said of the time until it is there.
pub(super) fn configuration<'a>(
    context: &Context<'a>,
    filter: &Reader<'a>,
    name: &str,
    warming: impl FnOnce(&Reader<'a>),
) -> Option<Reader<'a>> {
    if let Some((_, config)) = filter.any("typed_config") {
        return Some(config);
    }
    let Some(discovery) = filter.message("config_discovery") else {
        filter.refuse_here("has no typed_config");
        return None;
    };
    if let Some(source) = discovery.message("config_source") {
        bootstrap::source(context, source);
    }
    discovery.texts("type_urls");
    warming(&discovery);
    if let Some(value) = context.resources.extensions.get(name) {
        if let Some(default) = discovery.message("default_config") {
            default.leave();
        }
        let place = Place::resource(ResourceKind::ExtensionConfiguration, name);
        return Reader::new(value, place, context.findings);
    }
    if let Some((_, default)) = discovery.any("default_config") {
        return Some(default);
    }
    if !context.alone {
        discovery.refuse_here(format!("extension configuration {name:?} is not here: a control plane has it"));
    }
    discovery.leave();
    None
}
