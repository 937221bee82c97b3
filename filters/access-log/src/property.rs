//! Property paths as they are written, with dots, and the types of their values, which the ABI does not carry.

use fyke_sdk::property::{Path, decode_integer};

/// A property, by a path like `request.headers.user-agent`.
#[derive(Debug)]
pub struct Property {
    path: Path,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Boolean,
    /// Nanoseconds.
    Duration,
    /// Nanoseconds since the epoch.
    Moment,
}

/// A value, with its type.
#[derive(Debug, PartialEq)]
pub enum Value {
    Text(Vec<u8>),
    Integer(i64),
    Boolean(bool),
    /// In nanoseconds.
    Duration(i64),
    /// In nanoseconds since the epoch.
    Moment(u64),
}

impl Property {
    /// Takes a path apart at its dots. A header's name keeps its own.
    pub fn parse(text: &str) -> Result<Self, String> {
        let map =
            ["request.headers.", "response.headers.", "response.trailers."].iter().find(|map| text.starts_with(**map));
        let segments: Vec<&str> = match map {
            Some(map) => {
                let (map, name) = text.split_at(map.len());
                map.trim_end_matches('.').split('.').chain(Some(name)).collect()
            }
            None => text.split('.').collect(),
        };
        if segments
            .iter()
            .any(|segment| segment.is_empty() || segment.chars().any(|c| c.is_whitespace() || c.is_control()))
        {
            return Err(format!("\"{text}\" is not a property path, like request.path"));
        }
        Ok(Self { path: Path::new(&segments), kind: kind(text) })
    }

    pub fn read(&self) -> Option<Value> {
        let bytes = self.path.read()?;
        Some(match self.kind {
            Kind::Text => Value::Text(bytes),
            Kind::Boolean => match bytes.as_slice() {
                [byte] => Value::Boolean(*byte != 0),
                // Hosts that answer text: "true".
                _ => Value::Text(bytes),
            },
            Kind::Integer => decode_integer(&bytes).map_or(Value::Text(bytes), Value::Integer),
            Kind::Duration => decode_integer(&bytes).map_or(Value::Text(bytes), Value::Duration),
            Kind::Moment => match decode_integer(&bytes).and_then(|number| u64::try_from(number).ok()) {
                Some(number) => Value::Moment(number),
                None => Value::Text(bytes),
            },
        })
    }
}

/// The types that Envoy documents; everything else is text.
fn kind(path: &str) -> Kind {
    match path {
        "request.size"
        | "request.total_size"
        | "request.headers_bytes"
        | "response.code"
        | "response.size"
        | "response.total_size"
        | "response.headers_bytes"
        | "response.flags"
        | "response.grpc_status"
        | "source.port"
        | "destination.port"
        | "upstream.port"
        | "upstream.request_attempt_count"
        | "upstream.num_endpoints"
        | "connection.id"
        | "xds.filter_chain_index"
        | "xds.listener_direction" => Kind::Integer,
        "connection.mtls" => Kind::Boolean,
        "request.duration" | "response.backend_latency" | "upstream.cx_pool_ready_duration" => Kind::Duration,
        "request.time" => Kind::Moment,
        _ => Kind::Text,
    }
}
