//! Metadata that comes with a verdict, as properties of the stream.
//!
//! `dynamic_metadata: { user: alice, plan: { seats: 3 } }` becomes `ext_authz.user` and `ext_authz.plan.seats`. Values are text, which is what filters compare
//! and log: numbers in decimal, `true` and `false`, lists as JSON. What is null is not there.

use std::collections::BTreeMap;

use fyke_sdk::property;

/// Where they begin.
const ROOT: &str = "ext_authz";

/// `google.protobuf.Struct`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

/// `google.protobuf.Value`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<Kind>,
}

/// `google.protobuf.Value.kind`
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Boolean(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

/// `google.protobuf.ListValue`
#[derive(Clone, PartialEq, prost::Message)]
pub struct List {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// Sets the properties. How deep they go is bounded by the decoder.
pub fn publish(metadata: &Struct) {
    members(metadata, &mut vec![ROOT]);
}

fn members<'a>(object: &'a Struct, path: &mut Vec<&'a str>) {
    // A zero byte would be a way into another place.
    for (name, value) in object.fields.iter().filter(|(name, _)| !name.is_empty() && !name.contains('\0')) {
        path.push(name);
        let text = match &value.kind {
            None | Some(Kind::Null(_)) => None,
            Some(Kind::Struct(object)) => {
                members(object, path);
                None
            }
            Some(Kind::Text(text)) => Some(text.clone()),
            Some(other) => Some(json(other)),
        };
        if let Some(text) = text {
            // A host that keeps no properties has nobody who would read them.
            let _ = property::set(path, text);
        }
        path.pop();
    }
}

fn json(kind: &Kind) -> String {
    match kind {
        Kind::Null(_) => "null".to_owned(),
        // JSON has no words for the others.
        Kind::Number(number) if !number.is_finite() => "null".to_owned(),
        Kind::Number(number) => number.to_string(),
        Kind::Boolean(yes) => yes.to_string(),
        Kind::Text(text) => quoted(text),
        Kind::List(list) => format!("[{}]", joined(list.values.iter().map(item))),
        Kind::Struct(object) => {
            let members = object.fields.iter().map(|(name, value)| format!("{}:{}", quoted(name), item(value)));
            format!("{{{}}}", joined(members))
        }
    }
}

fn item(value: &Value) -> String {
    value.kind.as_ref().map_or_else(|| "null".to_owned(), json)
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
