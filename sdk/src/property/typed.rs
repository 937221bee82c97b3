//! Property paths as they are written, with dots, and the types of their values, which the ABI does not carry.

use std::borrow::Cow;

use super::{Path, decode_integer, moment};

/// A property that a configuration names, by a path like `request.headers.user-agent`, with the type of its value.
///
/// ```
/// use fyke_sdk::property::Typed;
///
/// assert!(Typed::parse("source.address").is_ok());
/// assert!(Typed::parse("source..address").is_err());
/// ```
#[derive(Debug, Clone)]
pub struct Typed {
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
    /// A value of metadata, whose type only its bytes tell.
    Metadata,
}

/// A value, with its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Text, or what no other type is known of.
    Text(Cow<'a, [u8]>),
    /// An integer.
    Integer(i64),
    /// A number of metadata.
    Number(f64),
    /// Yes or no.
    Boolean(bool),
    /// In nanoseconds.
    Duration(i64),
    /// In nanoseconds since the epoch.
    Moment(u64),
}

impl<'a> Value<'a> {
    /// As text formats print it: durations in whole milliseconds, moments as RFC 3339.
    #[must_use]
    pub fn into_text(self) -> Cow<'a, [u8]> {
        match self {
            Self::Text(bytes) => bytes,
            Self::Integer(number) => Cow::Owned(number.to_string().into_bytes()),
            // Whole numbers print without a fraction, as they are written in a configuration.
            Self::Number(number) => Cow::Owned(number.to_string().into_bytes()),
            Self::Boolean(yes) => Cow::Borrowed(if yes { b"true" } else { b"false" }),
            Self::Duration(nanoseconds) => Cow::Owned((nanoseconds / 1_000_000).to_string().into_bytes()),
            Self::Moment(nanoseconds) => {
                let mut text = Vec::with_capacity(24);
                moment::write(&mut text, nanoseconds);
                Cow::Owned(text)
            }
        }
    }
}

impl Typed {
    /// Takes a path apart at its dots. A header's name keeps its own.
    ///
    /// # Errors
    /// What is wrong with the path.
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
        Self::of(&segments)
    }

    /// Of a path that is apart already, whose segments may have dots.
    ///
    /// # Errors
    /// What is wrong with the path.
    pub fn of(segments: &[&str]) -> Result<Self, String> {
        let text = segments.join(".");
        let bad = |segment: &&str| segment.is_empty() || segment.chars().any(|c| c.is_whitespace() || c.is_control());
        if segments.is_empty() || segments.iter().any(bad) {
            return Err(format!("\"{text}\" is not a property path, like request.path"));
        }
        Ok(Self { path: Path::new(segments), kind: kind(&text) })
    }

    /// Where it is.
    #[must_use]
    pub const fn path(&self) -> &Path {
        &self.path
    }

    /// The value in the current stream, if there is one.
    #[must_use]
    pub fn read(&self) -> Option<Value<'static>> {
        self.path.read().map(|bytes| self.typed(Cow::Owned(bytes)))
    }

    /// What was read at its path (with [`Reads`](super::Reads)), with its type.
    #[must_use]
    pub fn decode<'a>(&self, bytes: &'a [u8]) -> Value<'a> {
        self.typed(Cow::Borrowed(bytes))
    }

    fn typed<'a>(&self, bytes: Cow<'a, [u8]>) -> Value<'a> {
        match self.kind {
            Kind::Text => Value::Text(bytes),
            Kind::Boolean => match *bytes {
                [byte] => Value::Boolean(byte != 0),
                // Hosts that answer text: "true".
                _ => Value::Text(bytes),
            },
            Kind::Integer => decode_integer(&bytes).map_or(Value::Text(bytes), Value::Integer),
            Kind::Duration => decode_integer(&bytes).map_or(Value::Text(bytes), Value::Duration),
            Kind::Moment => match decode_integer(&bytes).and_then(|number| u64::try_from(number).ok()) {
                Some(number) => Value::Moment(number),
                None => Value::Text(bytes),
            },
            Kind::Metadata => metadata(bytes),
        }
    }
}

/// Numbers of metadata are doubles and booleans single bytes, in Envoy's encoding; text has no control characters.
fn metadata(bytes: Cow<'_, [u8]>) -> Value<'_> {
    let is_text = std::str::from_utf8(&bytes).is_ok_and(|text| !text.contains(|c: char| c.is_control()));
    match (<[u8; 8]>::try_from(&*bytes), &*bytes) {
        (Ok(double), _) if !is_text => Value::Number(f64::from_le_bytes(double)),
        (_, [byte @ (0 | 1)]) => Value::Boolean(*byte == 1),
        _ => Value::Text(bytes),
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
        "connection.mtls" | "fyke.trace.sampled" => Kind::Boolean,
        // A double, as the numbers of metadata are.
        "fyke.tracing.sample" => Kind::Metadata,
        "request.duration" | "response.backend_latency" | "upstream.cx_pool_ready_duration" => Kind::Duration,
        "request.time" => Kind::Moment,
        _ if ["route_metadata.", "node.metadata."].iter().any(|map| path.starts_with(map)) => Kind::Metadata,
        _ => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_has_the_types_that_it_was_written_with() {
        for number in [0.0, 3.0, -1.5, 0.1, 1e300, 16_777_216.0] {
            assert_eq!(metadata(f64::to_le_bytes(number).to_vec().into()), Value::Number(number));
        }
        for (bytes, value) in [(&[0][..], Value::Boolean(false)), (&[1], Value::Boolean(true))] {
            assert_eq!(metadata(bytes.into()), value);
        }
        for text in ["", "1", "payments", "{\"a\":1}", "größer"] {
            assert_eq!(metadata(text.as_bytes().into()), Value::Text(text.as_bytes().into()));
        }
    }
}
