//! Configuration of other filters that a route, a virtual host or the whole table has.

use serde_json::{Map, Value};

use super::Surroundings;
use crate::{
    reader::Reader,
    translate::{context::Context, http::per_route, on_demand},
};

pub(in crate::translate) use per_route::PerRoute;

/// A route with what is around it.
pub(in crate::translate) struct Layers<'r, 'a> {
    pub table: &'r Reader<'a>,
    pub host: &'r Reader<'a>,
    /// `None`: the virtual host itself is looked at.
    pub route: Option<&'r Reader<'a>>,
    pub action: Option<&'r Reader<'a>>,
    /// One of the clusters among which the route chooses.
    pub cluster: Option<&'r Reader<'a>>,
}

impl<'a> Layers<'_, 'a> {
    /// What the layers say about a filter of this name in Envoy, the least specific first.
    pub fn configs(&self, name: &str) -> Vec<Reader<'a>> {
        let layers = [Some(self.table), Some(self.host), self.route, self.cluster];
        layers.into_iter().flatten().filter_map(|layer| typed(layer, name)).collect()
    }

    /// Whether the innermost layer says something about it; otherwise what is around it counts.
    pub fn is_said(&self, name: &str) -> bool {
        let says = |reader: &Reader<'a>| typed_names(reader).contains(&name);
        match self.cluster.or(self.route) {
            Some(innermost) => says(innermost),
            None => says(self.host) || says(self.table),
        }
    }

    /// The route's name, or its place, for what has to be told from others.
    pub fn label(&self) -> String {
        let reader = self.route.unwrap_or(self.host);
        let place = reader.place().location();
        let way = place.resource.rsplit_once("virtual_hosts").map_or("", |(_, way)| way).to_owned();
        let numbers: Vec<&str> = way.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
        numbers.join("-")
    }
}

fn typed_names<'a>(reader: &Reader<'a>) -> Vec<&'a str> {
    reader.entries("typed_per_filter_config").into_iter().map(|(name, _)| name).collect()
}

fn typed<'a>(reader: &Reader<'a>, wanted: &str) -> Option<Reader<'a>> {
    reader.message_map("typed_per_filter_config").into_iter().fold(None, |found, (name, config)| {
        if name == wanted {
            return Some(config);
        }
        // Whoever it is for reads it.
        config.leave();
        found
    })
}

/// `filters:` of a virtual host or a route.
pub(super) fn translate(context: &Context<'_>, around: &Surroundings, layers: &Layers<'_, '_>) -> Map<String, Value> {
    let mut configured = Map::new();
    for filter in &around.filters {
        if let Some(config) = filter.translate(context, layers) {
            configured.insert(filter.name.clone(), config);
        }
    }
    unknown(context, around, layers);
    configured
}

/// Configurations of filters that are not there, or that know none for a route.
fn unknown(context: &Context<'_>, around: &Surroundings, layers: &Layers<'_, '_>) {
    let own = layers.cluster.or(layers.route).unwrap_or(layers.host);
    // The table's are looked at with each virtual host, not with each route.
    let table = layers.route.is_none().then_some(layers.table);
    for reader in std::iter::once(own).chain(table) {
        for (name, config) in reader.message_map("typed_per_filter_config") {
            if on_demand::per_route(context, &config) {
                continue;
            }
            let known = around.filters.iter().any(|filter| filter.envoy_name == name);
            if known || around.unknown {
                config.leave();
            } else {
                config.refuse_whole(format!("no filter {name:?} takes a configuration for a route"));
            }
        }
    }
}

/// `tracing` and `decorator` of a route, for the filter that continues traces.
pub(super) fn tracing(around: &Surroundings, route: &Reader<'_>, configured: &mut Map<String, Value>) {
    let tracer = around.filters.iter().find_map(|filter| filter.tracing().map(|base| (filter, base)));
    let (tracing, decorator) = (route.message("tracing"), route.message("decorator"));
    let Some((filter, base)) = tracer else {
        for reader in [tracing, decorator].into_iter().flatten() {
            if around.unknown {
                reader.leave();
            } else {
                reader.ignore_whole("nothing is traced: the connection manager has no tracing");
            }
        }
        return;
    };
    if tracing.is_none() && decorator.is_none() {
        return;
    }
    let config = per_route::traced(base, tracing.as_ref(), decorator.as_ref());
    configured.insert(filter.name.clone(), config);
}

/// Says of a route's `rate_limits` and `cors` that nobody takes them, where nobody does.
pub(super) fn leftovers(around: &Surroundings, action: &Reader<'_>) {
    let limits = around.unknown || around.filters.iter().any(PerRoute::limits_rates);
    if limits {
        action.raw("rate_limits");
        action.raw("include_vh_rate_limits");
    } else {
        action.ignore("rate_limits", "no filter of the connection manager limits rates");
        action.raw("include_vh_rate_limits");
    }
    if around.unknown || around.filters.iter().any(PerRoute::answers_preflights) {
        action.raw("cors");
    } else {
        action.ignore("cors", "the connection manager has no filter envoy.filters.http.cors");
    }
}
