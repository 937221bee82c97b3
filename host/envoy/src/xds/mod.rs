//! A client of Envoy's xDS protocol, version 3, over gRPC: state of the world and delta, aggregated and separate.
//!
//! | module | owns |
//! |---|---|
//! | `machine` | the protocol without I/O: what is subscribed to, what is accepted, what is said to the control plane |
//! | `messages`, `resource_type` | what goes over the wire, and where |
//! | `references` | which other resources a resource needs |
//! | `store` | the last good state on disk |
//! | `backoff` | how long to wait before connecting again |
//! | `client` | what the application says and hears |
//! | `task` | connects, reads, asks the application for its verdict, saves |
//! | `load_reports` | the way back: how much goes where (LRS), over a connection of its own |
//! | `connect`, `grpc` | sockets, TLS, HTTP/2, and the framing of gRPC |
//!
//! One update is with the application at a time, so what is applied is applied in order. It says which resources of it it took; the rest is
//! named to the control plane. Resources of a response that are good are applied together, whatever becomes of the bad ones.

mod backoff;
mod client;
mod codec;
mod connect;
mod grpc;
mod load_reports;
mod machine;
mod messages;
mod references;
mod resource_type;
mod store;
mod task;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use client::{Address, Client, Command, Event, Settings, Tls};
pub use load_reports::{
    ClusterLoad, Counts, EndpointLoad, Figure, Figures, LoadReporter, Loads, LocalityLoad, Notice, Wanted,
};
pub use machine::{Mode, Resource, Streams, Update, Verdict};
pub use references::references;
pub use resource_type::ResourceType;
pub use store::StoreError;
pub use task::run;

use serde_json::{Map, Value};

/// Who this proxy is to a control plane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// `node.id`
    pub id: String,
    /// `node.cluster`
    pub cluster: String,
    /// `node.locality.region`
    pub region: String,
    /// `node.locality.zone`
    pub zone: String,
    /// `node.metadata`
    pub metadata: Map<String, Value>,
    /// The proxy's own version.
    pub version: String,
}

impl Node {
    fn message(&self) -> messages::Node {
        let locality = !(self.region.is_empty() && self.zone.is_empty());
        messages::Node {
            id: self.id.clone(),
            cluster: self.cluster.clone(),
            metadata: (!self.metadata.is_empty()).then(|| as_struct(&self.metadata)),
            locality: locality.then(|| messages::Locality {
                region: self.region.clone(),
                zone: self.zone.clone(),
                sub_zone: String::new(),
            }),
            user_agent_name: "fyke".to_owned(),
            user_agent_version: self.version.clone(),
            // https://www.envoyproxy.io/docs/envoy/latest/api/client_features
            client_features: ["xds.config.supports-resource-ttl", "xds.config.resource-in-sotw"]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

fn as_struct(map: &Map<String, Value>) -> prost_types::Struct {
    prost_types::Struct { fields: map.iter().map(|(key, value)| (key.clone(), as_value(value))).collect() }
}

fn as_value(value: &Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(list) => Kind::ListValue(prost_types::ListValue { values: list.iter().map(as_value).collect() }),
        Value::Object(map) => Kind::StructValue(as_struct(map)),
    };
    prost_types::Value { kind: Some(kind) }
}
