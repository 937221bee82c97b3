//! Prints a value as YAML: blocks, and what is short on one line, as Fyke's documentation writes it.

use serde_json::{Map, Value};

/// What fits is written on one line.
const WIDTH: usize = 100;
/// Parts of a configuration whose names stand on lines of their own, however short they are.
const SPREAD: usize = 2;

pub(crate) fn print(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(object) if !object.is_empty() => block_map(object, 0, 0, &mut text),
        other => {
            text.push_str(&flow(other));
            text.push('\n');
        }
    }
    text
}

fn block_map(object: &Map<String, Value>, indent: usize, depth: usize, text: &mut String) {
    for (key, value) in object {
        text.push_str(&" ".repeat(indent));
        text.push_str(&key_text(key));
        text.push(':');
        below(value, indent + 2, depth + 1, text);
    }
}

/// A value behind its key.
fn below(value: &Value, indent: usize, depth: usize, text: &mut String) {
    if let Some(line) = one_line(value, indent, depth) {
        text.push(' ');
        text.push_str(&line);
        text.push('\n');
        return;
    }
    text.push('\n');
    match value {
        Value::Object(object) => block_map(object, indent, depth, text),
        Value::Array(list) => block_list(list, indent, depth, text),
        other => {
            text.push_str(&flow(other));
            text.push('\n');
        }
    }
}

fn block_list(list: &[Value], indent: usize, depth: usize, text: &mut String) {
    for item in list {
        text.push_str(&" ".repeat(indent));
        text.push_str("- ");
        match (one_line(item, indent, depth.max(SPREAD)), item) {
            (Some(line), _) => {
                text.push_str(&line);
                text.push('\n');
            }
            (None, Value::Object(object)) => {
                // The first key stands behind the dash.
                let mut inner = String::new();
                block_map(object, indent + 2, depth.max(SPREAD), &mut inner);
                text.push_str(inner.trim_start());
            }
            (None, Value::Array(list)) => {
                let mut inner = String::new();
                block_list(list, indent + 2, depth.max(SPREAD), &mut inner);
                text.push_str(inner.trim_start());
            }
            (None, other) => {
                text.push_str(&flow(other));
                text.push('\n');
            }
        }
    }
}

fn one_line(value: &Value, indent: usize, depth: usize) -> Option<String> {
    let spread = matches!(value, Value::Object(object) if !object.is_empty() && depth < SPREAD);
    if spread || weight(value) > WIDTH {
        return None;
    }
    let line = flow(value);
    let scalar = !matches!(value, Value::Object(_) | Value::Array(_));
    (scalar || line.len() + indent <= WIDTH + 20).then_some(line)
}

/// At least how many characters a value takes; so that long ones need not be printed to know it.
fn weight(value: &Value) -> usize {
    match value {
        Value::Object(object) => {
            let mut sum = 4;
            for (key, value) in object {
                sum += key.len() + 4 + weight(value);
                if sum > WIDTH {
                    break;
                }
            }
            sum
        }
        Value::Array(list) => {
            let mut sum = 2;
            for value in list {
                sum += 2 + weight(value);
                if sum > WIDTH {
                    break;
                }
            }
            sum
        }
        // Text has no other place to go.
        Value::String(text) => text.len().min(WIDTH / 2),
        _ => 1,
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::Object(object) if object.is_empty() => "{}".to_owned(),
        Value::Object(object) => {
            let entries = object.iter().map(|(key, value)| format!("{}: {}", key_text(key), flow(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text) => scalar_text(text),
        other => other.to_string(),
    }
}

/// Text as it is where nobody can take it for anything else, else in JSON's quotes, which are YAML's.
fn scalar_text(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { Value::from(text).to_string() }
}

/// A key: `on` is a word of this configuration, whatever YAML 1.1 took it for.
fn key_text(text: &str) -> String {
    let plain = text == "on" || (is_plain(text) && !text.contains(' '));
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

fn is_plain(text: &str) -> bool {
    let first = text.chars().next();
    let begins = first.is_some_and(|first| first.is_ascii_alphanumeric() || matches!(first, '/' | '_' | '+'));
    let inner = |c: char| c.is_ascii_alphanumeric() || "/_.-+%@=;()~^$<>!?*".contains(c);
    let letters: Vec<char> = text.chars().collect();
    let all = letters.iter().enumerate().all(|(at, c)| match c {
        // A colon is a key's unless something follows it at once; a space may stand between words.
        ':' | ' ' => letters.get(at + 1).is_some_and(|next| inner(*next)),
        other => inner(*other),
    });
    begins && all && !is_other(text)
}

/// What YAML, 1.1 or 1.2, takes for something else than text.
fn is_other(text: &str) -> bool {
    let words = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let lower = text.to_ascii_lowercase();
    let number = text.parse::<f64>().is_ok() || lower.starts_with("0x") || lower.starts_with("0o");
    // To base 60, and with underscores, in YAML 1.1.
    let old = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-._:".contains(&byte)) && text.contains(['_', ':']);
    words.contains(&lower.as_str()) || number || (old && text.parse::<std::net::SocketAddr>().is_err())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::text::{Format, parse};

    fn values() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            any::<String>(),
            "[a-zA-Z0-9:/ .#%{}\\[\\],&*!|>'\"@`-]{0,24}",
            Just("1e3".to_owned()),
            Just("0x1F".to_owned()),
            Just("null".to_owned()),
            Just("12:30".to_owned()),
            Just("127.0.0.1:80".to_owned()),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.prop_map(Value::from)
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec(("[a-z]{1,12}|[ :#a-z]{1,8}", inner), 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(value in values()) {
            let text = print(&value);
            prop_assert_eq!(parse(&text, Format::Yaml).map_err(|error| format!("{error}\n{text}")), Ok(value));
        }
    }

    #[test]
    fn short_objects_stand_on_one_line() {
        let value = json!({
            "listeners": { "web": { "address": "0.0.0.0:8080", "filters": ["router"] } },
            "filters": { "router": { "module": "builtin:router", "config": { "routes": [
                { "match": { "path_prefix": "/a-rather-long-prefix/that/goes/on" }, "cluster": "the-first-of-some-clusters" },
                { "cluster": "b" },
            ] } } },
        });
        let expected = "\
listeners:
  web: { address: 0.0.0.0:8080, filters: [router] }
filters:
  router:
    module: builtin:router
    config:
      routes:
        - match: { path_prefix: /a-rather-long-prefix/that/goes/on }
          cluster: the-first-of-some-clusters
        - { cluster: b }
";
        assert_eq!(print(&value), expected);
    }
}
