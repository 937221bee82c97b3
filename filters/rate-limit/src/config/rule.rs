//! Rules, as they are written.

use fyke_limiter::{Amount, Limit};
use fyke_sdk::units::Percent;
use fyke_sdk::{FilterConfig, Schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::Source;

/// Whom it is about, what of it is counted apart, and how much may come.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// In metrics, in the `RateLimit` field, and in the key: letters, digits, `_`, `-` and `.`, at most 64. No two rules have the same.
    pub name: String,
    /// All of these must be true. Default: it is about everything.
    #[serde(default)]
    pub when: Vec<Condition>,
    /// What is counted apart: one count for each combination of values. A rule is not about a request of which a part yields nothing. Default: one
    /// count for all.
    #[serde(default)]
    pub key: Vec<Part>,
    /// How much may come: `100/s`, or an object.
    pub limit: Option<Limit>,
    /// Whether it is counted for all processes, by `redis` or by the service of `global`. `limit` then goes to a service as an override, where it is a rate of one
    /// second, minute, hour or day, and is what `failure_mode: local` applies. Default: false.
    #[serde(default)]
    pub global: bool,
    /// How much a request counts: a number, or an object. Default: 1.
    #[serde(default)]
    pub cost: Cost,
    /// Whether it only counts what it would refuse. Default: false.
    #[serde(default)]
    pub shadow: bool,
    /// For which share of the keys it is more than a shadow; always the same ones, and with a larger share those of a smaller one. Default: 100%.
    pub rollout: Option<Percent>,
    /// From which part of the limit on a request counts as `near`. Default: 80%.
    pub near: Option<Percent>,
    /// How many of its busiest keys are shown in a metric, at most 100. Default: 0.
    #[serde(default)]
    pub top: u8,
}

/// A test of one value. Exactly one of the tests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The value.
    pub from: Source,
    /// It is this.
    pub is: Option<String>,
    /// It is one of these.
    #[serde(default)]
    pub any_of: Vec<String>,
    /// It begins with this.
    pub prefix: Option<String>,
    /// It matches this regular expression, anywhere.
    pub regex: Option<String>,
    /// It is an address in one of these networks: `10.0.0.0/8`, `::1`.
    #[serde(default)]
    pub networks: Vec<String>,
    /// Whether there is one that is not empty.
    pub present: Option<bool>,
    /// True where the test is not. Default: false.
    #[serde(default)]
    pub not: bool,
}

/// A part of a key.
#[derive(Debug, Clone, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The value.
    pub from: Source,
    /// The key of this entry in a descriptor of a global rule. Default: of headers, cookies, parameters, metadata and properties their name; of `value`
    /// `generic_key`, of `masked_address` `masked_remote_address`, else the name of the source.
    #[serde(rename = "as")]
    pub name: Option<String>,
    /// What counts is the first group of this regular expression (or all that it matches), in the first KiB. What it does not match yields nothing.
    pub regex: Option<String>,
    /// Taken where there is no value. Default: the rule is not about such a request.
    pub default: Option<String>,
    /// Whether upper case counts as lower case. Default: false.
    #[serde(default)]
    pub lower_case: bool,
}

/// How much something counts.
#[derive(Debug, Clone, Default)]
pub enum Cost {
    /// One.
    #[default]
    One,
    /// Always so much.
    Fixed(Amount),
    /// What a stream says.
    Of(Of),
}

struct CostVisitor;

impl<'de> Visitor<'de> for CostVisitor {
    type Value = Cost;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a cost: a number, or an object like { from: { request_header: x-cost } }")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Cost, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Cost, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Cost, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cost, E> {
        Amount::parse(text).map(Cost::Fixed).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Cost, A::Error> {
        Of::deserialize(MapAccessDeserializer::new(map)).map(Cost::Of)
    }
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CostVisitor)
    }
}

impl FilterConfig for Cost {
    const SCHEMA: Schema = Schema {
        before: "\"anyOf\":[{",
        inner: &[Amount::SCHEMA, Schema { before: "},{", inner: &[Of::SCHEMA], after: "}]" }],
        after: "",
    };
}

/// How much a stream says that it counts.
#[derive(Debug, Clone, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Of {
    /// Where it says so.
    pub from: CostSource,
    /// The least. Default: 1.
    pub minimum: Option<Amount>,
    /// The most. Default: 10^9.
    pub maximum: Option<Amount>,
    /// Of how many bytes one counts, where bytes count. Default: 1.
    pub per: Option<Amount>,
}

/// Where a stream says how much it counts. What it says only at its end is charged afterwards, and may overdraw a limit by ten bursts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum CostSource {
    /// A number in a request header; the minimum, where there is none.
    RequestHeader(String),
    /// A number in a header of the answer; afterwards.
    ResponseHeader(String),
    /// Bytes of the request's body: by its `content-length`, or else afterwards. Of a TCP connection what the client has sent; afterwards.
    RequestSize,
    /// Bytes of the answer's body; afterwards.
    ResponseSize,
}
