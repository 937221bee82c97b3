//! All that a control plane has sent and that counts, and what waits for something else.
//!
//! A listener or a cluster that refers to routes, secrets or extensions which have not come yet waits for them; the one of its name that was
//! there before goes on meanwhile, with what it refers to.

use std::collections::{BTreeMap, BTreeSet};

use fyke_envoy::{
    Finding, Resources, Severity, Translator,
    xds::{Resource, ResourceType, references},
};
use serde_json::Value;

use crate::config::resolved::ControlPlane;

/// A resource: its type and its name.
pub(super) type Key = (ResourceType, String);

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Received {
    resources: Resources,
    /// Those that are used, and what they refer to.
    needs: BTreeMap<Key, Vec<Key>>,
    /// Those that wait for something.
    waiting: BTreeMap<Key, Value>,
    /// What does not come: nobody waits for it any longer.
    missing: BTreeSet<Key>,
    /// What is gone as soon as nothing that is used refers to it.
    going: BTreeSet<Key>,
    there: BTreeSet<Key>,
}

/// Types that are used by themselves; the others are when these refer to them.
fn stands_alone(kind: ResourceType) -> bool {
    matches!(kind, ResourceType::Listener | ResourceType::Cluster)
}

/// What a resource must not be used without. Endpoints come later, and all the time.
fn needs(kind: ResourceType, value: &Value) -> Vec<Key> {
    let all = references(kind, value).into_iter();
    all.filter(|(kind, _)| !matches!(kind, ResourceType::Endpoints | ResourceType::Runtime)).collect()
}

impl Received {
    /// Nothing, yet.
    pub fn new(plane: &str) -> Self {
        let resources =
            Resources { prefix: format!("{plane}/"), control_plane: Some(plane.to_owned()), ..Resources::default() };
        Self { resources, ..Self::default() }
    }

    /// Nothing, yet, of this control plane.
    pub fn of(plane: &ControlPlane) -> Self {
        let mut received = Self::new(&plane.name);
        let layers = plane.settings.wanted.iter().filter(|(kind, _)| *kind == ResourceType::Runtime);
        received.resources.layers = layers.flat_map(|(_, names)| names.iter().cloned()).collect();
        received
    }

    /// Nothing, of the same control plane.
    pub fn emptied(&self) -> Self {
        let Resources { prefix, control_plane, layers, .. } = self.resources.clone();
        let resources = Resources { prefix, control_plane, layers, ..Resources::default() };
        Self { resources, ..Self::default() }
    }

    /// With these, in place of those of the same names.
    pub fn with(&self, kind: ResourceType, added: &[Resource]) -> Self {
        let mut next = self.clone();
        for resource in added {
            let key = (kind, resource.name.clone());
            next.missing.remove(&key);
            next.going.remove(&key);
            if stands_alone(kind) {
                next.waiting.insert(key, resource.value.clone());
            } else {
                next.put(key, resource.value.clone());
            }
        }
        next.settle();
        next
    }

    /// Without these.
    pub fn without(&self, kind: ResourceType, removed: &[String]) -> Self {
        let mut next = self.clone();
        for name in removed {
            let key = (kind, name.clone());
            next.waiting.remove(&key);
            if stands_alone(kind) {
                next.remove(&key);
            } else {
                next.going.insert(key);
            }
        }
        next.settle();
        next
    }

    /// These do not come.
    pub fn given_up(&self, kind: ResourceType, names: &[String]) -> Self {
        let mut next = self.clone();
        next.missing.extend(names.iter().map(|name| (kind, name.clone())));
        next.settle();
        next
    }

    /// Whether a resource is used.
    pub fn has(&self, kind: ResourceType, name: &str) -> bool {
        self.there.contains(&(kind, name.to_owned()))
    }

    /// Names of all of a type that are used or wait.
    pub fn names(&self, kind: ResourceType) -> Vec<String> {
        let all = self.there.iter().chain(self.waiting.keys());
        let mut names: Vec<String> = all.filter(|(of, _)| *of == kind).map(|(_, name)| name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Those that wait for something.
    pub fn waiting(&self) -> impl Iterator<Item = &Key> {
        self.waiting.keys()
    }

    /// What of it means nothing to a proxy; and all of it as a configuration.
    pub fn translate(&self, translator: &Translator) -> (String, Vec<Finding>) {
        let conversion = translator.translate(&self.resources);
        let refused = conversion.findings.into_iter().filter(|finding| finding.severity == Severity::Refused);
        (conversion.config.to_string(), refused.collect())
    }

    /// All that was sent, in the order in which it is used: what others refer to comes before them.
    pub fn all(&self) -> Vec<(ResourceType, Vec<Resource>)> {
        let resource = |name: &str, value: &Value| Resource {
            name: name.to_owned(),
            version: String::new(),
            value: value.clone(),
        };
        let map = |named: &BTreeMap<String, Value>| named.iter().map(|(name, value)| resource(name, value)).collect();
        let list = |kind: ResourceType, list: &[Value]| {
            let used = list.iter().filter_map(|value| Some(resource(value.get("name")?.as_str()?, value)));
            let waiting = self.waiting.iter().filter(|((of, _), _)| *of == kind);
            used.chain(waiting.map(|((_, name), value)| resource(name, value))).collect()
        };
        let layers = self.resources.runtime.iter().map(|((_, name), layer)| {
            let value = serde_json::json!({ "name": name, "layer": layer });
            resource(name, &value)
        });
        let extensions = self.resources.extensions.iter().map(|(name, config)| {
            let value = serde_json::json!({ "name": name, "typed_config": config });
            resource(name, &value)
        });
        vec![
            (ResourceType::Runtime, layers.collect()),
            (ResourceType::Secret, map(&self.resources.secrets)),
            (ResourceType::Cluster, list(ResourceType::Cluster, &self.resources.clusters)),
            (ResourceType::ExtensionConfiguration, extensions.collect()),
            (ResourceType::RouteConfiguration, map(&self.resources.routes)),
            (ResourceType::Listener, list(ResourceType::Listener, &self.resources.listeners)),
        ]
    }

    fn put(&mut self, key: Key, value: Value) {
        let (kind, name) = &key;
        self.needs.insert(key.clone(), needs(*kind, &value));
        self.resources.put(*kind, name, value);
        self.there.insert(key);
    }

    fn remove(&mut self, key: &Key) {
        self.resources.remove(key.0, &key.1);
        self.needs.remove(key);
        self.there.remove(key);
    }

    /// What has all that it needs is used, and what nothing uses goes.
    fn settle(&mut self) {
        let ready: Vec<Key> = self
            .waiting
            .iter()
            .filter(|(key, value)| self.is_ready(key.0, value))
            .map(|(key, _)| key.clone())
            .collect();
        for key in ready {
            if let Some(value) = self.waiting.remove(&key) {
                self.put(key, value);
            }
        }
        let gone: Vec<Key> = self.going.iter().filter(|key| !self.is_used(key)).cloned().collect();
        for key in gone {
            self.going.remove(&key);
            self.remove(&key);
        }
        // Who asks for it later waits again.
        let wanted: BTreeSet<Key> = self
            .waiting
            .iter()
            .flat_map(|(key, value)| needs(key.0, value))
            .chain(self.needs.values().flatten().cloned())
            .collect();
        self.missing.retain(|key| wanted.contains(key));
    }

    fn is_ready(&self, kind: ResourceType, value: &Value) -> bool {
        let (mut todo, mut seen) = (needs(kind, value), BTreeSet::new());
        while let Some(key) = todo.pop() {
            if self.missing.contains(&key) || !seen.insert(key.clone()) {
                continue;
            }
            if !self.there.contains(&key) {
                return false;
            }
            todo.extend(self.needs.get(&key).into_iter().flatten().cloned());
        }
        true
    }

    fn is_used(&self, key: &Key) -> bool {
        self.needs.iter().any(|(by, needs)| by != key && needs.contains(key) && !self.going.contains(by))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listener(name: &str, routes: &str) -> Resource {
        let value = json!({ "name": name, "rds": { "route_config_name": routes, "config_source": { "ads": {} } } });
        Resource { name: name.to_owned(), version: "1".to_owned(), value }
    }

    fn routes(name: &str) -> Resource {
        Resource { name: name.to_owned(), version: "1".to_owned(), value: json!({ "name": name }) }
    }

    fn listeners(received: &Received) -> Vec<String> {
        let names = received.resources.listeners.iter().map(|one| one.to_string());
        names.collect()
    }

    #[test]
    fn a_listener_waits_for_its_routes_and_the_one_before_goes_on_with_its_own() {
        let first = Received::new("ads").with(ResourceType::Listener, &[listener("web", "a")]);
        assert!(listeners(&first).is_empty());
        let with_routes = first.with(ResourceType::RouteConfiguration, &[routes("a")]);
        assert_eq!(listeners(&with_routes).len(), 1);
        let changed = with_routes.with(ResourceType::Listener, &[listener("web", "b")]);
        // The control plane's side does not need them any more; this one does.
        let changed = changed.without(ResourceType::RouteConfiguration, &["a".to_owned()]);
        assert!(listeners(&changed)[0].contains("\"a\"") && changed.resources.routes.contains_key("a"));
        let done = changed.with(ResourceType::RouteConfiguration, &[routes("b")]);
        assert!(listeners(&done)[0].contains("\"b\""));
        assert_eq!(done.resources.routes.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(done.waiting().count(), 0);
    }

    #[test]
    fn what_does_not_come_is_not_waited_for_for_ever() {
        let received = Received::new("ads").with(ResourceType::Listener, &[listener("web", "a")]);
        let received = received.given_up(ResourceType::RouteConfiguration, &["a".to_owned()]);
        assert_eq!(listeners(&received).len(), 1);
        let gone = received.without(ResourceType::Listener, &["web".to_owned()]);
        assert!(listeners(&gone).is_empty() && gone.needs.is_empty());
    }
}
