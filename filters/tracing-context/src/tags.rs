//! What the stream's span says.

use std::collections::BTreeMap;

use fyke_sdk::property::{Typed, Value};
use fyke_sdk::trace::StreamSpan;
use fyke_sdk::{ConfigError, header_name};

use crate::config;

/// The longest value that comes out of a request, in bytes.
const LONGEST: usize = 1024;
/// The longest name of a tag.
const LONGEST_NAME: usize = 128;
/// Properties that are there when the response is.
const LATE: [&str; 8] = [
    "response.",
    "upstream.",
    "upstream_host_metadata.",
    "cluster_name",
    "cluster_metadata.",
    "xds.cluster_name",
    "xds.cluster_metadata.",
    "connection.termination_details",
];

/// Tags, in two lots: of the request, and of the response.
#[derive(Debug, Default)]
pub struct Tags {
    early: Vec<Tag>,
    late: Vec<Tag>,
}

#[derive(Debug)]
struct Tag {
    name: String,
    source: Source,
    default: Option<String>,
}

#[derive(Debug)]
enum Source {
    Literal(String),
    Property(Typed),
}

impl Tags {
    pub fn new(configured: BTreeMap<String, config::Tag>) -> Result<Self, ConfigError> {
        let mut tags = Self::default();
        for (name, configured) in configured {
            if name.is_empty() || name.len() > LONGEST_NAME {
                return Err(ConfigError::at("tags", format!("\"{name}\" is not a name of 1 to {LONGEST_NAME} bytes")));
            }
            let under = |error: ConfigError| error.under(&name).under("tags");
            let is_late = configured.property.as_deref().is_some_and(|path| {
                LATE.iter().any(|late| path == *late || (late.ends_with('.') && path.starts_with(late)))
            });
            let (source, default) = source(configured).map_err(under)?;
            let lot = if is_late { &mut tags.late } else { &mut tags.early };
            lot.push(Tag { name, source, default });
        }
        Ok(tags)
    }

    /// Whether there are any of the response.
    pub fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Those of the request.
    pub fn write_early(&self, span: StreamSpan) {
        self.early.iter().for_each(|tag| tag.write(span));
    }

    /// Those of the response.
    pub fn write_late(&self, span: StreamSpan) {
        self.late.iter().for_each(|tag| tag.write(span));
    }
}

fn source(configured: config::Tag) -> Result<(Source, Option<String>), ConfigError> {
    let config::Tag { literal, header, property, default } = configured;
    let source = match (literal, header, property) {
        (Some(literal), None, None) => {
            if default.is_some() {
                return Err(ConfigError::at("default", "means nothing beside `literal`"));
            }
            Source::Literal(literal)
        }
        (None, Some(header), None) => {
            let name = header_name(&header).map_err(|error| error.under("header"))?;
            let typed = Typed::of(&["request", "headers", &name]);
            Source::Property(typed.map_err(|error| ConfigError::at("header", error))?)
        }
        (None, None, Some(path)) => {
            Source::Property(Typed::parse(&path).map_err(|error| ConfigError::at("property", error))?)
        }
        _ => return Err(ConfigError::new("needs exactly one of `literal`, `header` and `property`")),
    };
    Ok((source, default))
}

impl Tag {
    fn write(&self, span: StreamSpan) {
        let value = match &self.source {
            Source::Literal(text) => {
                span.tag(&self.name, text);
                return;
            }
            Source::Property(property) => property.read(),
        };
        match (value, &self.default) {
            (Some(Value::Integer(number)), _) => span.tag(&self.name, number),
            (Some(Value::Number(number)), _) => span.tag(&self.name, number),
            (Some(Value::Boolean(yes)), _) => span.tag(&self.name, yes),
            (Some(other), _) => span.tag(&self.name, cut(&other.into_text(), LONGEST)),
            (None, Some(default)) => span.tag(&self.name, default),
            (None, None) => span,
        };
    }
}

/// Text of at most so many bytes; what is no UTF-8 becomes U+FFFD.
pub fn cut(bytes: &[u8], longest: usize) -> String {
    // One more, so that what is cut in two at the end is not taken for broken.
    let text = String::from_utf8_lossy(bytes.get(..longest.saturating_add(4)).unwrap_or(bytes));
    text.get(..text.floor_char_boundary(longest)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut(b"abc", 3), "abc");
        assert_eq!(cut("aéé".as_bytes(), 4), "aé");
        assert_eq!(cut("aé".as_bytes(), 3), "aé");
        assert_eq!(cut(b"a\xff", 9), "a\u{fffd}");
    }
}
