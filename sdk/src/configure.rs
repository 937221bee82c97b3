//! From the plugin's configuration, bytes of JSON, to a filter, or to a refusal that says where.

use std::any::TypeId;

use serde::de::value::{Error as ValueError, UnitDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

use crate::abi::{self, BufferKind, Level};
use crate::env::Env;
use crate::error::ConfigError;
use crate::runtime::BoxedTask;

/// Reads the configuration that the host holds out, and makes of it a filter and its tasks. `tasks`: whether the module is told of
/// what tasks wait for.
pub(crate) fn configure<F, C: DeserializeOwned + 'static>(
    size: usize,
    tasks: bool,
    make: impl FnOnce(C, &mut Env) -> Result<F, ConfigError>,
) -> Result<(F, Vec<BoxedTask>), ConfigError> {
    #[cfg(feature = "log")]
    crate::log::install();
    let bytes = if size == 0 { None } else { abi::buffer(BufferKind::PluginConfiguration, 0, size) };
    let mut env = Env::new();
    let filter = make(parse(&bytes.unwrap_or_default())?, &mut env)?;
    let begun = env.into_tasks();
    if !begun.is_empty() && !tasks {
        return Err(ConfigError::new(
            "the filter has tasks but its module is never called for them: say #[http_filter(tasks)] or #[tcp_filter(tasks)]",
        ));
    }
    Ok((filter, begun))
}

/// Tells the host, at the place in question, and the log.
pub(crate) fn refuse(error: &ConfigError) {
    abi::log(Level::Error, &format!("configuration refused: {error}"));
    let mut arguments = String::from("{\"path\":");
    push_json(&mut arguments, error.path());
    arguments.push_str(",\"message\":");
    push_json(&mut arguments, error.message());
    arguments.push('}');
    // A host that does not know the function has the log.
    let _ = abi::call_foreign_function("fyke.configure.refuse.v1", arguments.as_bytes());
}

/// Nothing at all means an empty object, and an empty object means `()` where that is the type.
fn parse<T: DeserializeOwned + 'static>(bytes: &[u8]) -> Result<T, ConfigError> {
    let bytes = match bytes.trim_ascii() {
        b"" | b"null" => b"{}",
        other => other,
    };
    if TypeId::of::<T>() == TypeId::of::<()>() {
        // Decided at compile time: a filter without configuration is built without a JSON parser.
        if bytes
            .strip_prefix(b"{")
            .and_then(|rest| rest.strip_suffix(b"}"))
            .is_none_or(|inside| !inside.trim_ascii().is_empty())
        {
            return Err(ConfigError::new("this filter takes no configuration"));
        }
        return unit().map_err(|error| ConfigError::new(error.to_string()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { "" } else { path.trim_end_matches(".?") };
        ConfigError::at(path, without_position(&error.inner().to_string()))
    });
    match value {
        // `Option`s, and enums with a unit variant, would rather have null.
        Err(error) if bytes == b"{}" => unit().map_err(|_| error),
        Ok(value) => match deserializer.end() {
            Ok(()) => Ok(value),
            Err(error) => Err(ConfigError::new(without_position(&error.to_string()))),
        },
        Err(error) => Err(error),
    }
}

fn unit<T: DeserializeOwned>() -> Result<T, ValueError> {
    let unit: UnitDeserializer<ValueError> = ().into_deserializer();
    T::deserialize(unit)
}

/// Line and column are those of JSON that nobody wrote.
fn without_position(message: &str) -> &str {
    message.rfind(" at line ").and_then(|end| message.get(..end)).unwrap_or(message)
}

pub(crate) fn push_json(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if u32::from(c) < 0x20 => {
                let code = u32::from(c);
                out.push_str(if code < 0x10 { "\\u000" } else { "\\u001" });
                out.push(char::from_digit(code & 0xf, 16).unwrap_or('0'));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[serde(default)]
        routes: Vec<Route>,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Route {
        path: String,
    }

    #[test]
    fn nothing_is_an_empty_configuration() {
        for nothing in ["", "  ", "null", "{}", "{ }"] {
            assert!(parse::<()>(nothing.as_bytes()).is_ok(), "{nothing:?}");
            assert_eq!(parse::<Config>(nothing.as_bytes()), Ok(Config { routes: vec![] }), "{nothing:?}");
        }
        assert!(parse::<()>(b"{\"a\":1}").is_err());
    }

    #[test]
    fn a_refusal_names_the_place() {
        let error = parse::<Config>(br#"{"routes":[{"path":"/"},{"path":1}]}"#).unwrap_err();
        assert_eq!(error.path(), "routes[1].path");
        assert_eq!(error.message(), "invalid type: integer `1`, expected a string");
        let error = parse::<Config>(br#"{"routes":[{"path":"/","pat":"x"}]}"#).unwrap_err();
        assert_eq!(error.path(), "routes[0].pat");
        assert_eq!(error.message(), "unknown field `pat`, expected `path`");
        assert!(parse::<Config>(b"{} x").is_err());
    }

    #[test]
    fn json_strings_are_escaped() {
        let mut out = String::new();
        push_json(&mut out, "a\"b\\\n\u{1}\u{1f}é");
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), "a\"b\\\n\u{1}\u{1f}é");
    }
}
