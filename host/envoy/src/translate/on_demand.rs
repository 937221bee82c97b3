//! Clusters that come when somebody needs one: `envoy.extensions.filters.http.on_demand.v3.OnDemand`, what routes say of it, and
//! `on_demand` of a TCP proxy.
//!
//! In Envoy a filter asks for them; here the proxy does, of the control plane whose `on_demand` says so, for all of its listeners.

use std::time::Duration;

use serde_json::Value;

use super::{bootstrap, context::Context};
use crate::{
    canonical::parse_duration,
    reader::Reader,
    units::{self, Object},
};

/// What a route says.
const PER_ROUTE: &str = "envoy.extensions.filters.http.on_demand.v3.PerRouteConfig";

/// That clusters come on demand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OnDemand {
    /// How long one is waited for.
    timeout: Option<Duration>,
}

impl OnDemand {
    /// Whether anything in a resource asks for clusters on demand, and for how long the first of it waits.
    pub fn wanted(resource: &Value) -> Option<Self> {
        match resource {
            Value::Array(list) => list.iter().find_map(Self::wanted),
            Value::Object(object) => {
                let of = |key: &str| object.get(key).and_then(Value::as_object);
                let asks = of("odcds").or_else(|| of("on_demand").filter(|tcp| tcp.contains_key("odcds_config")));
                let Some(asks) = asks else { return object.values().find_map(Self::wanted) };
                let timeout = asks.get("timeout").and_then(Value::as_str).and_then(parse_duration);
                Some(Self { timeout: timeout.map(|(_, timeout)| timeout).filter(|timeout| !timeout.is_zero()) })
            }
            _ => None,
        }
    }

    /// `on_demand:` of the control plane, in the configuration that is made of a file.
    pub fn write(self, context: &Context<'_>, top: &mut Object) {
        let name = context.control_plane.borrow().clone().unwrap_or_default();
        let planes = top.get_mut("control_planes").and_then(|planes| planes.get_mut(&name));
        if let Some(plane) = planes.and_then(Value::as_object_mut) {
            let mut object = Object::default();
            object.set_some("timeout", self.timeout.map(units::duration));
            plane.insert("on_demand".to_owned(), object.into());
        }
    }
}

/// The filter. What it is asked of is the control plane; it leaves none behind.
pub(super) fn filter(context: &Context<'_>, config: &Reader<'_>) {
    if let Some(asks) = config.message("odcds") {
        self::asks(context, asks, "source");
    }
}

/// What a route says of the filter, if this is that.
pub(super) fn per_route(context: &Context<'_>, config: &Reader<'_>) -> bool {
    let own = config.type_name() == PER_ROUTE;
    if own {
        filter(context, config);
    }
    own
}

/// `on_demand` of a TCP proxy.
pub(super) fn connections(context: &Context<'_>, config: &Reader<'_>) {
    if let Some(asks) = config.message("on_demand") {
        self::asks(context, asks, "odcds_config");
    }
}

fn asks(context: &Context<'_>, reader: Reader<'_>, source: &str) {
    if context.brings.borrow().is_none() {
        reader.refuse_whole("the control plane is not asked for clusters on demand: its `on_demand` says so");
        return;
    }
    if let Some(source) = reader.message(source) {
        bootstrap::source(context, source);
    }
    reader.ignore("timeout", "the control plane's `on_demand` says how long a cluster is waited for");
    reader.refuse("resources_locator", "clusters have names: xdstp:// is not spoken");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whoever_asks_for_clusters_is_found() {
        let listener = |config: Value| json!({ "filter_chains": [{ "filters": [{ "typed_config": config }] }] });
        let timeout = |timeout| Some(OnDemand { timeout });
        let http = json!({ "http_filters": [{ "typed_config": { "odcds": { "timeout": "0.500s" } } }] });
        assert_eq!(OnDemand::wanted(&listener(http)), timeout(Some(Duration::from_millis(500))));
        let tcp = json!({ "cluster": "a", "on_demand": { "odcds_config": { "ads": {} } } });
        assert_eq!(OnDemand::wanted(&listener(tcp)), timeout(None));
        let filter_alone = json!({ "http_filters": [{ "typed_config": { "@type": "OnDemand" } }] });
        assert_eq!(OnDemand::wanted(&listener(filter_alone)), None);
    }
}
