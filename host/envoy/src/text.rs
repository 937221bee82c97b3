//! Text to values: the YAML and JSON that Envoy reads.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Number, Value};

/// Deeper nesting is refused: no resource has it, and readers recurse.
const DEEPEST: usize = 100;
/// Values in one file, aliases expanded: an alias of an alias of an alias makes a billion of a few.
const MOST: usize = 4_000_000;

/// What a bootstrap is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2; JSON is mostly that, too.
    Yaml,
    /// JSON.
    Json,
}

/// Text that is no configuration at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not YAML, or not JSON.
    #[error("line {line}, column {column}: {reason}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// It is, but no configuration.
    #[error("{0}")]
    Content(String),
}

/// # Errors
/// The text is malformed, nested too deep, or not one document.
pub(crate) fn parse(text: &str, format: Format) -> Result<Value, Unreadable> {
    match format {
        Format::Json => serde_json::from_str(text).map_err(|error| Unreadable::Syntax {
            line: error.line(),
            column: error.column(),
            reason: error.to_string(),
        }),
        Format::Yaml => yaml(text),
    }
}

fn yaml(text: &str) -> Result<Value, Unreadable> {
    if let Some(line) = deep_block(text) {
        return Err(Unreadable::Syntax { line, column: 1, reason: format!("nested deeper than {DEEPEST} levels") });
    }
    let documents = Yaml::load_from_str(text).map_err(|error| Unreadable::Syntax {
        line: error.marker().line(),
        column: error.marker().col() + 1,
        reason: error.info().to_owned(),
    })?;
    let mut documents = documents.into_iter();
    let document = documents.next().ok_or_else(|| Unreadable::Content("nothing is in it".to_owned()))?;
    if documents.next().is_some() {
        return Err(Unreadable::Content("several documents are in it".to_owned()));
    }
    value(document, &mut 0, 0)
}

fn value(yaml: Yaml<'_>, count: &mut usize, depth: usize) -> Result<Value, Unreadable> {
    *count += 1;
    if depth > DEEPEST || *count > MOST {
        return Err(Unreadable::Content(format!("more than {MOST} values, or nested deeper than {DEEPEST} levels")));
    }
    Ok(match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => Value::Bool(value),
        Yaml::Value(Scalar::Integer(value)) => Value::from(value),
        Yaml::Value(Scalar::FloatingPoint(value)) => match Number::from_f64(*value) {
            Some(number) => Value::Number(number),
            None => return Err(Unreadable::Content("a number is not finite".to_owned())),
        },
        Yaml::Value(Scalar::String(text)) => Value::String(text.into_owned()),
        Yaml::Sequence(items) => {
            let items = items.into_iter().map(|item| value(item, count, depth + 1));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Yaml::Mapping(pairs) => {
            let mut object = Map::new();
            for (key, item) in pairs {
                object.insert(name(&key)?, value(item, count, depth + 1)?);
            }
            Value::Object(object)
        }
        Yaml::Tagged(tag, _) => return Err(Unreadable::Content(format!("the tag {tag} is not known"))),
        Yaml::Representation(..) | Yaml::Alias(_) | Yaml::BadValue => {
            return Err(Unreadable::Content(
                "a value is none: its tag does not fit, or it refers to itself".to_owned(),
            ));
        }
    })
}

fn name(key: &Yaml<'_>) -> Result<String, Unreadable> {
    match key {
        Yaml::Value(Scalar::String(text)) => Ok(text.to_string()),
        Yaml::Value(Scalar::Integer(value)) => Ok(value.to_string()),
        Yaml::Value(Scalar::Boolean(value)) => Ok(value.to_string()),
        Yaml::Value(Scalar::FloatingPoint(value)) => Ok(value.to_string()),
        _ => Err(Unreadable::Content("a key is no text".to_owned())),
    }
}

/// The parser recurses over block nesting without a limit of its own (flow nesting it stops at 255), so the nesting is
/// estimated first: indentation that grows line by line, and `- - -` within a line. The line that is too deep, from 1.
fn deep_block(text: &str) -> Option<usize> {
    let mut indents = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if indent == line.len() {
            continue;
        }
        while indents.last().is_some_and(|last| *last >= indent) {
            indents.pop();
        }
        indents.push(indent);
        let words = line.split_ascii_whitespace();
        let inline = words.take_while(|word| matches!(*word, "-" | "?" | ":") || word.starts_with(['&', '!'])).count();
        if indents.len() + inline > 2 * DEEPEST {
            return Some(number + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_is_read() {
        let text = "a: { b: [1, 2.5, yes, \"1\"] }\nd: &x { f: true }\ng: *x\n";
        let expected = json!({ "a": { "b": [1, 2.5, "yes", "1"] }, "d": { "f": true }, "g": { "f": true } });
        assert_eq!(parse(text, Format::Yaml), Ok(expected));
    }

    #[test]
    fn what_is_none_says_where() {
        assert!(matches!(parse("a: [1", Format::Yaml), Err(Unreadable::Syntax { line: 1.., .. })));
        assert!(matches!(parse("{\"a\": ", Format::Json), Err(Unreadable::Syntax { line: 1, .. })));
        assert!(matches!(parse("a: 1\n---\nb: 2\n", Format::Yaml), Err(Unreadable::Content(_))));
        assert!(parse(&"- ".repeat(1000), Format::Yaml).is_err());
        assert!(parse(&"[".repeat(1000), Format::Json).is_err());
        assert!(parse(&"[".repeat(1000), Format::Yaml).is_err());
    }
}
