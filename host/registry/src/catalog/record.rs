//! One host, as it registered and as it is shown.

use std::{net::SocketAddr, time::SystemTime};

use crate::{
    clock::Moment,
    error::Problem,
    host::{Fields, Host, ServiceName, Tags, Weight, ip, object, place, port, text, typed},
    load::{Load, LoadState},
};

/// What a host says when it registers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Registration {
    pub(crate) address: SocketAddr,
    pub(crate) revision: String,
    pub(crate) service_repo_name: Option<String>,
    pub(crate) tags: Tags,
    pub(crate) load: Option<Load>,
}

impl Registration {
    /// Longest revision, and name of a repository.
    const TEXT: usize = 128;

    /// Reads what was posted. Fields that nobody knows are left alone: newer hosts register with older registries.
    pub(crate) fn read(fields: &Fields, tags: usize) -> Result<Self, Problem> {
        let missing = |name: &str| Problem::new(name, "is missing");
        // What answers call it is taken as well, so that an answer's host can be posted again.
        let name = if fields.contains_key("ip") || !fields.contains_key("ip_address") { "ip" } else { "ip_address" };
        let address = typed(fields, name, |value| text(value, 64).and_then(ip))?.ok_or_else(|| missing(name))?;
        let port = typed(fields, "port", port)?.ok_or_else(|| missing("port"))?;
        let word = |name| typed(fields, name, |value| text(value, Self::TEXT).map(str::to_owned));
        let tags = match typed(fields, "tags", object)? {
            Some(sent) => Tags::read(&sent, tags).map_err(|problem| problem.within("tags"))?,
            None => Tags::default(),
        };
        let load = match typed(fields, "load", object)? {
            Some(sent) => Some(Load::read(&sent).map_err(|problem| problem.within("load"))?),
            None => None,
        };
        Ok(Self {
            address: place(address, port),
            revision: word("revision")?.unwrap_or_default(),
            service_repo_name: word("service_repo_name")?.filter(|name| !name.is_empty()),
            tags,
            load,
        })
    }

    pub(crate) fn record(
        &self,
        operator: Option<Weight>,
        load: Option<LoadState>,
        last_check_in: SystemTime,
        expires: Moment,
    ) -> Record {
        Record {
            address: self.address,
            revision: self.revision.clone(),
            service_repo_name: self.service_repo_name.clone(),
            tags: self.tags.clone(),
            operator,
            load,
            last_check_in,
            expires,
        }
    }
}

/// A registered host.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) address: SocketAddr,
    pub(crate) revision: String,
    pub(crate) service_repo_name: Option<String>,
    /// As the host said them.
    pub(crate) tags: Tags,
    /// What an operator has set.
    pub(crate) operator: Option<Weight>,
    /// What has come of its reports.
    pub(crate) load: Option<LoadState>,
    pub(crate) last_check_in: SystemTime,
    pub(crate) expires: Moment,
}

impl Record {
    /// Its weight: the operator's word before its load, and that before its own word.
    pub(crate) fn weight(&self) -> Option<Weight> {
        self.operator.or_else(|| self.load.map(LoadState::weight)).or(self.tags.load_balancing_weight)
    }

    /// Whether readers would do the same with both.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.weight() == other.weight()
            && self.tags == other.tags
            && self.revision == other.revision
            && self.service_repo_name == other.service_repo_name
            // The weight of hosts that have none follows from those that have one by their load.
            && self.load.map(LoadState::weight) == other.load.map(LoadState::weight)
    }

    /// As answers show it, but for the time.
    pub(crate) fn content(&self, service: &ServiceName, weight: Option<Weight>) -> Host {
        Host {
            ip_address: self.address.ip(),
            last_check_in: None,
            port: self.address.port(),
            revision: self.revision.clone(),
            service: service.to_string(),
            service_repo_name: self.service_repo_name.clone(),
            tags: Tags { load_balancing_weight: weight, ..self.tags.clone() },
        }
    }

    pub(crate) fn shown(&self, service: &ServiceName, weight: Option<Weight>) -> Host {
        let last_check_in = humantime::format_rfc3339_millis(self.last_check_in).to_string();
        Host { last_check_in: Some(last_check_in), ..self.content(service, weight) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(json: serde_json::Value) -> Result<Registration, Problem> {
        Registration::read(json.as_object().unwrap(), 8)
    }

    #[test]
    fn every_field_that_cannot_be_is_named() {
        for (json, message) in [
            (json!({"port": 1}), "ip: is missing"),
            (json!({"ip": "10.0.0.1"}), "port: is missing"),
            (json!({"ip": "10.0.0.1", "port": 70000}), "port: must be 1 to 65535, not 70000"),
            (json!({"ip": "10.0.0.1", "port": "x"}), "port: must be 1 to 65535, not \"x\""),
            (json!({"ip": "10.0.0", "port": 1}), "ip: must be an IPv4 or IPv6 address, not \"10.0.0\""),
            (json!({"ip": 7, "port": 1}), "ip: must be a string, not 7"),
            (json!({"ip": "::", "port": 1}), "ip: must be the address of one host, not ::"),
            (json!({"ip": "10.0.0.1", "port": 1, "revision": "a\u{0}"}), "revision: must have no control characters"),
            (
                json!({"ip": "10.0.0.1", "port": 1, "tags": "{"}),
                "tags: is not JSON: EOF while parsing an object at line 1 column 1",
            ),
            (json!({"ip": "10.0.0.1", "port": 1, "tags": {"az": 1}}), "tags.az: must be a string, not 1"),
            (json!({"ip": "10.0.0.1", "port": 1, "load": {"cpu": 2}}), "load.cpu: must be 0 to 1, not 2"),
        ] {
            assert_eq!(read(json.clone()).unwrap_err().to_string(), message, "{json}");
        }
        let many: serde_json::Map<_, _> = (0..9).map(|n| (format!("t{n}"), json!(n))).collect();
        let problem = read(json!({"ip": "10.0.0.1", "port": 1, "tags": many})).unwrap_err();
        assert_eq!(problem.to_string(), "tags: must be at most 8, not 9");
    }

    #[test]
    fn what_nobody_knows_is_left_alone() {
        let read = read(json!({"ip_address": "fd00::1", "port": "80", "auto_ip": true, "tags": null})).unwrap();
        assert_eq!(read.address, "[fd00::1]:80".parse().unwrap());
    }

    proptest! {
        #[test]
        fn no_json_makes_it_panic(text in r#"\{("(ip|port|tags|load|revision)":("?[0-9a-f:.\[\]{}-]{0,20}"?|null|true|-1e999),?){0,5}\}"#) {
            if let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(&text)
                && let Ok(read) = Registration::read(&fields, 8)
            {
                prop_assert!(read.address.port() > 0);
            }
        }
    }
}
