//! Natively, against a host whose every metric can be looked at.

mod compressed;
mod cuts;
mod faults;
mod fuzz;
mod hostile;
mod legacy;
mod limits;
mod memory;
mod messages;
mod panels;
mod patience;
mod policy;
mod pooled;
mod records;
mod refusals;
mod rings;
mod statistics;

use std::collections::BTreeMap;

use bson::Document;
use fyke_sdk::testing::{Connection, TcpTestHost, World};

use crate::Mongo;
use crate::wire::opcode;

/// A message.
fn message(request_id: i32, response_to: i32, opcode: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [i32::try_from(body.len() + 16).unwrap(), request_id, response_to, opcode] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(body);
    bytes
}

/// The sections of OP_MSG.
#[derive(Clone)]
enum Section {
    Body(Document),
    Sequence(&'static str, Vec<Document>),
}

fn msg_body(flags: u32, sections: &[Section]) -> Vec<u8> {
    let mut body = flags.to_le_bytes().to_vec();
    for section in sections {
        match section {
            Section::Body(document) => {
                body.push(0);
                body.extend(document.to_vec().unwrap());
            }
            Section::Sequence(name, documents) => {
                let documents: Vec<u8> = documents.iter().flat_map(|document| document.to_vec().unwrap()).collect();
                body.push(1);
                body.extend(i32::try_from(documents.len() + name.len() + 5).unwrap().to_le_bytes());
                body.extend(name.as_bytes());
                body.push(0);
                body.extend(documents);
            }
        }
    }
    if flags & 1 != 0 {
        body.extend([1, 2, 3, 4]);
    }
    body
}

/// A command.
fn command(request_id: i32, document: &Document) -> Vec<u8> {
    message(request_id, 0, opcode::MSG, &msg_body(0, &[Section::Body(document.clone())]))
}

/// A reply to the request of this number.
fn reply(response_to: i32, document: &Document) -> Vec<u8> {
    message(response_to + 10_000, response_to, opcode::MSG, &msg_body(0, &[Section::Body(document.clone())]))
}

fn host(configuration: &str) -> TcpTestHost<Mongo> {
    TcpTestHost::configure(configuration).unwrap_or_else(|error| panic!("{configuration}: {error}"))
}

/// All metrics that have counted something: those with labels as `name{label=value,...}`, without labels that are empty. A histogram is its values.
fn metrics() -> BTreeMap<String, Vec<i64>> {
    World::with(|world| {
        let mut all = BTreeMap::new();
        for (_, name, values) in &world.metrics {
            if values.iter().any(|value| *value != 0) {
                all.insert(name.clone(), values.clone());
            }
        }
        for metric in &world.labelled {
            for (values, counted) in &metric.series {
                let labels: Vec<String> = metric
                    .labels
                    .iter()
                    .zip(values)
                    .filter(|(label, value)| !value.is_empty() && *label != "mongo_prefix")
                    .map(|(label, value)| format!("{}={value}", label.strip_prefix("mongo_").unwrap_or(label)))
                    .collect();
                all.insert(format!("{}{{{}}}", metric.name, labels.join(",")), counted.clone());
            }
        }
        all
    })
}

/// The sum of one of them; zero where there is none.
#[track_caller]
fn count(name: &str) -> i64 {
    metrics().get(name).map_or(0, |values| values.iter().sum())
}

/// A client asks, the server answers, and both get what the other one sent.
#[track_caller]
fn exchange(host: &mut TcpTestHost<Mongo>, connection: &Connection, request: &[u8], reply: &[u8]) {
    let (asked, answered) = (host.upstream_got(connection).bytes().len(), host.client_got(connection).bytes().len());
    host.client_sends(connection, request);
    assert_eq!(host.upstream_got(connection).bytes().get(asked..), Some(request));
    host.upstream_sends(connection, reply);
    assert_eq!(host.client_got(connection).bytes().get(answered..), Some(reply));
}

/// A regular expression.
pub fn regex(pattern: &str) -> bson::Bson {
    bson::Bson::RegularExpression(bson::Regex {
        pattern: pattern.to_owned().try_into().unwrap(),
        options: "i".to_owned().try_into().unwrap(),
    })
}

/// What stands behind `config:` in the examples of the README.
fn examples() -> Vec<String> {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("```yaml").skip(1).filter_map(|rest| rest.split("```").next());
    let behind = |block: &str| {
        let (before, after) = block.split_once("config:").unwrap();
        let indent = before.rsplit('\n').next().unwrap().len();
        let deeper = |line: &&str| line.len() > indent && line[..=indent].trim().is_empty();
        after.lines().skip(1).take_while(deeper).collect::<Vec<_>>().join("\n")
    };
    blocks.map(behind).collect()
}

#[test]
fn the_examples_of_the_readme_are_configurations() {
    let examples = examples();
    assert_eq!(examples.len(), 6);
    for example in examples {
        if let Err(error) = TcpTestHost::<Mongo>::configure(&example) {
            panic!("{example}: {error}");
        }
    }
}

/// The names of all properties in a schema.
fn properties(schema: &serde_json::Value, all: &mut std::collections::BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                if let ("properties", Some(inner)) = (key.as_str(), value.as_object()) {
                    all.extend(inner.keys().cloned());
                }
                properties(value, all);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| properties(item, all)),
        _ => {}
    }
}

#[test]
fn every_key_of_the_configuration_is_in_the_readme() {
    let schema = serde_json::from_str(&<crate::Config as fyke_sdk::FilterConfig>::SCHEMA.to_json()).unwrap();
    let mut keys = std::collections::BTreeSet::new();
    properties(&schema, &mut keys);
    assert!(keys.len() > 60, "{keys:?}");
    let readme = include_str!("../../README.md");
    let is_told = |key: &String| {
        [format!("`{key}`"), format!(" {key}: "), format!(".{key}`")].iter().any(|form| readme.contains(form))
    };
    let untold: Vec<&String> = keys.iter().filter(|key| !is_told(key)).collect();
    assert!(untold.is_empty(), "{untold:?}");
}
