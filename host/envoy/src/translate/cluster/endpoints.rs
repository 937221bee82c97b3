//! `envoy.config.endpoint.v3.ClusterLoadAssignment`

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    finding::Severity,
    reader::Reader,
    translate::common::{self, Address, Ports},
    units::{self, Object},
};

/// The largest weight of Fyke's endpoints.
const HEAVIEST: u64 = 1_000_000;

/// What an assignment says.
#[derive(Debug, Default)]
pub(in crate::translate) struct Assignment {
    /// As `endpoints:` has them; names that are to be looked up among them.
    pub endpoints: Vec<Value>,
    /// How many of them are names.
    pub names: usize,
    /// `overprovisioning:`
    pub overprovisioning: Option<String>,
    /// The weights of zones, which count where the cluster says so.
    pub zones: BTreeMap<String, u64>,
}

/// What becomes of addresses that are names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::translate) enum Names {
    LookedUp,
    Refused,
}

pub(in crate::translate) fn assignment(reader: Reader<'_>, names: Names) -> Assignment {
    let mut assignment = Assignment::default();
    reader.text("cluster_name");
    if let Some(policy) = reader.message("policy") {
        assignment.overprovisioning = overprovisioning(&policy);
    }
    for locality in reader.messages("endpoints") {
        self::locality(&locality, names, &mut assignment);
    }
    assignment
}

fn overprovisioning(policy: &Reader<'_>) -> Option<String> {
    let factor = policy.bounded("overprovisioning_factor", 100, 100_000)?;
    #[expect(clippy::cast_precision_loss, reason = "at most 100,000")]
    Some(units::increase(factor as f64 - 100.0))
}

fn locality(reader: &Reader<'_>, names: Names, assignment: &mut Assignment) {
    let zone = reader.message("locality").map(|locality| {
        let (zone, region) = (locality.text_or_empty("zone"), locality.text_or_empty("region"));
        if !zone.is_empty() && !region.is_empty() {
            locality.report_at("region", Severity::Ignored, "an endpoint has one failure domain, its zone");
        }
        locality.ignore("sub_zone", "an endpoint has one failure domain, its zone");
        if zone.is_empty() { region } else { zone }
    });
    let zone = zone.filter(|zone| !zone.is_empty());
    let priority = reader.bounded("priority", 0, 127);
    if let Some(weight) = reader.unsigned("load_balancing_weight")
        && let Some(zone) = zone
    {
        *assignment.zones.entry(zone.to_owned()).or_default() += weight;
    }
    let shared = reader.message("metadata").map(|metadata| common::labels(&metadata)).unwrap_or_default();
    let mut endpoints = reader.messages("lb_endpoints");
    if let Some(list) = reader.message("load_balancer_endpoints") {
        endpoints.extend(list.messages("lb_endpoints"));
    }
    for endpoint in endpoints {
        let mut object = Object::default();
        let Some(address) = lb_endpoint(&endpoint, &mut object) else { continue };
        let mut labels = shared.clone();
        if let Some(metadata) = endpoint.message("metadata") {
            labels.extend(common::labels(&metadata));
        }
        if let Address::Name(..) = address {
            if names == Names::Refused {
                let reason = format!(
                    "{:?} is a name: only clusters of type STRICT_DNS and LOGICAL_DNS look names up",
                    address.text()
                );
                endpoint.refuse_at("endpoint.address", reason);
                endpoint.raw("load_balancing_weight");
                continue;
            }
            assignment.names += 1;
        }
        object.set_some("weight", endpoint.bounded("load_balancing_weight", 1, HEAVIEST));
        object.set_some("zone", zone);
        object.set_some("priority", priority);
        object.set_filled("labels", labels);
        assignment.endpoints.push(if object.is_empty() {
            Value::String(address.text())
        } else {
            let mut full = Object::default();
            full.set("address", address.text());
            let rest: serde_json::Map<String, Value> = object.into();
            for (key, value) in rest {
                full.set(&key, value);
            }
            full.into()
        });
    }
}

/// Its address; what else it says of itself goes into the object.
fn lb_endpoint(reader: &Reader<'_>, object: &mut Object) -> Option<Address> {
    let used = match reader.text("health_status") {
        None | Some("UNKNOWN" | "HEALTHY") => true,
        Some(status @ ("DRAINING" | "UNHEALTHY" | "TIMEOUT")) => {
            reader.report_at("health_status", Severity::Ignored, format!("{status}: the endpoint is left out"));
            false
        }
        Some(status) => {
            let reason = format!("{status}: an endpoint that its assignment calls so is used like any other");
            reader.report_at("health_status", Severity::Ignored, reason);
            true
        }
    };
    let Some(endpoint) = reader.message("endpoint") else {
        reader.refuse_at("endpoint", "is missing");
        return None;
    };
    let name = endpoint.text("hostname").filter(|name| !name.is_empty());
    object.set_some("hostname", name);
    if let Some(check) = endpoint.message("health_check_config") {
        check.only("disable_active_health_check", false, "all endpoints of a cluster are checked");
    }
    let address = endpoint.message("address").and_then(|address| common::address(&address, Ports::Set));
    let additional = endpoint.messages("additional_addresses").into_iter().filter_map(|additional| {
        let address = additional.message("address")?;
        match common::address(&address, Ports::Set)? {
            ip @ Address::Ip(..) => Some(Value::String(ip.text())),
            other => {
                address.refuse_here(format!("{} is no IP address", other.text()));
                None
            }
        }
    });
    let additional: Vec<_> = additional.collect();
    object.set_filled("additional_addresses", additional);
    let address = address?;
    if let Address::Unix(..) = address {
        endpoint.refuse_at("address.pipe", "an endpoint is an IP address and a port");
        return None;
    }
    if !used {
        // All of it was looked at, and is not needed.
        drop(reader.message("metadata").map(|metadata| common::labels(&metadata)));
        reader.raw("load_balancing_weight");
        return None;
    }
    Some(address)
}
