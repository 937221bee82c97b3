//! The same hosts as endpoint discovery over REST: `POST /v3/discovery:endpoints` (Envoy's xDS protocol, "REST-JSON polling subscriptions"), messages
//! of `envoy.service.discovery.v3` and `envoy.config.endpoint.v3` in proto3 JSON.
//!
//! A service without hosts is left out, not sent empty: an empty assignment would mean that there is nobody, and a registry that has just started
//! does not know that. Envoy keeps what it has of a resource that an answer does not name.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    catalog::{Version, View},
    error::{Problem, shown},
    host::{Fields, Host, Scalar, ServiceName, text, typed},
};

/// What the resources are.
pub(crate) const TYPE: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// A `DiscoveryRequest`, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// What the client has; empty at first.
    pub(crate) version: String,
    /// What it wants; empty for everything.
    pub(crate) services: Vec<ServiceName>,
}

impl Request {
    /// Reads one; both spellings of names are proto3 JSON. Fields that do not matter here are left alone.
    pub(crate) fn read(fields: &Fields, most: usize) -> Result<Self, Problem> {
        let name = |camel, snake| if fields.contains_key(camel) { camel } else { snake };
        let type_url = name("typeUrl", "type_url");
        if let Some(asked) = typed(fields, type_url, |value| text(value, 256))?
            && !asked.is_empty()
            && asked != TYPE
        {
            return Err(Problem::new(type_url, format!("must be {TYPE}, not {:?}", shown(asked))));
        }
        let version = typed(fields, name("versionInfo", "version_info"), |value| text(value, 256))?;
        let names = name("resourceNames", "resource_names");
        let list = typed(fields, names, |value| {
            value.as_array().ok_or_else(|| format!("must be a list of services, not {}", shown(value)))
        })?;
        let list = list.map_or(&[][..], |list| list.as_slice());
        if list.len() > most {
            return Err(Problem::new(names, format!("must be at most {most}, not {}", list.len())));
        }
        let service = |(index, value): (usize, &Value)| {
            let field = format!("{names}[{index}]");
            let name = text(value, ServiceName::LENGTH).map_err(|message| Problem::new(field.clone(), message))?;
            ServiceName::parse(name).map_err(|problem| Problem::new(field, problem.message))
        };
        let mut services = list.iter().enumerate().map(service).collect::<Result<Vec<_>, _>>()?;
        services.sort();
        services.dedup();
        Ok(Self { version: version.unwrap_or_default().to_owned(), services })
    }
}

/// The version of these services together.
pub(crate) fn version(views: &[(ServiceName, Arc<View>)]) -> String {
    let mut digest = Sha256::new();
    for (service, view) in views {
        digest.update(service.as_str());
        digest.update([0]);
        digest.update(view.version().bytes());
    }
    Version::of(digest).to_string()
}

/// A `DiscoveryResponse`.
pub(crate) fn response(version: &str, views: &[(ServiceName, Arc<View>)]) -> String {
    let resources: Vec<Arc<str>> = views.iter().map(|(_, view)| view.assignment()).collect();
    // Both are plain ASCII that needs no escaping.
    format!(r#"{{"version_info":"{version}","resources":[{}],"type_url":"{TYPE}"}}"#, resources.join(","))
}

/// A `ClusterLoadAssignment` in JSON; localities in the order of their names.
pub(crate) fn assignment(service: &ServiceName, hosts: impl Iterator<Item = Host>) -> String {
    let mut localities: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    for host in hosts {
        let locality = (host.tags.region.clone().unwrap_or_default(), host.tags.az.clone().unwrap_or_default());
        localities.entry(locality).or_default().push(endpoint(&host));
    }
    let localities = localities.into_iter().map(|((region, zone), endpoints)| {
        let mut locality = Map::new();
        for (name, value) in [("region", region), ("zone", zone)] {
            if !value.is_empty() {
                locality.insert(name.to_owned(), value.into());
            }
        }
        json!({"locality": locality, "lb_endpoints": endpoints})
    });
    let localities: Vec<Value> = localities.collect();
    json!({"@type": TYPE, "cluster_name": service, "endpoints": localities}).to_string()
}

/// An `LbEndpoint`. What a subset load balancer or a filter may ask for is in the metadata `envoy.lb`, as Envoy's v1 put `canary` there.
fn endpoint(host: &Host) -> Value {
    let mut metadata = Map::new();
    if let Some(canary) = host.tags.canary {
        metadata.insert("canary".to_owned(), canary.into());
    }
    for (name, value) in [("instance_id", &host.tags.instance_id), ("revision", &Some(host.revision.clone()))] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            metadata.insert(name.to_owned(), value.clone().into());
        }
    }
    for (name, value) in &host.tags.other {
        let value = match value {
            Scalar::Boolean(value) => Value::from(*value),
            Scalar::Integer(value) => Value::from(*value),
            Scalar::Text(value) => Value::from(value.clone()),
        };
        // A tag never stands in for what has a meaning of its own.
        metadata.entry(name.clone()).or_insert(value);
    }
    let address = json!({"address": host.ip_address, "port_value": host.port});
    let mut endpoint = json!({"endpoint": {"address": {"socket_address": address}}});
    if let Some(endpoint) = endpoint.as_object_mut() {
        if let Some(weight) = host.tags.load_balancing_weight {
            endpoint.insert("load_balancing_weight".to_owned(), weight.number().into());
        }
        if !metadata.is_empty() {
            endpoint.insert("metadata".to_owned(), json!({"filter_metadata": {"envoy.lb": metadata}}));
        }
    }
    endpoint
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> Result<Request, Problem> {
        Request::read(json.as_object().unwrap(), 3)
    }

    #[test]
    fn both_spellings_are_read() {
        let names = |names: &[&str]| names.iter().map(|name| ServiceName::parse(name).unwrap()).collect::<Vec<_>>();
        let request = Request { version: "7".to_owned(), services: names(&["a", "b"]) };
        let snake =
            json!({"version_info": "7", "resource_names": ["b", "a", "b"], "type_url": TYPE, "node": {"id": "x"}});
        let camel = json!({"versionInfo": "7", "resourceNames": ["a", "b"], "typeUrl": TYPE, "responseNonce": ""});
        assert_eq!(read(snake), Ok(request));
        assert_eq!(read(camel).unwrap().services, names(&["a", "b"]));
        assert_eq!(read(json!({})), Ok(Request { version: String::new(), services: Vec::new() }));
    }

    #[test]
    fn what_cannot_be_is_named_as_it_was_written() {
        for (json, field) in [
            (json!({"typeUrl": "type.googleapis.com/envoy.config.cluster.v3.Cluster"}), "typeUrl"),
            (json!({"type_url": 7}), "type_url"),
            (json!({"version_info": {}}), "version_info"),
            (json!({"resource_names": "a"}), "resource_names"),
            (json!({"resource_names": ["a", "b", "c", "d"]}), "resource_names"),
            (json!({"resourceNames": ["a", "b c"]}), "resourceNames[1]"),
            (json!({"resourceNames": [null]}), "resourceNames[0]"),
        ] {
            assert_eq!(read(json.clone()).unwrap_err().field, field, "{json}");
        }
    }
}
