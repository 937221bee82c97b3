//! What is kept over a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{Machine, Queued, ResourceType, Response, TypeState};
use crate::xds::messages::{self, Any, DeltaDiscoveryResponse};

/// A resource that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::xds) struct Kept {
    pub kind: ResourceType,
    pub name: String,
    pub version: String,
    pub type_url: String,
    pub bytes: Bytes,
}

impl Machine {
    /// Everything that is accepted. What lives for a time only is not worth keeping; without it there is no version either, because a control
    /// plane that hears of one takes all of it to be here.
    pub fn kept(&self) -> (Vec<Kept>, BTreeMap<ResourceType, String>) {
        let resources = self.types.iter().flat_map(|(kind, state)| {
            let lasting = state.accepted.iter().filter(|(_, resource)| resource.expires.is_none());
            lasting.map(|(name, resource)| Kept {
                kind: *kind,
                name: name.clone(),
                version: resource.version.clone(),
                type_url: resource.type_url.clone(),
                bytes: resource.bytes.clone(),
            })
        });
        let whole = |state: &TypeState| state.accepted.values().all(|resource| resource.expires.is_none());
        let versions = self.types.iter().filter(|(_, state)| whole(state));
        (resources.collect(), versions.map(|(kind, state)| (*kind, state.version.clone())).collect())
    }

    /// Begins with what was kept: the application is asked about it as about anything that a control plane sends.
    pub fn restore(&mut self, kept: Vec<Kept>, versions: &BTreeMap<ResourceType, String>, now: Duration) {
        let mut by_kind = BTreeMap::<ResourceType, Vec<messages::Resource>>::new();
        for resource in kept {
            by_kind.entry(resource.kind).or_default().push(messages::Resource {
                version: resource.version,
                resource: Some(Any { type_url: resource.type_url, value: resource.bytes }),
                name: resource.name,
                aliases: Vec::new(),
                ttl: None,
            });
        }
        // As if a control plane had sent them, clusters first.
        for (kind, resources) in by_kind {
            let Some(state) = self.types.get_mut(&kind) else { continue };
            if kind.is_wildcard() && !state.wildcard {
                // Who wanted them by name is not there any more, and they are what serves until he is.
                state.wanted.extend(resources.iter().map(|resource| resource.name.clone()));
            }
            let response = DeltaDiscoveryResponse {
                system_version_info: versions.get(&kind).cloned().unwrap_or_default(),
                resources,
                type_url: kind.type_url(),
                ..DeltaDiscoveryResponse::default()
            };
            self.queue.push_back(Queued { kind, from: None, response: Response::Delta(response) });
        }
        self.advance(now);
    }

    /// Whether something of what was kept has not been looked at yet.
    pub fn is_restoring(&self) -> bool {
        self.queue.iter().any(|queued| queued.from.is_none())
            || self.outstanding.as_ref().is_some_and(|outstanding| outstanding.from.is_none())
    }
}
