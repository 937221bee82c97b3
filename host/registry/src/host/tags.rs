//! Tags of hosts: those that Envoy and lyft/discovery know, and others.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{
    Weight,
    value::{Fields, line, number, text, typed},
};
use crate::error::{Problem, shown};

/// What a host says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tags {
    /// Its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub az: Option<String>,
    /// Whether it tries something new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<bool>,
    /// Which machine it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Its share of the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancing_weight: Option<Weight>,
    /// Its region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The others.
    #[serde(flatten)]
    pub other: BTreeMap<String, Scalar>,
}

/// The value of a tag that has no meaning of its own here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
}

impl Tags {
    const NAME: usize = 64;
    const VALUE: usize = 256;

    pub(crate) fn read(fields: &Fields, most: usize) -> Result<Self, Problem> {
        if fields.len() > most {
            return Err(Problem::new("", format!("must be at most {most}, not {}", fields.len())));
        }
        let word = |name| typed(fields, name, |value| text(value, Self::VALUE).map(str::to_owned));
        let weight = |value: &_| number(value, 1, 100).map(|number| Weight(u8::try_from(number).unwrap_or(100)));
        Ok(Self {
            az: word("az")?,
            canary: typed(fields, "canary", boolean)?,
            instance_id: word("instance_id")?,
            load_balancing_weight: typed(fields, "load_balancing_weight", weight)?,
            region: word("region")?,
            other: others(fields)?,
        })
    }
}

fn others(fields: &Fields) -> Result<BTreeMap<String, Scalar>, Problem> {
    let known = ["az", "canary", "instance_id", "load_balancing_weight", "region"];
    let mut others = BTreeMap::new();
    for (name, value) in fields.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
        let read = if name.is_empty() || name.len() > Tags::NAME || !name.chars().all(fits) {
            Err(format!("a tag's name must be 1 to {} of A-Z a-z 0-9 . _ - /", Tags::NAME))
        } else {
            scalar(value)
        };
        others.insert(name.clone(), read.map_err(|message| Problem::new(shown(name), message))?);
    }
    Ok(others)
}

fn scalar(value: &Value) -> Result<Scalar, String> {
    match value {
        Value::Bool(value) => Ok(Scalar::Boolean(*value)),
        Value::Number(number) if number.is_i64() => Ok(Scalar::Integer(number.as_i64().unwrap_or_default())),
        Value::String(value) => line(value, Tags::VALUE).map(|()| Scalar::Text(value.clone())),
        _ => Err(format!("must be a string, a whole number, true or false, not {}", shown(value))),
    }
}

/// As JSON, or as lyft/discovery's "boolean string".
fn boolean(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(format!("must be true or false, not {}", shown(value))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: &Value, most: usize) -> Result<Tags, Problem> {
        Tags::read(json.as_object().unwrap(), most)
    }

    #[test]
    fn tags_of_lyft_discovery_are_taken_as_they_are_sent() {
        let sent = json!({"az": "us-east-1a", "region": "us-east-1", "instance_id": "i-934342", "canary": "true",
            "load_balancing_weight": "3", "onebox_name": "x", "shards": 4, "spot": false});
        let tags = read(&sent, 8).unwrap();
        assert_eq!(
            serde_json::to_string(&tags).unwrap(),
            r#"{"az":"us-east-1a","canary":true,"instance_id":"i-934342","load_balancing_weight":3,"region":"us-east-1","onebox_name":"x","shards":4,"spot":false}"#
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (json, field) in [
            (json!({"az": 7}), "az"),
            (json!({"az": "x".repeat(257)}), "az"),
            (json!({"canary": "perhaps"}), "canary"),
            (json!({"load_balancing_weight": 0}), "load_balancing_weight"),
            (json!({"load_balancing_weight": 101}), "load_balancing_weight"),
            (json!({"x": [1]}), "x"),
            (json!({"a b": 1}), "a b"),
            (json!({"a": 1, "b": 2, "c": 3}), ""),
        ] {
            assert_eq!(read(&json, 2).unwrap_err().field, field, "{json}");
        }
    }

    #[test]
    fn a_tag_cannot_stand_in_for_another() {
        // `other` is flattened: a name that has a field of its own must never get there.
        let tags = read(&json!({"az": null, "region": "r"}), 9).unwrap();
        assert_eq!(serde_json::to_string(&tags).unwrap(), r#"{"region":"r"}"#);
    }
}
