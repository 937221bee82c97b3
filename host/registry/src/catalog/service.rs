//! The hosts of one service.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use super::{
    Outcome, Record, View,
    view::{Content, typical_weight},
};
use crate::{
    clock::Moment,
    host::{ServiceName, Weight},
};

#[derive(Debug)]
pub(super) struct Service {
    hosts: BTreeMap<SocketAddr, Arc<Record>>,
    /// No host's time is over before this.
    next_expiry: Moment,
    /// Since its last change of any kind.
    view: Option<Arc<View>>,
    /// Since its last change that readers act upon.
    content: Arc<Content>,
}

impl Default for Service {
    fn default() -> Self {
        Self { hosts: BTreeMap::new(), next_expiry: Moment::NEVER, view: None, content: Arc::default() }
    }
}

impl Service {
    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    pub(super) fn host(&self, address: &SocketAddr) -> Option<&Arc<Record>> {
        self.hosts.get(address)
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.hosts.values()
    }

    pub(super) fn next_expiry(&self) -> Moment {
        self.next_expiry
    }

    pub(super) fn put(&mut self, record: Arc<Record>) -> Outcome {
        // A host that lives pushes its own time out and leaves this too early, which costs one look when it comes.
        self.next_expiry = self.next_expiry.min(record.expires);
        self.view = None;
        let outcome = match self.hosts.insert(record.address, Arc::clone(&record)) {
            None => Outcome::New,
            Some(before) if before.same(&record) => return Outcome::Unchanged,
            Some(_) => Outcome::Changed,
        };
        self.content = Arc::default();
        outcome
    }

    pub(super) fn take(&mut self, leaves: impl Fn(&Record) -> bool) -> Vec<SocketAddr> {
        let gone: Vec<SocketAddr> =
            self.hosts.extract_if(.., |_, record| leaves(record)).map(|(host, _)| host).collect();
        if !gone.is_empty() {
            self.view = None;
            self.content = Arc::default();
        }
        self.next_expiry = self.hosts.values().map(|record| record.expires).min().unwrap_or(Moment::NEVER);
        gone
    }

    pub(super) fn typical_weight(&self) -> Option<Weight> {
        typical_weight(self.hosts.values())
    }

    pub(super) fn view(&mut self, name: &ServiceName) -> Arc<View> {
        let view = self.view.get_or_insert_with(|| {
            let hosts = self.hosts.values().cloned().collect();
            Arc::new(View::new(name, hosts, Arc::clone(&self.content)))
        });
        Arc::clone(view)
    }
}
