//! All resources that there are, in canonical form.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    finding::{Findings, Severity},
    place::{Place, ResourceKind},
    reader::report,
    xds::ResourceType,
};

/// Resources in canonical form, as [`crate::decode`] and [`crate::canonical`] make them.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// `envoy.config.listener.v3.Listener`
    pub listeners: Vec<Value>,
    /// `envoy.config.cluster.v3.Cluster`
    pub clusters: Vec<Value>,
    /// `envoy.config.route.v3.RouteConfiguration`, by name.
    pub routes: BTreeMap<String, Value>,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`, by the name that it is asked for by.
    pub endpoints: BTreeMap<String, Value>,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`, by name.
    pub secrets: BTreeMap<String, Value>,
    /// What `envoy.config.core.v3.TypedExtensionConfig` has in `typed_config`, by name.
    pub extensions: BTreeMap<String, Value>,
    /// The layers of the runtime (`envoy.service.runtime.v3.Runtime`), by their places and names: later ones prevail.
    pub runtime: BTreeMap<(usize, String), Value>,
    /// Names of layers, the first at the bottom. A layer of another name is not kept.
    pub layers: Vec<String>,
    /// Stands in front of the names of filters and sinks, which nobody has given: so that they are no others'. Default: nothing.
    pub prefix: String,
    /// The name of the control plane in Fyke's configuration, for clusters whose endpoints are not here.
    pub control_plane: Option<String>,
}

impl Resources {
    /// Takes the resources out of a bootstrap.
    pub(crate) fn of_bootstrap(bootstrap: Value, findings: &Findings) -> (Self, Value) {
        let Value::Object(mut rest) = bootstrap else { return (Self::default(), bootstrap) };
        let mut resources = Self::default();
        if let Some(Value::Object(mut fixed)) = rest.shift_remove("static_resources") {
            let mut take = |key: &str| match fixed.shift_remove(key) {
                Some(Value::Array(list)) => list,
                Some(other) => {
                    // It is a value that does not fit, and says so.
                    let place = Place::resource(ResourceKind::Bootstrap, "").key("static_resources").key(key);
                    let reason = crate::reader::broken(&other).unwrap_or("is no list");
                    report(findings, &place, Severity::Refused, reason);
                    Vec::new()
                }
                None => Vec::new(),
            };
            resources.listeners = take("listeners");
            resources.clusters = take("clusters");
            for secret in take("secrets") {
                let name = secret.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
                if resources.secrets.insert(name.clone(), secret).is_some() {
                    let place = Place::resource(ResourceKind::Secret, &name);
                    report(findings, &place, Severity::Refused, "another secret is called the same");
                }
            }
            // What else is there is said to have no counterpart.
            rest.insert("static_resources".to_owned(), Value::Object(fixed));
        }
        (resources, Value::Object(rest))
    }

    /// Keeps a resource, in place of one of the same name.
    pub fn put(&mut self, kind: ResourceType, name: &str, resource: Value) {
        let list = match kind {
            ResourceType::Listener => &mut self.listeners,
            ResourceType::Cluster => &mut self.clusters,
            ResourceType::RouteConfiguration => return drop(self.routes.insert(name.to_owned(), resource)),
            ResourceType::Endpoints => return drop(self.endpoints.insert(name.to_owned(), resource)),
            ResourceType::Secret => return drop(self.secrets.insert(name.to_owned(), resource)),
            ResourceType::ExtensionConfiguration => {
                let config = resource.get("typed_config").cloned().unwrap_or_default();
                return drop(self.extensions.insert(name.to_owned(), config));
            }
            ResourceType::Runtime => {
                let layer = resource.get("layer").cloned().unwrap_or_default();
                if let Some(key) = self.layer(name) {
                    self.runtime.insert(key, layer);
                }
                return;
            }
        };
        match list.iter_mut().find(|there| is_called(there, name)) {
            Some(there) => *there = resource,
            None => list.push(resource),
        }
    }

    /// Forgets a resource.
    pub fn remove(&mut self, kind: ResourceType, name: &str) {
        match kind {
            ResourceType::Listener => self.listeners.retain(|there| !is_called(there, name)),
            ResourceType::Cluster => self.clusters.retain(|there| !is_called(there, name)),
            ResourceType::RouteConfiguration => drop(self.routes.remove(name)),
            ResourceType::Endpoints => drop(self.endpoints.remove(name)),
            ResourceType::Secret => drop(self.secrets.remove(name)),
            ResourceType::ExtensionConfiguration => drop(self.extensions.remove(name)),
            ResourceType::Runtime => {
                if let Some(key) = self.layer(name) {
                    self.runtime.remove(&key);
                }
            }
        }
    }

    fn layer(&self, name: &str) -> Option<(usize, String)> {
        let place = self.layers.iter().position(|layer| layer == name)?;
        Some((place, name.to_owned()))
    }
}

fn is_called(resource: &Value, name: &str) -> bool {
    resource.get("name").and_then(Value::as_str) == Some(name)
}
