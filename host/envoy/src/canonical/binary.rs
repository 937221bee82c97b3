//! From protobuf. Unknown fields are kept by prost-reflect, and so can be named.

use data_encoding::BASE64;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage};
use serde_json::{Map, Number, Value};

use super::{BROKEN, DEEPEST, TYPE, Undecodable, broken, json::Json, print_duration, too_deep, well_known::WellKnown};
use crate::schema::{Schema, type_name};

pub(super) struct Binary<'a> {
    pub schema: &'a Schema,
}

impl Binary<'_> {
    /// A message by its type, with `@type`.
    pub fn typed(&self, type_url: &str, bytes: &[u8], depth: usize) -> Result<Value, Undecodable> {
        let name = type_name(type_url);
        let descriptor = self.schema.message(name).ok_or_else(|| Undecodable::UnknownType(name.to_owned()))?;
        let well_known = WellKnown::of(&descriptor).is_some();
        let message = DynamicMessage::decode(descriptor, bytes)
            .map_err(|error| Undecodable::Malformed { message: name.to_owned(), reason: error.to_string() })?;
        let value = self.message(&message, depth + 1);
        let value = if well_known {
            let mut object = Map::new();
            object.insert("value".to_owned(), value);
            Value::Object(object)
        } else {
            value
        };
        Ok(Json { schema: self.schema }.typed(name, value, depth))
    }

    fn message(&self, message: &DynamicMessage, depth: usize) -> Value {
        if depth > DEEPEST {
            return too_deep();
        }
        let descriptor = message.descriptor();
        if let Some(well_known) = WellKnown::of(&descriptor) {
            return self.well_known(&well_known, message, depth);
        }
        let mut fields = Map::new();
        for (field, value) in message.fields() {
            fields.insert(field.name().to_owned(), self.value(&field, value, depth + 1));
        }
        for unknown in message.unknown_fields() {
            let reason = format!("is no field of {} that this version knows", descriptor.full_name());
            fields.insert(format!("{BROKEN}{}", unknown.number()), Value::String(reason));
        }
        Value::Object(fields)
    }

    fn well_known(&self, kind: &WellKnown, message: &DynamicMessage, depth: usize) -> Value {
        let number = |name: &str| {
            message.get_field_by_name(name).and_then(|value| value.as_i64().or_else(|| value.as_i32().map(i64::from)))
        };
        match kind {
            WellKnown::Duration => {
                let (seconds, nanos) = (number("seconds").unwrap_or(0), number("nanos").unwrap_or(0));
                let one_sign = (seconds >= 0 && nanos >= 0) || (seconds <= 0 && nanos <= 0);
                let whole = u32::try_from(nanos.unsigned_abs()).ok().filter(|nanos| *nanos < 1_000_000_000);
                match whole {
                    Some(nanos) if one_sign && seconds.unsigned_abs() <= 315_576_000_000 => {
                        let duration = std::time::Duration::new(seconds.unsigned_abs(), nanos);
                        Value::String(print_duration(seconds < 0 || number("nanos") < Some(0), duration))
                    }
                    _ => broken("is no duration"),
                }
            }
            // Nothing that is translated has a moment in it; its seconds are enough to be shown.
            WellKnown::Timestamp => Value::from(number("seconds").unwrap_or(0)),
            WellKnown::Wrapper => {
                match (message.descriptor().get_field_by_name("value"), message.get_field_by_name("value")) {
                    (Some(field), Some(value)) => self.one(&field, &value, depth),
                    _ => Value::Null,
                }
            }
            WellKnown::FieldMask => match message.get_field_by_name("paths") {
                Some(paths) => {
                    let paths = paths.as_list().unwrap_or_default().iter().filter_map(|path| path.as_str());
                    Value::String(paths.collect::<Vec<_>>().join(","))
                }
                None => Value::String(String::new()),
            },
            WellKnown::Any => self.any(message, depth),
            WellKnown::Json => self.plain(message, depth),
        }
    }

    fn any(&self, message: &DynamicMessage, depth: usize) -> Value {
        let url = message.get_field_by_name("type_url");
        let url = url.as_ref().and_then(|url| url.as_str()).unwrap_or_default();
        let bytes = message.get_field_by_name("value");
        let bytes = bytes.as_ref().and_then(|bytes| bytes.as_bytes()).map(AsRef::as_ref).unwrap_or_default();
        if url.is_empty() {
            return broken("\"@type\" is missing");
        }
        match self.typed(url, bytes, depth) {
            Ok(value) => value,
            Err(Undecodable::UnknownType(name)) => {
                let mut object = Map::new();
                object.insert(TYPE.to_owned(), Value::String(name));
                object.insert("value".to_owned(), Value::String(BASE64.encode(bytes)));
                Value::Object(object)
            }
            Err(error) => broken(error.to_string()),
        }
    }

    /// `Struct`, `Value` and `ListValue`.
    fn plain(&self, message: &DynamicMessage, depth: usize) -> Value {
        if depth > DEEPEST {
            return too_deep();
        }
        let descriptor = message.descriptor();
        let Some((field, value)) = message.fields().next() else {
            return match descriptor.name() {
                "Struct" => Value::Object(Map::new()),
                "ListValue" => Value::Array(Vec::new()),
                _ => Value::Null,
            };
        };
        match field.name() {
            "null_value" => Value::Null,
            _ => self.value(&field, value, depth + 1),
        }
    }

    fn value(&self, field: &FieldDescriptor, value: &prost_reflect::Value, depth: usize) -> Value {
        if let Some(map) = value.as_map() {
            let Kind::Message(entry) = field.kind() else { return broken("is no map") };
            let of = entry.map_entry_value_field();
            return Value::Object(map.iter().map(|(key, value)| (name(key), self.one(&of, value, depth))).collect());
        }
        if let Some(list) = value.as_list() {
            return Value::Array(list.iter().map(|value| self.one(field, value, depth)).collect());
        }
        self.one(field, value, depth)
    }

    fn one(&self, field: &FieldDescriptor, value: &prost_reflect::Value, depth: usize) -> Value {
        use prost_reflect::Value as Of;
        match value {
            Of::Bool(value) => Value::Bool(*value),
            Of::I32(value) => Value::from(*value),
            Of::I64(value) => Value::from(*value),
            Of::U32(value) => Value::from(*value),
            Of::U64(value) => Value::from(*value),
            // As short as it is written: 0.1, not 0.10000000149.
            Of::F32(value) => float(value.to_string().parse().unwrap_or(f64::NAN)),
            Of::F64(value) => float(*value),
            Of::String(value) => Value::String(value.clone()),
            Of::Bytes(value) => Value::String(BASE64.encode(value)),
            Of::EnumNumber(number) => match field.kind() {
                Kind::Enum(descriptor) => match descriptor.get_value(*number) {
                    Some(value) => Value::String(value.name().to_owned()),
                    None => broken(format!("{number} is no value of {}", descriptor.full_name())),
                },
                _ => Value::from(*number),
            },
            Of::Message(message) => self.message(message, depth),
            Of::List(_) | Of::Map(_) => broken("is a list in a list"),
        }
    }
}

fn float(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| broken("is no finite number"), Value::Number)
}

fn name(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
