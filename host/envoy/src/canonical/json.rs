//! From proto3's JSON mapping: both spellings of a field's name, enumerators by number, integers as text.

use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::{BROKEN, DEEPEST, TYPE, broken, scalar, too_deep, well_known::WellKnown};
use crate::schema::{Schema, type_name};

pub(super) struct Json<'a> {
    pub schema: &'a Schema,
}

impl Json<'_> {
    pub fn message(&self, descriptor: &MessageDescriptor, value: Value, depth: usize) -> Value {
        if depth > DEEPEST {
            return too_deep();
        }
        match value {
            Value::Object(object) => self.fields(descriptor, object, depth),
            other => {
                let reason = format!("expected an object of {}, found {}", descriptor.name(), scalar::kind(&other));
                broken(reason)
            }
        }
    }

    fn fields(&self, descriptor: &MessageDescriptor, object: Map<String, Value>, depth: usize) -> Value {
        let mut fields = Map::new();
        for (key, value) in object {
            let found = descriptor.get_field_by_name(&key).or_else(|| descriptor.get_field_by_json_name(&key));
            let Some(field) = found else {
                fields.insert(format!("{BROKEN}{key}"), Value::String(unknown(descriptor, &key)));
                continue;
            };
            if value.is_null() {
                continue;
            }
            if fields.contains_key(field.name()) {
                fields.insert(field.name().to_owned(), broken("is there twice, in both spellings"));
                continue;
            }
            if let Some(other) = exclusive(&field, &fields) {
                let reason = format!("excludes {other:?}, which is there as well");
                fields.insert(field.name().to_owned(), broken(reason));
                continue;
            }
            let value = self.field(&field, value, depth + 1);
            if field.supports_presence() || !is_default(&field, &value) {
                fields.insert(field.name().to_owned(), value);
            }
        }
        Value::Object(fields)
    }

    fn field(&self, field: &FieldDescriptor, value: Value, depth: usize) -> Value {
        if field.is_map() {
            let Value::Object(object) = value else {
                return broken(format!("expected an object, found {}", scalar::kind(&value)));
            };
            let Kind::Message(entry) = field.kind() else { return broken("is no map") };
            let of = entry.map_entry_value_field();
            let entries = object.into_iter().map(|(key, value)| {
                let value =
                    if value.is_null() { broken("a map has no empty values") } else { self.one(&of, value, depth) };
                (key, value)
            });
            return Value::Object(entries.collect());
        }
        if field.cardinality() == Cardinality::Repeated {
            let list = match value {
                Value::Array(list) => list,
                // As protobuf's parser of JSON has it, which Envoy's own examples rely on.
                value @ Value::Object(_) if matches!(field.kind(), Kind::Message(_)) => vec![value],
                other => return broken(format!("expected a list, found {}", scalar::kind(&other))),
            };
            return Value::Array(list.into_iter().map(|item| self.one(field, item, depth)).collect());
        }
        self.one(field, value, depth)
    }

    fn one(&self, field: &FieldDescriptor, value: Value, depth: usize) -> Value {
        match field.kind() {
            Kind::Bool => scalar::boolean(value),
            Kind::String => scalar::text(value),
            Kind::Bytes => scalar::bytes(value),
            Kind::Double | Kind::Float => scalar::float(value),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => scalar::integer(&value, i32::MIN.into(), i32::MAX.into()),
            Kind::Uint32 | Kind::Fixed32 => scalar::integer(&value, 0, u32::MAX.into()),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => scalar::integer(&value, i64::MIN.into(), i64::MAX.into()),
            Kind::Uint64 | Kind::Fixed64 => scalar::integer(&value, 0, u64::MAX.into()),
            Kind::Enum(descriptor) => scalar::enumerator(&descriptor, &value),
            Kind::Message(descriptor) => self.embedded(&descriptor, value, depth),
        }
    }

    fn embedded(&self, descriptor: &MessageDescriptor, value: Value, depth: usize) -> Value {
        match WellKnown::of(descriptor) {
            None => self.message(descriptor, value, depth),
            Some(WellKnown::Any) => self.any(value, depth),
            Some(WellKnown::Duration) => super::well_known::duration(&value),
            Some(WellKnown::Timestamp | WellKnown::FieldMask) => scalar::text(value),
            Some(WellKnown::Json) => value,
            Some(WellKnown::Wrapper) => match descriptor.get_field_by_name("value") {
                Some(field) => self.one(&field, value, depth),
                None => value,
            },
        }
    }

    pub fn any(&self, value: Value, depth: usize) -> Value {
        if depth > DEEPEST {
            return too_deep();
        }
        let Value::Object(mut object) = value else {
            return broken(format!("expected an object with \"@type\", found {}", scalar::kind(&value)));
        };
        if object.is_empty() {
            // As if it were not there; whoever needs it says so.
            return Value::Object(object);
        }
        let url = match object.shift_remove(TYPE) {
            Some(Value::String(url)) => url,
            Some(_) => return broken("\"@type\" is not text"),
            None => return broken("\"@type\" is missing"),
        };
        let name = type_name(&url);
        let Some(descriptor) = self.schema.message(name) else {
            // Whoever reads it says that he does not know the type.
            object.shift_insert(0, TYPE.to_owned(), Value::String(name.to_owned()));
            return Value::Object(object);
        };
        let value = match WellKnown::of(&descriptor) {
            None => self.message(&descriptor, Value::Object(object), depth + 1),
            Some(_) => match object.shift_remove("value") {
                Some(value) => {
                    object.insert("value".to_owned(), self.embedded(&descriptor, value, depth + 1));
                    Value::Object(object)
                }
                None => broken("\"value\" is missing"),
            },
        };
        self.typed(name, value, depth)
    }

    /// Says of a message what it is; one that stands for another one is that.
    pub fn typed(&self, name: &str, value: Value, depth: usize) -> Value {
        let Value::Object(mut object) = value else { return value };
        if object.contains_key(BROKEN) {
            return Value::Object(object);
        }
        if !matches!(name, "xds.type.v3.TypedStruct" | "udpa.type.v1.TypedStruct") {
            object.shift_insert(0, TYPE.to_owned(), Value::String(name.to_owned()));
            return Value::Object(object);
        }
        let Some(Value::String(url)) = object.shift_remove("type_url") else {
            return broken("the type_url of a TypedStruct is missing");
        };
        match object.shift_remove("value") {
            Some(Value::Object(mut inner)) => {
                inner.insert(TYPE.to_owned(), Value::String(url));
                self.any(Value::Object(inner), depth + 1)
            }
            None => {
                object.insert(TYPE.to_owned(), Value::String(url));
                self.any(Value::Object(object), depth + 1)
            }
            Some(_) => broken("the value of a TypedStruct is no object"),
        }
    }
}

/// Another field of the same `oneof` that is there already.
fn exclusive(field: &FieldDescriptor, fields: &Map<String, Value>) -> Option<String> {
    let oneof = field.containing_oneof()?;
    oneof.fields().map(|other| other.name().to_owned()).find(|name| fields.contains_key(name))
}

/// Whether a value is what protobuf does not send.
fn is_default(field: &FieldDescriptor, value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => match field.kind() {
            Kind::Enum(descriptor) => descriptor.default_value().name() == text,
            _ => text.is_empty(),
        },
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => field.is_map() && object.is_empty(),
        Value::Null => true,
    }
}

fn unknown(descriptor: &MessageDescriptor, key: &str) -> String {
    let names = descriptor.fields().map(|field| field.name().to_owned());
    let nearest = names.map(|name| (strsim::damerau_levenshtein(key, &name), name)).min();
    let nearest = nearest.filter(|(distance, name)| *distance <= name.len().max(key.len()) / 3);
    match nearest {
        Some((_, name)) => format!("is no field of {}; did you mean {name:?}?", descriptor.full_name()),
        None => format!("is no field of {}", descriptor.full_name()),
    }
}
