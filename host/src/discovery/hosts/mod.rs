//! What a registry says of a service's hosts, in its two forms: that of `GET /v1/registration/SERVICE` (lyft/discovery, Envoy's v1 SDS),
//! and `ClusterLoadAssignment` in JSON (Envoy's v3 EDS).
//!
//! What is not known is left alone, and what is `null` is absent; numbers may be written as text. Of what has a meaning everything must be right, or
//! nothing of the whole is used: a host left out because of a mistake would look as if it had gone.

mod assignment;
mod registration;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub use self::{
    assignment::{assignment, of_assignment},
    registration::{registration, written},
};
use crate::config::resolved::Endpoint;

/// Hosts of one service.
pub const MOST_HOSTS: usize = 100_000;
/// The heaviest that a host may be.
const HEAVIEST: u32 = 65_535;
/// Labels of a host, and bytes of one.
const MOST_LABELS: usize = 64;
const LONGEST_LABEL: usize = 1024;

/// Endpoints as a source names them.
pub type Hosts = Vec<Arc<Endpoint>>;

/// What is `null` is absent.
fn absent<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A whole number, or its digits.
fn number(value: &Value, least: u32, most: u32) -> Result<u32, String> {
    let number = match value {
        // No sign and no white space, which parsing takes.
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        number => number.as_u64(),
    };
    let number = number.and_then(|number| u32::try_from(number).ok()).filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("must be {least} to {most}, not {}", shown(&value.to_string())))
}

fn weight(value: &Value) -> Result<u32, String> {
    number(value, 1, HEAVIEST)
}

fn socket(ip_key: &str, ip: &str, port_key: &str, port: &Value) -> Result<SocketAddr, String> {
    let ip: IpAddr = ip.parse().map_err(|_| format!("{ip_key}: \"{}\" is not an IP address", shown(ip)))?;
    let port = number(port, 1, u16::MAX.into()).map_err(|error| format!("{port_key}: {error}"))?;
    Ok(SocketAddr::new(ip, u16::try_from(port).unwrap_or(u16::MAX)))
}

/// The beginning of what somebody else has written, on one line.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(64).collect()
}

fn label(labels: &mut BTreeMap<String, String>, key: String, value: &Value) {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // A registry's own fields may be of any length: what is too long tells endpoints apart no better.
    if key.len() <= LONGEST_LABEL && text.len() <= LONGEST_LABEL && labels.len() < MOST_LABELS {
        labels.insert(key, text);
    }
}
