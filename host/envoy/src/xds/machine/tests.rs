//! The machine against a control plane that is written down here.

mod model;
mod oblivion;
mod on_demand;
mod protocol;
mod refusals;

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::xds::{
    codec::{Codec, Decoded},
    messages::Any,
};

/// Resources are `name|content|TYPE:name,TYPE:name`, where a type is its place in `ResourceType::ALL`. `broken` is no resource.
pub(super) struct Plain;

impl Codec for Plain {
    fn read(&self, kind: ResourceType, type_url: &str, bytes: &Bytes) -> Result<Decoded, String> {
        if type_url != kind.type_url() {
            return Err("is of another type".to_owned());
        }
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let mut parts = text.split('|');
        let (name, content) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if content == "broken" {
            return Err("cannot be read".to_owned());
        }
        let references = parts.next().unwrap_or_default().split(',').filter_map(|reference| {
            let (kind, name) = reference.split_once(':')?;
            Some((*ResourceType::ALL.get(kind.parse::<usize>().ok()?)?, name.to_owned()))
        });
        let references = references.collect();
        Ok(Decoded { name: name.to_owned(), value: Value::from(content), references })
    }
}

pub(super) const FETCH: Duration = Duration::from_secs(15);

/// Types of which everything is asked for.
const WHOLE: [ResourceType; 2] = [ResourceType::Cluster, ResourceType::Listener];

pub(super) fn machine(mode: Mode, streams: Streams) -> Machine {
    machine_of(mode, streams, &WHOLE)
}

/// One that asks for everything of these types.
pub(super) fn machine_of(mode: Mode, streams: Streams, whole: &[ResourceType]) -> Machine {
    let node = messages::Node { id: "me".to_owned(), ..messages::Node::default() };
    let types = ResourceType::ALL.map(|kind| (kind, whole.contains(&kind)));
    Machine::new(mode, streams, types, node, Box::new(Plain), FETCH, Backoff::default())
}

pub(super) fn any(kind: ResourceType, text: &str) -> Any {
    Any { type_url: kind.type_url(), value: Bytes::copy_from_slice(text.as_bytes()) }
}

/// Everything that the machine wants done.
pub(super) fn outputs(machine: &mut Machine) -> Vec<Output> {
    std::iter::from_fn(|| machine.output()).collect()
}
