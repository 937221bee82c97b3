//! `envoy.config.listener.v3.FilterChainMatch`

use std::net::IpAddr;

use crate::{reader::Reader, translate::common};

/// What connections a chain takes; what is empty is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    pub destination_port: Option<u64>,
    pub destination: Vec<(IpAddr, u8)>,
    pub sni: Vec<String>,
    pub transport: Option<&'static str>,
    pub alpn: Vec<String>,
    pub source: Vec<(IpAddr, u8)>,
    pub source_ports: Vec<u64>,
}

pub(super) fn conditions(reader: &Reader<'_>) -> Conditions {
    let networks = |key: &str| reader.messages(key).iter().filter_map(common::network).collect::<Vec<_>>();
    let mut conditions = Conditions {
        destination_port: reader.bounded("destination_port", 1, 65_535),
        destination: networks("prefix_ranges"),
        source: networks("source_prefix_ranges"),
        ..Conditions::default()
    };
    for name in reader.texts("server_names") {
        let lower = name.to_ascii_lowercase();
        let inner = lower.strip_prefix("*.").unwrap_or(&lower);
        if inner.is_empty() || inner.contains('*') {
            reader.refuse_at("server_names", format!("{name:?}: a name is whole, or begins with *."));
            continue;
        }
        conditions.sni.push(lower);
    }
    conditions.alpn = reader.texts("application_protocols").into_iter().map(str::to_owned).collect();
    for port in reader.unsigneds("source_ports") {
        if (1..=65_535).contains(&port) {
            conditions.source_ports.push(port);
        } else {
            reader.refuse_at("source_ports", format!("{port} is no port from 1 to 65535"));
        }
    }
    conditions.transport = match reader.text("transport_protocol") {
        None | Some("") => None,
        Some("tls") => Some("tls"),
        Some("raw_buffer") => Some("plain"),
        Some(other) => {
            reader.refuse_at("transport_protocol", format!("{other} is not told apart: tls and raw_buffer are"));
            None
        }
    };
    match reader.text("source_type") {
        None | Some("ANY") => {}
        Some(_) => reader.refuse_at("source_type", "say which networks: source_prefix_ranges"),
    }
    conditions
}
