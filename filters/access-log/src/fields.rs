//! JSON records: one object, its keys in the order of the configuration.

use fyke_sdk::property::{Reads, Value, Values};

use crate::command::Property;
use crate::escape;
use crate::template::Template;

/// Keys, already written as JSON, and where their values come from.
#[derive(Debug)]
pub struct Record {
    fields: Vec<(Vec<u8>, Source)>,
}

#[derive(Debug)]
enum Source {
    /// With its type: numbers are numbers, what is missing is null.
    Property(Property),
    /// Always a string.
    Template(Template),
}

/// What a record has when the configuration does not say.
pub const DEFAULT: &[(&str, &str)] = &[
    ("time", "request.time"),
    ("method", "request.method"),
    ("path", "request.path"),
    ("host", "request.host"),
    ("protocol", "request.protocol"),
    ("status", "response.code"),
    ("details", "response.code_details"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("bytes_received", "request.size"),
    ("bytes_sent", "response.size"),
    ("duration", "request.duration"),
    ("client", "source.address"),
    ("request_id", "request.headers.x-request-id"),
    ("user_agent", "request.headers.user-agent"),
    ("route", "route_name"),
    ("cluster", "cluster_name"),
    ("upstream", "upstream.address"),
];

impl Record {
    /// The key that is wrong comes with the error.
    pub fn parse<'a>(
        fields: impl Iterator<Item = (&'a str, &'a str)>,
        reads: &mut Reads,
    ) -> Result<Self, (String, String)> {
        let mut parsed: Vec<(Vec<u8>, Source)> = Vec::new();
        for (key, source) in fields {
            let mut written = vec![b'"'];
            escape::json(&mut written, key.as_bytes());
            written.extend_from_slice(b"\":");
            if parsed.iter().any(|(known, _)| *known == written) {
                return Err((key.to_owned(), "is there twice".to_owned()));
            }
            let source = if source.contains('%') {
                Template::parse(source, reads).map(Source::Template)
            } else {
                Property::parse(source, reads).map(Source::Property)
            };
            parsed.push((written, source.map_err(|message| (key.to_owned(), message))?));
        }
        Ok(Self { fields: parsed })
    }

    /// Appends the object.
    pub fn write(&self, out: &mut Vec<u8>, values: &Values) {
        let mut separator = b'{';
        for (key, source) in &self.fields {
            out.push(separator);
            separator = b',';
            out.extend_from_slice(key);
            match source {
                Source::Property(property) => value(out, property.value(values)),
                Source::Template(template) => {
                    out.push(b'"');
                    template.write_json(out, values);
                    out.push(b'"');
                }
            }
        }
        if self.fields.is_empty() {
            out.push(b'{');
        }
        out.push(b'}');
    }
}

/// Durations are milliseconds, to the microsecond.
fn value(out: &mut Vec<u8>, value: Option<Value<'_>>) {
    match value {
        None => out.extend_from_slice(b"null"),
        Some(Value::Integer(number)) => out.extend_from_slice(number.to_string().as_bytes()),
        Some(Value::Number(number)) if number.is_finite() => out.extend_from_slice(number.to_string().as_bytes()),
        // JSON has no other numbers.
        Some(Value::Number(_)) => out.extend_from_slice(b"null"),
        Some(Value::Boolean(yes)) => out.extend_from_slice(if yes { b"true" } else { b"false" }),
        Some(Value::Duration(nanoseconds)) => {
            let microseconds = nanoseconds.max(0) / 1000;
            out.extend_from_slice(format!("{}.{:03}", microseconds / 1000, microseconds % 1000).as_bytes());
        }
        Some(moment @ Value::Moment(_)) => {
            out.push(b'"');
            out.extend_from_slice(&moment.into_text());
            out.push(b'"');
        }
        Some(Value::Text(bytes)) => {
            out.push(b'"');
            escape::json(out, &bytes);
            out.push(b'"');
        }
    }
}
