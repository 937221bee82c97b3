//! The configuration.

use std::fmt;
use std::time::Duration;

use fyke_sdk::FilterConfig;
use fyke_sdk::units::optional_duration;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Which pages of other origins may do what.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https://app.example.com`, with its port where it has one; `https://*.example.com` for every name below; `*` for all. Or what
    /// they are like: `{ regex: "https://[a-z]+[.]example[.]com" }`.
    pub allow_origins: Vec<Origin>,
    /// What preflights are told is allowed. Default: GET, HEAD and POST.
    #[serde(default = "simple_methods")]
    pub allow_methods: Vec<String>,
    /// Request headers that pages may set beyond the harmless ones; `*` for all that they ask for. Default: none.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Response headers that pages may read beyond the harmless ones. Default: none.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Whether requests may carry cookies. Not together with the origin `*`. Default: false.
    #[serde(default)]
    pub allow_credentials: bool,
    /// How long browsers may remember a preflight's answer. Default: they decide.
    #[serde(default, deserialize_with = "optional_duration")]
    pub max_age: Option<Duration>,
}

/// Which origins are meant: one, those below a name, or all; or those that are like this.
#[derive(Debug, FilterConfig)]
#[serde(untagged)]
pub enum Origin {
    /// An origin, `https://*.example.com`, or `*`.
    Text(String),
    /// A condition.
    Match(OriginMatch),
}

/// What origins are like. Exactly one kind.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct OriginMatch {
    /// The whole origin.
    pub exact: Option<String>,
    /// Its beginning.
    pub prefix: Option<String>,
    /// Its end.
    pub suffix: Option<String>,
    /// A part of it.
    pub contains: Option<String>,
    /// The whole origin, as a regular expression.
    pub regex: Option<String>,
    /// Takes letters in either case. Default: no.
    #[serde(default)]
    pub ignore_case: bool,
}

/// Text, or an object. Not serde's untagged enum, whose errors say neither what is wrong nor where.
struct OriginVisitor;

impl<'de> Visitor<'de> for OriginVisitor {
    type Value = Origin;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an origin, like https://app.example.com, or one of exact, prefix, suffix, contains and regex")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Origin, E> {
        Ok(Origin::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Origin, A::Error> {
        OriginMatch::deserialize(MapAccessDeserializer::new(map)).map(Origin::Match)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OriginVisitor)
    }
}

fn simple_methods() -> Vec<String> {
    ["GET", "HEAD", "POST"].map(str::to_owned).to_vec()
}
