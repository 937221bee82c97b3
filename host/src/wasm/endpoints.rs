//! `fyke.endpoint.list.v1` and `fyke.endpoint.label.v1`: the endpoints of a cluster, and what filters have learned of them.

use fyke_engine::{ContextId, Status};
use serde_json::json;

use super::{call::Call, foreign::Arguments};
use crate::cluster::{balance::Health, shared::SharedCluster};

/// Answers either. Without the grant there is no such cluster.
pub fn call(host: &mut Call<'_>, cx: ContextId, name: &[u8], args: &[u8], out: &mut Vec<u8>) -> Status {
    if name == b"fyke.endpoint.list.v1" {
        return match std::str::from_utf8(args).ok().and_then(|name| host.cluster(cx, name)) {
            Some(cluster) => {
                out.extend_from_slice(list(&cluster.shared).as_bytes());
                Status::Ok
            }
            None => Status::NotFound,
        };
    }
    let mut args = Arguments(args);
    let (Some(name), Some(address), Some(key)) = (args.bytes(), args.bytes(), args.bytes()) else {
        return Status::BadArgument;
    };
    let cluster = std::str::from_utf8(name).ok().and_then(|name| host.cluster(cx, name));
    let Some(cluster) = cluster else { return Status::NotFound };
    label(&cluster.shared, address, key, args.0).unwrap_or(Status::BadArgument)
}

fn list(cluster: &SharedCluster) -> String {
    let membership = cluster.membership();
    let endpoints = membership.endpoints.iter().map(|endpoint| {
        let (settings, health) = (&endpoint.settings, endpoint.status.health());
        json!({
            "address": settings.address.to_string(),
            "weight": settings.weight,
            "zone": settings.zone,
            "priority": settings.priority,
            "healthy": health == Health::Healthy,
            "health": health.label(),
            "labels": endpoint.labels(),
        })
    });
    serde_json::Value::Array(endpoints.collect()).to_string()
}

fn label(cluster: &SharedCluster, address: &[u8], key: &[u8], value: &[u8]) -> Option<Status> {
    let address = std::str::from_utf8(address).ok()?.parse().ok()?;
    let set = cluster.set_label(address, std::str::from_utf8(key).ok()?, std::str::from_utf8(value).ok()?);
    set.then_some(Status::Ok)
}
