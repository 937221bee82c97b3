//! Which servers there are, and what they are: learned in handshakes, shared by all workers, and published as the label `role` of each endpoint.
//!
//! A worker looks at most once a second at what the others have learned. A server of which nothing is known is asked before
//! the first operation that could need it: [`Directory::unseen`]. Where one contradicts what is known of it, all of them are asked again.

use std::collections::BTreeMap;

use fyke_sdk::{Cluster, ConfigError, Env, Shared, abi};

use super::fleet::{Fleet, Role, ServerFacts};

/// For how long what others have learned is not looked at again, and what is known is not doubted again. Milliseconds.
const SETTLED: u64 = 1_000;
/// For how long a server that could not be asked is left alone. Milliseconds.
const PATIENCE: u64 = 5_000;
/// The label of an endpoint.
pub const LABEL: &str = "role";

/// What a worker knows of the servers.
pub struct Directory {
    cluster: Cluster,
    shared: Shared<BTreeMap<String, ServerFacts>>,
    fleet: Fleet,
    /// Addresses of those that get traffic.
    endpoints: Vec<String>,
    /// When a server could not be asked.
    failed: BTreeMap<String, u64>,
    looked: u64,
    doubted: u64,
}

impl Directory {
    /// Knows nothing yet.
    ///
    /// # Errors
    /// The host refuses it.
    pub fn new(cluster: Cluster, env: &mut Env) -> Result<Self, ConfigError> {
        let shared = env.shared(&format!("mongo.fleet.{}", cluster.name()))?;
        let failed = BTreeMap::new();
        Ok(Self { cluster, shared, fleet: Fleet::default(), endpoints: Vec::new(), failed, looked: 0, doubted: 0 })
    }

    /// What the servers are.
    pub const fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Looks at what other workers have learned, if it is time.
    pub fn refresh(&mut self, now: u64) {
        if now.saturating_sub(self.looked) >= SETTLED {
            self.look(now);
        }
    }

    fn look(&mut self, now: u64) {
        self.looked = now;
        // A host that does not say leaves everything to the load balancer, and to what handshakes say.
        if let Ok(endpoints) = self.cluster.endpoints() {
            self.endpoints = endpoints.into_iter().filter(|one| one.healthy).map(|one| one.address).collect();
            self.failed.retain(|_, at| now.saturating_sub(*at) < PATIENCE);
        }
        if let Ok(Some(known)) = self.shared.load() {
            self.fleet.forget_all();
            for (server, facts) in known {
                if self.endpoints.is_empty() || self.endpoints.contains(&server) {
                    self.fleet.observe(&server, facts);
                }
            }
        }
    }

    /// Whether it is known what a server is, to any worker.
    pub fn knows(&mut self, server: &str, now: u64) -> bool {
        if self.fleet.role(server).is_none() {
            self.look(now);
        }
        self.fleet.role(server).is_some()
    }

    /// A server has said what it is.
    pub fn observe(&mut self, server: &str, facts: ServerFacts) {
        self.failed.remove(server);
        self.label(server, facts.role.label());
        let _ = self.shared.update(|known| {
            let mut known = known.unwrap_or_default();
            known.insert(server.to_owned(), facts.clone());
            known
        });
        self.fleet.observe(server, facts);
    }

    /// A server is of a kind that serves nobody.
    pub fn observe_unfit(&mut self, server: &str) {
        let facts = ServerFacts { role: Role::Other, set_name: None, limits: super::fleet::Limits::default() };
        self.observe(server, facts);
    }

    /// A server could not be asked: it is not what it was.
    pub fn failed(&mut self, server: &str, now: u64) {
        self.failed.insert(server.to_owned(), now);
        self.label(server, "");
    }

    /// What is known of one server is not to be relied on.
    pub fn doubt(&mut self, server: &str) {
        if self.fleet.role(server).is_some() {
            self.fleet.forget(server);
            let _ = self.shared.update(|known| {
                let mut known = known.unwrap_or_default();
                known.remove(server);
                known
            });
        }
    }

    /// What is known of any server is not to be relied on; not more often than once a second.
    pub fn doubt_all(&mut self, now: u64) {
        if now.saturating_sub(self.doubted) >= SETTLED {
            self.doubted = now;
            self.fleet.forget_all();
            let _ = self.shared.update(|_| BTreeMap::new());
        }
    }

    /// A server to be asked before others are used.
    pub fn unseen(&self, now: u64) -> Option<String> {
        let is_unseen = |server: &&String| {
            self.fleet.role(server).is_none()
                && self.failed.get(*server).is_none_or(|at| now.saturating_sub(*at) >= PATIENCE)
        };
        self.endpoints.iter().find(is_unseen).cloned()
    }

    fn label(&self, server: &str, role: &str) {
        // One that is gone from the cluster has no labels.
        let _ = self.cluster.label(server, LABEL, role);
    }
}

/// The wall clock, in milliseconds since 1970.
pub fn now() -> u64 {
    abi::now() / 1_000_000
}
