//! A service at one moment, and how answers write it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Record;
use crate::{
    eds,
    host::{Host, ServiceName, Weight},
    load::LoadState,
};

/// What a service is, in a few bytes: a digest of its content. So it is the same in every registry that knows the same, and after restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version([u8; 16]);

impl Version {
    pub(crate) fn of(digest: Sha256) -> Self {
        let mut version = [0; 16];
        for (to, from) in version.iter_mut().zip(digest.finalize()) {
            *to = from;
        }
        Self(version)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a number that JSON carries in any language: 48 bits.
    pub(crate) fn index(self) -> u64 {
        self.0.iter().take(6).fold(0, |index, byte| index << 8 | u64::from(*byte))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// What follows from hosts alone, whenever they were heard of.
#[derive(Debug, Default)]
pub(super) struct Content {
    version: OnceLock<Version>,
    assignment: OnceLock<Arc<str>>,
}

/// A service at one moment.
#[derive(Debug)]
pub(crate) struct View {
    service: ServiceName,
    hosts: Vec<Arc<Record>>,
    content: Arc<Content>,
    body: OnceLock<Bytes>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<&'a str>,
    hosts: Vec<Host>,
    service: &'a ServiceName,
}

impl View {
    pub(super) fn new(service: &ServiceName, hosts: Vec<Arc<Record>>, content: Arc<Content>) -> Self {
        Self { service: service.clone(), hosts, content, body: OnceLock::new() }
    }

    pub(super) fn empty(service: &ServiceName) -> Self {
        Self::new(service, Vec::new(), Arc::default())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Hosts with the weights that they have for readers.
    fn weighted(&self) -> impl Iterator<Item = (&Record, Option<Weight>)> {
        let typical = typical_weight(self.hosts.iter());
        self.hosts.iter().map(move |record| (&**record, record.weight().or(typical)))
    }

    pub(crate) fn version(&self) -> Version {
        *self.content.version.get_or_init(|| {
            let mut digest = Sha256::new();
            for (record, weight) in self.weighted() {
                // A host cannot fail to be JSON: its maps have text keys.
                let host = serde_json::to_vec(&record.content(&self.service, weight)).unwrap_or_default();
                digest.update(&host);
                digest.update(b"\n");
            }
            Version::of(digest)
        })
    }

    /// The answer to `GET /v1/registration/:service`. `env` is the same for all.
    pub(crate) fn body(&self, env: Option<&str>) -> Bytes {
        let write = || {
            let hosts = self.weighted().map(|(record, weight)| record.shown(&self.service, weight)).collect();
            serde_json::to_vec(&Body { env, hosts, service: &self.service }).unwrap_or_default().into()
        };
        self.body.get_or_init(write).clone()
    }

    /// The service as a `ClusterLoadAssignment` in JSON.
    pub(crate) fn assignment(&self) -> Arc<str> {
        let write = || {
            let hosts = self.weighted().map(|(record, weight)| record.content(&self.service, weight));
            eds::assignment(&self.service, hosts).into()
        };
        Arc::clone(self.content.assignment.get_or_init(write))
    }
}

/// The weight of hosts that have none, where others have theirs from their load: the mean of those. Next to a fleet at 40 a host without a weight
/// would have 1 in Envoy, and next to nothing to do.
pub(super) fn typical_weight<'a>(hosts: impl Iterator<Item = &'a Arc<Record>>) -> Option<Weight> {
    let (mut sum, mut count) = (0_u32, 0_u32);
    for weight in hosts.filter_map(|record| record.load.map(LoadState::weight)) {
        sum = sum.saturating_add(weight.number().into());
        count = count.saturating_add(1);
    }
    (count > 0).then(|| Weight::nearest(f64::from(sum) / f64::from(count)))
}
