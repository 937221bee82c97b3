//! `ClusterLoadAssignment` in proto3's JSON mapping, in either spelling of names.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde::Deserialize;
use serde_json::Value;

use super::{Hosts, MOST_HOSTS, absent, label, number, socket, weight};
use crate::config::resolved::Endpoint;

/// Further addresses of a host.
const MOST_ADDRESSES: usize = 16;
/// Of a locality.
const LAST_PRIORITY: u32 = 127;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assignment {
    #[serde(default, alias = "cluster_name", deserialize_with = "absent")]
    cluster_name: String,
    #[serde(default, deserialize_with = "absent")]
    endpoints: Vec<Locality>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Locality {
    #[serde(default)]
    locality: Option<Place>,
    #[serde(default, alias = "lb_endpoints", deserialize_with = "absent")]
    lb_endpoints: Vec<LbEndpoint>,
    #[serde(default)]
    priority: Option<Value>,
}

#[derive(Deserialize)]
struct Place {
    #[serde(default, deserialize_with = "absent")]
    zone: String,
    #[serde(default, deserialize_with = "absent")]
    region: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LbEndpoint {
    endpoint: Option<Named>,
    #[serde(default, alias = "health_status")]
    health_status: Option<Value>,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default, alias = "load_balancing_weight")]
    load_balancing_weight: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    address: Option<Address>,
    #[serde(default, deserialize_with = "absent")]
    hostname: String,
    #[serde(default, alias = "additional_addresses", deserialize_with = "absent")]
    additional_addresses: Vec<Additional>,
}

#[derive(Deserialize)]
struct Additional {
    address: Option<Address>,
}

impl Address {
    fn socket(self) -> Result<SocketAddr, String> {
        let Some(address) = self.socket_address else { return Err("socket_address: is missing".to_owned()) };
        let socket = socket("address", &address.address, "port_value", &address.port_value);
        socket.map_err(|error| format!("socket_address.{error}"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Address {
    #[serde(alias = "socket_address")]
    socket_address: Option<Socket>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Socket {
    #[serde(default, deserialize_with = "absent")]
    address: String,
    #[serde(default, alias = "port_value")]
    port_value: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default, alias = "filter_metadata", deserialize_with = "absent")]
    filter_metadata: BTreeMap<String, BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovered {
    #[serde(default, alias = "version_info", deserialize_with = "absent")]
    version_info: String,
    #[serde(default, deserialize_with = "absent")]
    resources: Vec<Value>,
}

/// What a `DiscoveryResponse` says of one service. Hosts that it knows to be unhealthy are left out. `None` for the hosts: it does not
/// speak of the service.
///
/// # Errors
/// Which host cannot be meant, and why.
pub fn assignment(text: &[u8], service: &str) -> Result<(String, Option<Hosts>), String> {
    let Discovered { version_info, resources } = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut found = None;
    for (at, mut resource) in resources.into_iter().enumerate() {
        // What gives a resource a name or a time to live.
        if let Some(inner) = resource.get_mut("resource").filter(|inner| inner.is_object()) {
            resource = inner.take();
        }
        let assignment: Assignment =
            serde_json::from_value(resource).map_err(|error| format!("resources[{at}]: {error}"))?;
        if assignment.cluster_name != service {
            continue;
        }
        if found.is_some() {
            return Err(format!("resources[{at}]: cluster_name \"{service}\" is there twice"));
        }
        found = Some(hosts(assignment).map_err(|error| format!("resources[{at}].{error}"))?);
    }
    Ok((version_info, found))
}

/// What a `ClusterLoadAssignment` says, in proto3's JSON mapping; as [`assignment`].
///
/// # Errors
/// Which host cannot be meant, and why.
pub fn of_assignment(value: Value) -> Result<Hosts, String> {
    hosts(serde_json::from_value(value).map_err(|error| error.to_string())?)
}

fn hosts(assignment: Assignment) -> Result<Hosts, String> {
    let mut hosts = Vec::new();
    for (group, locality) in assignment.endpoints.into_iter().enumerate() {
        let priority = locality.priority.map_or(Ok(0), |value| number(&value, 0, LAST_PRIORITY));
        let priority = priority.map_err(|error| format!("endpoints[{group}].priority: {error}"))?;
        let zone = locality.locality.map(|place| if place.zone.is_empty() { place.region } else { place.zone });
        let zone = zone.unwrap_or_default();
        for (at, one) in locality.lb_endpoints.into_iter().enumerate() {
            let wrong = |error: String| format!("endpoints[{group}].lb_endpoints[{at}].{error}");
            if one.health_status.as_ref().is_some_and(is_out) {
                continue;
            }
            let named = one.endpoint.ok_or_else(|| wrong("endpoint: is missing".to_owned()))?;
            let address = named.address.ok_or_else(|| wrong("endpoint.address: is missing".to_owned()))?;
            let address = address.socket().map_err(|error| wrong(format!("endpoint.address.{error}")))?;
            let mut endpoint = Endpoint::new(address);
            let others = named.additional_addresses.into_iter().filter_map(|additional| additional.address);
            let others: Result<_, _> = others.take(MOST_ADDRESSES).map(Address::socket).collect();
            endpoint.others =
                others.map_err(|error| wrong(format!("endpoint.additional_addresses.address.{error}")))?;
            endpoint.zone.clone_from(&zone);
            endpoint.priority = priority;
            endpoint.hostname = Some(named.hostname).filter(|name| !name.is_empty());
            if let Some(value) = &one.load_balancing_weight {
                endpoint.weight = weight(value).map_err(|error| wrong(format!("load_balancing_weight: {error}")))?;
            }
            let labels = one.metadata.and_then(|mut metadata| metadata.filter_metadata.remove("envoy.lb"));
            for (key, value) in labels.into_iter().flatten() {
                label(&mut endpoint.labels, key, &value);
            }
            hosts.push(Arc::new(endpoint));
            if hosts.len() > MOST_HOSTS {
                return Err(format!("there are more than {MOST_HOSTS} hosts"));
            }
        }
    }
    Ok(hosts)
}

/// `envoy.config.core.v3.HealthStatus`, by name or by number: whether a host gets nothing. What is newer than this says nothing.
fn is_out(status: &Value) -> bool {
    match status {
        Value::String(name) => ["UNHEALTHY", "DRAINING", "TIMEOUT"].contains(&name.as_str()),
        number => number.as_u64().is_some_and(|number| (2..=4).contains(&number)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_assignment_is_read_in_both_spellings() {
        let snake = r#"{"version_info":"7","resources":[{"@type":"x","cluster_name":"users","endpoints":[{"locality":{"zone":"a"},"priority":1,
            "lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}}},"load_balancing_weight":3,
            "metadata":{"filter_metadata":{"envoy.lb":{"stage":"canary"}}}},
            {"health_status":"DRAINING","endpoint":{"address":{"socket_address":{"address":"10.0.0.2","port_value":80}}}}]}]}]}"#;
        let camel = snake
            .replace("version_info", "versionInfo")
            .replace("cluster_name", "clusterName")
            .replace("lb_endpoints", "lbEndpoints")
            .replace("socket_address", "socketAddress")
            .replace("port_value", "portValue")
            .replace("load_balancing_weight", "loadBalancingWeight")
            .replace("filter_metadata", "filterMetadata")
            .replace("health_status", "healthStatus");
        let (version, hosts) = assignment(snake.as_bytes(), "users").unwrap();
        assert_eq!(assignment(camel.as_bytes(), "users").unwrap(), (version.clone(), hosts.clone()));
        let hosts = hosts.unwrap();
        assert_eq!((version.as_str(), hosts.len()), ("7", 1));
        assert_eq!((hosts[0].priority, hosts[0].weight, hosts[0].zone.as_str()), (1, 3, "a"));
        assert_eq!(hosts[0].labels["stage"], "canary");
        assert_eq!(assignment(snake.as_bytes(), "others").unwrap().1, None);
        let bad = snake.replacen("\"port_value\":80", "\"port_value\":70000", 1);
        let error = assignment(bad.as_bytes(), "users").unwrap_err();
        assert!(error.ends_with("socket_address.port_value: must be 1 to 65535, not 70000"), "{error}");
    }

    #[test]
    fn what_protobuf_may_write_in_several_ways_is_read_in_all_of_them() {
        let with = |endpoint: &str| {
            let text = format!(
                r#"{{"versionInfo":null,"resources":[{{"@type":"type.googleapis.com/envoy.service.discovery.v3.Resource","name":"users","resource":
                {{"clusterName":"users","endpoints":[{{"locality":{{"zone":null,"region":"r"}},"priority":"1","lbEndpoints":[{{"endpoint":
                {{"hostname":null,"address":{{"socketAddress":{{"address":"10.0.0.1","portValue":"80"}}}}}}{endpoint}}}]}}]}}}}]}}"#
            );
            assignment(text.as_bytes(), "users").map(|(_, hosts)| hosts.unwrap())
        };
        let hosts = with(r#","loadBalancingWeight":"3","metadata":{"filterMetadata":null}"#).unwrap();
        assert_eq!((hosts[0].weight, hosts[0].priority, hosts[0].zone.as_str()), (3, 1, "r"));
        for (status, there) in [
            ("0", 1),
            ("1", 1),
            ("2", 0),
            ("3", 0),
            ("4", 0),
            ("5", 1),
            ("\"TIMEOUT\"", 0),
            ("\"NEW\"", 1),
            ("null", 1),
        ] {
            assert_eq!(with(&format!(",\"healthStatus\":{status}")).unwrap().len(), there, "{status}");
        }
        let error = with(r#","loadBalancingWeight":"heavy""#).unwrap_err();
        assert!(error.ends_with(r#"load_balancing_weight: must be 1 to 65535, not "heavy""#), "{error}");
    }

    proptest! {
        #[test]
        fn nothing_that_comes_panics(bytes in any::<Vec<u8>>()) {
            let _ = assignment(&bytes, "users");
        }
    }
}
