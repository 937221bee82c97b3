//! Where values come from, as it is written: a word, or an object with one key.

use std::fmt;

use fyke_sdk::{FilterConfig, Schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The first value of a request header.
    RequestHeader(String),
    /// A cookie.
    Cookie(String),
    /// The first value of a parameter of the path's query.
    Query(String),
    /// The request's method.
    Method,
    /// The request's path, without its query.
    Path,
    /// The request's authority.
    Host,
    /// The name of the route, where a router was before this filter.
    RouteName,
    /// A key of the route's metadata.
    RouteMetadata(String),
    /// The client's address, without its port.
    RemoteAddress,
    /// The network that the client's address is in.
    MaskedAddress(Mask),
    /// The URI in the certificate that the client has shown, or else its DNS name, or its subject.
    PeerIdentity,
    /// A property by its path: `connection.requested_server_name`, or one that a filter before this one has set.
    Property(String),
    /// Always this.
    Value(String),
}

/// How much of an address counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Mask {
    /// Bits of an IPv4 address, 0 to 32. Default: 24.
    pub ipv4: u8,
    /// Bits of an IPv6 address, 0 to 128. Default: 64.
    pub ipv6: u8,
}

impl Default for Mask {
    fn default() -> Self {
        Self { ipv4: 24, ipv6: 64 }
    }
}

/// Those that are a word.
const WORDS: &[&str] = &["method", "path", "host", "route_name", "remote_address", "masked_address", "peer_identity"];

/// Those that have one key.
const KEYS: &[&str] = &["request_header", "cookie", "query", "route_metadata", "masked_address", "property", "value"];

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a source: a word like remote_address, or an object like { request_header: x-tenant }")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Source, E> {
        Ok(match word {
            "method" => Source::Method,
            "path" => Source::Path,
            "host" => Source::Host,
            "route_name" => Source::RouteName,
            "remote_address" => Source::RemoteAddress,
            "masked_address" => Source::MaskedAddress(Mask::default()),
            "peer_identity" => Source::PeerIdentity,
            _ if KEYS.contains(&word) => {
                return Err(E::custom(format!("write it with what it is of: {{ {word}: ... }}")));
            }
            _ => return Err(E::custom(unknown(word))),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Source, A::Error> {
        let Some(key) = map.next_key::<String>()? else {
            return Err(A::Error::custom("an object with one key is expected"));
        };
        let source = match key.as_str() {
            "request_header" => Source::RequestHeader(map.next_value()?),
            "cookie" => Source::Cookie(map.next_value()?),
            "query" => Source::Query(map.next_value()?),
            "route_metadata" => Source::RouteMetadata(map.next_value()?),
            "masked_address" => Source::MaskedAddress(map.next_value()?),
            "property" => Source::Property(map.next_value()?),
            "value" => Source::Value(map.next_value()?),
            word if WORDS.contains(&word) => {
                return Err(A::Error::custom(format!("\"{word}\" is written as a word, without a value")));
            }
            other => return Err(A::Error::custom(unknown(other))),
        };
        match map.next_key::<String>()? {
            None => Ok(source),
            Some(second) => Err(A::Error::custom(format!("a source has one key, and \"{second}\" is a second one"))),
        }
    }
}

fn unknown(word: &str) -> String {
    let known = || WORDS.iter().chain(KEYS).copied();
    // A part of a name is often what people remember of it.
    let part = known().find(|known| word.len() > 2 && known.contains(word));
    let nearest = known().map(|known| (strsim::damerau_levenshtein(word, known), known)).min();
    let nearest = nearest.filter(|(distance, known)| *distance <= known.len() / 2).map(|(_, known)| known);
    match part.or(nearest) {
        Some(known) => format!("there is no source \"{word}\"; did you mean \"{known}\"?"),
        None => {
            let mut all: Vec<&str> = known().collect();
            all.dedup();
            format!("there is no source \"{word}\"; there are {}", all.join(", "))
        }
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

// Names are not part of it, so that a misspelt one is refused by the reader above, who knows what was meant.
impl FilterConfig for Source {
    const SCHEMA: Schema = Schema::text(r#""anyOf":[{"type":"string"},{"type":"object","minProperties":1}]"#);
}
