//! `{"hosts": [{"ip_address", "port", "tags": {"az", "canary", "load_balancing_weight"}}]}`

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde::Deserialize;
use serde_json::Value;

use super::{Hosts, MOST_HOSTS, absent, label, socket, weight};
use crate::config::resolved::Endpoint;

#[derive(Deserialize)]
struct Registration {
    hosts: Vec<Value>,
}

#[derive(Deserialize)]
struct Host {
    ip_address: String,
    port: Value,
    #[serde(default, deserialize_with = "absent")]
    tags: BTreeMap<String, Value>,
    /// What the form has no place for, written by [`written`] alone.
    #[serde(default)]
    fyke: Value,
}

#[derive(Default, Deserialize, serde::Serialize)]
struct Besides {
    priority: u32,
    hostname: Option<String>,
    additional_addresses: Box<[SocketAddr]>,
}

/// Reads `{"hosts": [{"ip_address", "port", "tags": {"az", "canary", "load_balancing_weight"}}]}`. What else there is is left alone.
///
/// # Errors
/// Which host cannot be meant, and why. Nothing of it is to be used then.
pub fn registration(text: &[u8]) -> Result<Hosts, String> {
    let Registration { hosts } = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if hosts.len() > MOST_HOSTS {
        return Err(format!("there are {} hosts, of at most {MOST_HOSTS}", hosts.len()));
    }
    let one = |(at, host): (usize, Value)| {
        let host: Host = serde_json::from_value(host).map_err(|error| format!("hosts[{at}]: {error}"))?;
        host.endpoint().map_err(|error| format!("hosts[{at}].{error}"))
    };
    hosts.into_iter().enumerate().map(one).collect()
}

impl Host {
    fn endpoint(self) -> Result<Arc<Endpoint>, String> {
        let mut endpoint = Endpoint::new(socket("ip_address", &self.ip_address, "port", &self.port)?);
        let besides: Besides = serde_json::from_value(self.fyke).unwrap_or_default();
        (endpoint.priority, endpoint.hostname, endpoint.others) =
            (besides.priority, besides.hostname, besides.additional_addresses);
        for (tag, value) in self.tags {
            match (tag.as_str(), &value) {
                // Absent, in other words.
                (_, Value::Null) => {}
                ("az", Value::String(zone)) => endpoint.zone.clone_from(zone),
                ("load_balancing_weight", value) => {
                    endpoint.weight = weight(value).map_err(|error| format!("tags.load_balancing_weight: {error}"))?;
                }
                _ => label(&mut endpoint.labels, tag, &value),
            }
        }
        Ok(Arc::new(endpoint))
    }
}

/// In the form that [`registration`] reads.
#[must_use]
pub fn written(hosts: &[Arc<Endpoint>]) -> Value {
    let one = |endpoint: &Arc<Endpoint>| {
        let mut tags: serde_json::Map<String, Value> =
            endpoint.labels.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        tags.insert("load_balancing_weight".to_owned(), endpoint.weight.into());
        if !endpoint.zone.is_empty() {
            tags.insert("az".to_owned(), endpoint.zone.clone().into());
        }
        let besides = Besides {
            priority: endpoint.priority,
            hostname: endpoint.hostname.clone(),
            additional_addresses: endpoint.others.clone(),
        };
        let (ip, port) = (endpoint.address.ip(), endpoint.address.port());
        serde_json::json!({ "ip_address": ip, "port": port, "tags": tags, "fyke": besides })
    };
    serde_json::json!({ "hosts": hosts.iter().map(one).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_of_a_registration_keep_zone_weight_and_tags() {
        let text = br#"{"service":"users","hosts":[
            {"ip_address":"10.0.0.1","port":8080,"revision":"abc","last_check_in":"2026-01-01","tags":{"az":"eu-1a","canary":true,"load_balancing_weight":7}},
            {"ip_address":"::1","port":"81","tags":{"region":null}}]}"#;
        let hosts = registration(text).unwrap();
        assert_eq!(hosts[0].address, "10.0.0.1:8080".parse().unwrap());
        assert_eq!((hosts[0].zone.as_str(), hosts[0].weight), ("eu-1a", 7));
        assert_eq!(hosts[0].labels, [("canary".to_owned(), "true".to_owned())].into());
        assert_eq!((hosts[1].address.to_string().as_str(), hosts[1].weight), ("[::1]:81", 1));
        assert!(hosts[1].labels.is_empty());
        let again = registration(written(&hosts).to_string().as_bytes()).unwrap();
        assert_eq!(again, hosts);
        let mut other = Endpoint::new("10.0.0.3:80".parse().unwrap());
        (other.priority, other.hostname, other.others) =
            (2, Some("a.example".to_owned()), ["[::1]:80".parse().unwrap()].into());
        let other = vec![Arc::new(other)];
        assert_eq!(registration(written(&other).to_string().as_bytes()).unwrap(), other);
    }

    #[test]
    fn a_host_that_cannot_be_meant_is_named() {
        let with = |host: &str| registration(format!("{{\"hosts\":[{host}]}}").as_bytes()).unwrap_err();
        assert_eq!(with(r#"{"ip_address":"1.2.3.4","port":0}"#), "hosts[0].port: must be 1 to 65535, not 0");
        assert_eq!(with(r#"{"ip_address":"1.2.3.4","port":70000}"#), "hosts[0].port: must be 1 to 65535, not 70000");
        assert_eq!(with(r#"{"ip_address":"here","port":1}"#), "hosts[0].ip_address: \"here\" is not an IP address");
        assert!(with(r#"{"port":1}"#).contains("hosts[0]: missing field `ip_address`"));
        let heavy = with(r#"{"ip_address":"1.2.3.4","port":1,"tags":{"load_balancing_weight":0}}"#);
        assert_eq!(heavy, "hosts[0].tags.load_balancing_weight: must be 1 to 65535, not 0");
        assert!(registration(b"{}").is_err() && registration(b"<html>").is_err());
    }

    #[test]
    fn answers_of_lyft_discovery_are_read() {
        let lyft = br#"{"env": "production", "service": "users", "hosts": [{"ip_address": "10.0.0.1", "port": 9211,
            "last_check_in": "2016-05-06 21:23:25.123456+00:00", "revision": "abc", "service": "users", "service_repo_name": "",
            "tags": {"az": "us-east-1a", "canary": "true", "instance_id": "i-1", "load_balancing_weight": "3", "onebox_name": null}}]}"#;
        let hosts = registration(lyft).unwrap();
        assert_eq!(
            (hosts[0].weight, hosts[0].zone.as_str(), hosts[0].labels["canary"].as_str()),
            (3, "us-east-1a", "true")
        );
        assert!(!hosts[0].labels.contains_key("onebox_name"));
        let plain = br#"{"hosts": [{"ip_address": "fd00::1", "port": "80", "tags": null, "new": []}]}"#;
        assert_eq!(registration(plain).unwrap()[0].labels, BTreeMap::new());
        let signed = br#"{"hosts": [{"ip_address": "fd00::1", "port": "+80"}]}"#;
        assert!(registration(signed).unwrap_err().starts_with("hosts[0].port: must be 1 to 65535, not "));
        let host = r#"{"ip_address":"10.0.0.1","port":1}"#;
        let of = |count: usize| registration(format!(r#"{{"hosts":[{}]}}"#, vec![host; count].join(",")).as_bytes());
        assert!(of(MOST_HOSTS).is_ok() && of(MOST_HOSTS + 1).unwrap_err().contains("at most 100000"));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_panics(bytes in any::<Vec<u8>>(), text in any::<String>()) {
            let _ = registration(&bytes);
            let host = serde_json::json!({ "hosts": [{ "ip_address": text, "port": text }] }).to_string();
            prop_assert!(registration(host.as_bytes()).is_err());
        }
    }
}
