//! Requests and responses in the JSON form of proto3 (<https://protobuf.dev/programming-guides/json/>), for `POST /json`.
//!
//! Names may be those of the fields or in camel case, numbers may be text, and units are names or numbers, as the form allows. What comes is
//! refused where it has unknown fields; what goes leaves out what is zero or empty.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::{Map, Value};

use crate::messages::{
    Code, DescriptorStatus, Entry, RateLimitDescriptor, RateLimitOverride, RateLimitRequest, RateLimitResponse,
    UInt64Value, Unit,
};

/// Reads a request.
pub(crate) fn request(body: &[u8]) -> Result<RateLimitRequest, String> {
    let request: Request = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let descriptors = request.descriptors.unwrap_or_default().into_iter().map(|descriptor| {
        let entries = descriptor.entries.unwrap_or_default().into_iter();
        RateLimitDescriptor {
            entries: entries
                .map(|entry| Entry { key: entry.key.unwrap_or_default(), value: entry.value.unwrap_or_default() })
                .collect(),
            limit: descriptor.limit.map(|limit| RateLimitOverride {
                requests_per_unit: limit.requests_per_unit.unwrap_or(Number(0)).0,
                unit: limit.unit.map_or(0, |unit| unit.0),
            }),
            hits_addend: descriptor.hits_addend.map(|Number(value)| UInt64Value { value }),
        }
    });
    Ok(RateLimitRequest {
        domain: request.domain.unwrap_or_default(),
        descriptors: descriptors.collect(),
        hits_addend: request.hits_addend.unwrap_or(Number(0)).0,
    })
}

/// Writes a response.
pub(crate) fn response(response: &RateLimitResponse) -> String {
    let mut body = Map::new();
    body.insert("overallCode".to_owned(), code(response.overall_code()).into());
    body.insert("statuses".to_owned(), response.statuses.iter().map(status).collect());
    if !response.response_headers_to_add.is_empty() {
        let headers = response.response_headers_to_add.iter().map(|header| {
            let mut fields = Map::new();
            fields.insert("key".to_owned(), header.key.as_str().into());
            fields.insert("value".to_owned(), header.value.as_str().into());
            Value::Object(fields)
        });
        body.insert("responseHeadersToAdd".to_owned(), headers.collect());
    }
    Value::Object(body).to_string()
}

fn status(status: &DescriptorStatus) -> Value {
    let mut fields = Map::new();
    fields.insert("code".to_owned(), code(status.code()).into());
    if let Some(limit) = &status.current_limit {
        let mut of_limit = Map::new();
        if !limit.name.is_empty() {
            of_limit.insert("name".to_owned(), limit.name.as_str().into());
        }
        if limit.requests_per_unit > 0 {
            of_limit.insert("requestsPerUnit".to_owned(), limit.requests_per_unit.into());
        }
        of_limit.insert("unit".to_owned(), limit.unit().name().to_ascii_uppercase().into());
        fields.insert("currentLimit".to_owned(), of_limit.into());
    }
    if status.limit_remaining > 0 {
        fields.insert("limitRemaining".to_owned(), status.limit_remaining.into());
    }
    if let Some(reset) = &status.duration_until_reset {
        fields.insert("durationUntilReset".to_owned(), format!("{}s", reset.seconds).into());
    }
    fields.into()
}

const fn code(code: Code) -> &'static str {
    match code {
        Code::Unknown => "UNKNOWN",
        Code::Ok => "OK",
        Code::OverLimit => "OVER_LIMIT",
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    domain: Option<String>,
    descriptors: Option<Vec<Descriptor>>,
    #[serde(alias = "hitsAddend")]
    hits_addend: Option<Number<u32>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Descriptor {
    entries: Option<Vec<Pair>>,
    limit: Option<Limit>,
    #[serde(alias = "hitsAddend")]
    hits_addend: Option<Number<u64>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    key: Option<String>,
    value: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    #[serde(alias = "requestsPerUnit")]
    requests_per_unit: Option<Number<u32>>,
    unit: Option<UnitNumber>,
}

/// A number, or text with a number.
struct Number<T>(T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_any(NumberVisitor)?;
        T::try_from(number).map(Self).map_err(|_| D::Error::custom(format!("{number} is too large")))
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, as such or as text")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<u64, E> {
        // 1.0 and 1e3 are whole numbers too. Below 2^53 nothing is lost.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within bounds, and whole")]
        if number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number) {
            return Ok(number as u64);
        }
        Err(E::custom(format!("{number} is no whole number from 0 on")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        text.parse().map_err(|_| E::custom(format!("{text:?} is no whole number from 0 on")))
    }
}

/// A unit's name or number.
struct UnitNumber(i32);

impl<'de> Deserialize<'de> for UnitNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) if name == "UNKNOWN" => Ok(Self(0)),
            Value::String(name) => {
                let unit = Unit::ALL.into_iter().find(|unit| unit.name().to_ascii_uppercase() == name);
                unit.map(|unit| Self(unit.into())).ok_or_else(|| D::Error::custom(format!("{name:?} is no unit")))
            }
            value => {
                let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
                number.map(Self).ok_or_else(|| D::Error::custom(format!("{value} is no unit")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::messages::{CurrentLimit, Duration, HeaderValue};

    #[test]
    fn both_forms_of_names_and_numbers_are_read() {
        let expected = RateLimitRequest {
            domain: "d".to_owned(),
            descriptors: vec![RateLimitDescriptor {
                entries: vec![Entry { key: "k".to_owned(), value: "v".to_owned() }],
                limit: Some(RateLimitOverride { requests_per_unit: 7, unit: Unit::Hour.into() }),
                hits_addend: Some(UInt64Value { value: 0 }),
            }],
            hits_addend: 3,
        };
        let entries = r#""entries":[{"key":"k","value":"v"}]"#;
        let camel = format!(
            r#"{{"domain":"d","hitsAddend":3,"descriptors":[{{{entries},"limit":{{"requestsPerUnit":7,"unit":"HOUR"}},"hitsAddend":"0"}}]}}"#
        );
        let snake = format!(
            r#"{{"domain":"d","hits_addend":"3","descriptors":[{{{entries},"limit":{{"requests_per_unit":7.0,"unit":3}},"hits_addend":0}}]}}"#
        );
        assert_eq!(request(camel.as_bytes()).unwrap(), expected);
        assert_eq!(request(snake.as_bytes()).unwrap(), expected);
        let nothing = br#"{"domain":null,"descriptors":null,"hitsAddend":null}"#;
        assert_eq!(request(nothing).unwrap(), RateLimitRequest::default());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for wrong in [
            "",
            "[]",
            r#"{"domian":"d"}"#,
            r#"{"hitsAddend":-1}"#,
            r#"{"hitsAddend":1.5}"#,
            r#"{"hitsAddend":4294967296}"#,
            r#"{"descriptors":[{"limit":{"unit":"FORTNIGHT"}}]}"#,
        ] {
            assert!(request(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_response_leaves_out_what_is_zero() {
        let limit = CurrentLimit { requests_per_unit: 1, unit: Unit::Minute.into(), name: String::new() };
        let answer = RateLimitResponse {
            overall_code: Code::OverLimit.into(),
            statuses: vec![
                DescriptorStatus {
                    code: Code::OverLimit.into(),
                    current_limit: Some(limit.clone()),
                    limit_remaining: 0,
                    duration_until_reset: Some(Duration { seconds: 5, nanos: 0 }),
                },
                DescriptorStatus { code: Code::Ok.into(), ..DescriptorStatus::default() },
                DescriptorStatus {
                    code: Code::Ok.into(),
                    current_limit: Some(CurrentLimit { name: "n".to_owned(), ..limit }),
                    limit_remaining: 9,
                    duration_until_reset: None,
                },
            ],
            response_headers_to_add: vec![HeaderValue { key: "a".to_owned(), value: "b".to_owned() }],
        };
        let expected = concat!(
            r#"{"overallCode":"OVER_LIMIT","statuses":[{"code":"OVER_LIMIT","currentLimit":{"requestsPerUnit":1,"unit":"MINUTE"},"#,
            r#""durationUntilReset":"5s"},{"code":"OK"},{"code":"OK","currentLimit":{"name":"n","requestsPerUnit":1,"unit":"MINUTE"},"#,
            r#""limitRemaining":9}],"responseHeadersToAdd":[{"key":"a","value":"b"}]}"#
        );
        assert_eq!(response(&answer), expected);
    }

    proptest! {
        #[test]
        fn no_body_is_too_strange_to_be_refused(
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                "[{}\\[\\]:,\"]{0,40}".prop_map(String::into_bytes),
                "\\{\"(hitsAddend|domain|descriptors)\":[-0-9.eE\"\\[\\]{}]{1,30}\\}".prop_map(String::into_bytes),
            ],
        ) {
            if let Err(message) = request(&body) {
                prop_assert!(!message.is_empty());
            }
        }
    }
}
