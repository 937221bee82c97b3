//! Which servers there are, and what they are: learned in handshakes, shared by all workers, and published as the label `role` of each endpoint.
//!
//! A worker looks once a second at what the others have learned, and at once when they say that something has changed. A server of which nothing is
//! known is asked before the first operation that could need it: [`Directory::unseen`]. Where one contradicts what is known of it, all of them are
//! asked again.

use std::collections::BTreeMap;

use fyke_sdk::{Cluster, ConfigError, Env, Shared, abi};
use serde::{Deserialize, Serialize};

use super::fleet::{Fleet, Role, ServerFacts};
use super::heard::{Heard, Learned, Version};

/// For how long what others have learned is not looked at again if nobody says so, and what is known is not doubted again that was found to be the
/// same. Milliseconds.
pub const SETTLED: u64 = 1_000;
/// For how long a server that could not be asked is left alone. Milliseconds.
const PATIENCE: u64 = 5_000;
/// For how long a server that serves nobody is left alone. Milliseconds.
const RECOVERY: u64 = 30_000;
/// The label of an endpoint.
pub const LABEL: &str = "role";

/// What a worker knows of the servers.
pub struct Directory {
    cluster: Cluster,
    shared: Shared<Heard>,
    /// How often what is shared has changed.
    changes: Shared<u64>,
    /// How many of these were looked at.
    seen: u64,
    fleet: Fleet,
    /// Addresses of those that get traffic.
    endpoints: Vec<String>,
    /// When a server could not be asked.
    failed: BTreeMap<String, u64>,
    /// Since when it is known here that a server serves nobody.
    unfit: BTreeMap<String, u64>,
    looked: u64,
    /// The last time that all was doubted, by any worker.
    doubts: Shared<Doubt>,
    /// By this one, where nothing is shared.
    doubted: Option<Doubt>,
    /// When somebody who waits for a server asked all of them.
    asked: u64,
}

/// What was not relied on any more, and since when.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Doubt {
    at: u64,
    roles: BTreeMap<String, Role>,
}

impl Directory {
    /// Knows nothing yet.
    ///
    /// # Errors
    /// The host refuses it.
    pub fn new(cluster: Cluster, env: &mut Env) -> Result<Self, ConfigError> {
        let shared = env.shared(&format!("mongo.fleet.{}", cluster.name()))?;
        Ok(Self {
            doubts: env.shared(&format!("mongo.doubt.{}", cluster.name()))?,
            changes: env.shared(&format!("mongo.changes.{}", cluster.name()))?,
            cluster,
            shared,
            seen: 0,
            fleet: Fleet::default(),
            endpoints: Vec::new(),
            failed: BTreeMap::new(),
            unfit: BTreeMap::new(),
            looked: 0,
            doubted: None,
            asked: 0,
        })
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

    /// Looks at what other workers have learned, if they have.
    pub fn catch_up(&mut self, now: u64) {
        if self.changes() != self.seen {
            self.look(now);
        }
    }

    fn changes(&self) -> u64 {
        self.changes.load().ok().flatten().unwrap_or(0)
    }

    /// Tells the other workers that what is shared is something else now. After it is.
    fn changed(&mut self) {
        // Where nothing is shared, or too many do the same, they notice by themselves.
        let _ = self.changes.update(|changes| changes.unwrap_or(0).wrapping_add(1));
    }

    fn look(&mut self, now: u64) {
        self.looked = now;
        self.seen = self.changes();
        // A host that does not say leaves everything to the load balancer, and to what handshakes say.
        if let Ok(endpoints) = self.cluster.endpoints() {
            self.endpoints = endpoints.into_iter().filter(|one| one.healthy).map(|one| one.address).collect();
            self.failed.retain(|_, at| now.saturating_sub(*at) < PATIENCE);
        }
        if let Ok(Some(known)) = self.shared.load() {
            self.fleet.forget_all();
            for (server, facts) in known.into_facts() {
                if self.endpoints.is_empty() || self.endpoints.contains(&server) {
                    self.fleet.observe(&server, facts);
                }
            }
            let fleet = &self.fleet;
            self.unfit.retain(|server, _| fleet.role(server) == Some(Role::Other));
            for server in self.endpoints.iter().filter(|server| fleet.role(server) == Some(Role::Other)) {
                self.unfit.entry(server.clone()).or_insert(now);
            }
        }
    }

    /// Whether it is known what a server is, to any worker.
    pub fn knows(&mut self, server: &str, now: u64) -> bool {
        if self.is_open(server, now) {
            self.look(now);
        }
        !self.is_open(server, now)
    }

    /// Whether it is not known what a server is: one that served nobody may have recovered.
    fn is_open(&self, server: &str, now: u64) -> bool {
        match self.fleet.role(server) {
            None => true,
            Some(Role::Other) => is_past(&self.unfit, server, now, RECOVERY),
            Some(_) => false,
        }
    }

    /// A server has said what it is.
    pub fn observe(&mut self, server: &str, facts: ServerFacts, now: u64) {
        let (mut is_new, mut learned) = (false, Learned::default());
        let endpoints = &self.endpoints;
        let is_shared = self.shared.update(|heard| {
            let mut heard = heard.unwrap_or_default();
            // Whoever has left says nothing any more, nor against whoever is primary now.
            if !endpoints.is_empty() {
                heard.tidy(|other| other == server || endpoints.iter().any(|endpoint| endpoint == other));
            }
            let before = heard.facts(server).cloned();
            learned = heard.observe(server, &facts);
            is_new = before.as_ref() != heard.facts(server) || !learned.deposed.is_empty();
            heard
        });
        for deposed in &learned.deposed {
            self.fleet.forget(deposed);
            self.label(deposed, "");
        }
        if learned.is_stale {
            self.look(now);
        } else {
            self.failed.remove(server);
            self.unfit.remove(server);
            if facts.role == Role::Other {
                self.unfit.insert(server.to_owned(), now);
            }
            self.label(server, facts.role.label());
            self.fleet.observe(server, facts);
        }
        // What there was no room for, nobody is to look for: they would find what was there before.
        if is_shared.is_ok() && is_new {
            self.changed();
        }
    }

    /// A server is of a kind that serves nobody.
    pub fn observe_unfit(&mut self, server: &str, now: u64) {
        let limits = super::fleet::Limits::default();
        let facts = ServerFacts { role: Role::Other, set_name: None, limits, version: None, election: None };
        self.observe(server, facts, now);
    }

    /// A server could not be asked: it is not what it was.
    pub fn failed(&mut self, server: &str, now: u64) {
        // What serves nobody was not relied on, and is not asked again and again.
        if self.fleet.role(server) != Some(Role::Other) {
            self.doubt(server);
        } else {
            self.unfit.insert(server.to_owned(), now);
        }
        self.failed.insert(server.to_owned(), now);
        self.label(server, "");
    }

    /// What is known of one server is not to be relied on.
    pub fn doubt(&mut self, server: &str) {
        if self.fleet.role(server).is_some() {
            self.fleet.forget(server);
            self.share(|heard| heard.doubt(server));
            self.changed();
        }
    }

    /// A server says that it is not the primary, as of this version of what it is. Whoever knows that already, or has asked since, need not
    /// ask again.
    pub fn not_primary(&mut self, server: &str, version: Option<Version>, now: u64) {
        self.contradicts(server, version, now);
    }

    /// A server says that it is neither primary nor secondary, or is becoming something else.
    pub fn neither(&mut self, server: &str, version: Option<Version>, now: u64) {
        if self.contradicts(server, version, now) {
            self.doubt(server);
        }
    }

    /// Whether what a server says is news, and not older than what is known.
    fn contradicts(&mut self, server: &str, version: Option<Version>, now: u64) -> bool {
        self.catch_up(now);
        let mut is_outdated = false;
        if let Some(version) = version {
            let known = self.fleet.facts(server).and_then(|facts| facts.version);
            if known.is_some_and(|known| version.is_before(&known)) {
                return false;
            }
            is_outdated = known.is_some_and(|known| known.is_before(&version));
            self.share(|heard| heard.outdate(server, version));
        }
        if self.fleet.role(server) == Some(Role::Primary) {
            self.doubt_all(now);
        }
        // However short a while ago all of them were doubted.
        if is_outdated {
            self.doubt(server);
        }
        true
    }

    fn share(&mut self, change: impl Fn(&mut Heard)) {
        // Where nothing is shared, or too many do the same, it is of this worker alone.
        let _ = self.shared.update(|heard| {
            let mut heard = heard.unwrap_or_default();
            change(&mut heard);
            heard
        });
    }

    /// What is known of any server is not to be relied on. Not more often than once a second if it is the same each time.
    pub fn doubt_all(&mut self, now: u64) {
        let doubt = Doubt { at: now, roles: self.fleet.roles() };
        let last = self.doubts.load().ok().flatten().or_else(|| self.doubted.clone());
        if last.is_some_and(|last| now.saturating_sub(last.at) < SETTLED && last.roles == doubt.roles) {
            return;
        }
        let _ = self.doubts.update(|_| doubt.clone());
        self.doubted = Some(doubt);
        self.fleet.forget_all();
        self.share(Heard::doubt_all);
        self.changed();
    }

    /// Whether a server is known that may serve whoever needs one of these roles, or any if there are none.
    pub fn may_serve(&self, role: Option<Role>, or: Option<Role>) -> bool {
        if role.is_some() {
            return [role, or].into_iter().flatten().any(|role| self.fleet.has(role));
        }
        // Which are to be asked is known once they were looked at.
        self.endpoints.is_empty() || self.endpoints.iter().any(|server| !self.failed.contains_key(server))
    }

    /// Servers that somebody asks who waits for one, the last one first; nobody else does within so many milliseconds, and gets none.
    pub fn ask_anew(&mut self, now: u64, pause: u64) -> Vec<String> {
        if now.saturating_sub(self.asked) < pause && self.asked > 0 {
            return Vec::new();
        }
        self.asked = now;
        self.look(now);
        // Those that could not be asked a moment ago may take long again.
        let (mut servers, others): (Vec<_>, Vec<_>) =
            self.endpoints.iter().cloned().partition(|server| self.failed.contains_key(server));
        servers.extend(others);
        servers
    }

    /// The server that a text is about.
    pub fn named_in(&self, text: &str) -> Option<&str> {
        // A host that does not say which endpoints there are names those that were heard.
        let named = self.endpoints.iter().chain(self.fleet.addresses()).filter(|server| text.contains(&***server));
        named.max_by_key(|server| server.len()).map(String::as_str)
    }

    /// A server to be asked before others are used, but none that was asked for the same operation already.
    pub fn unseen(&self, now: u64, asked: &[String]) -> Option<String> {
        let is_unseen = |server: &&String| {
            self.is_open(server, now) && is_past(&self.failed, server, now, PATIENCE) && !asked.contains(*server)
        };
        self.endpoints.iter().find(is_unseen).cloned()
    }

    fn label(&self, server: &str, role: &str) {
        // One that is gone from the cluster has no labels.
        let _ = self.cluster.label(server, LABEL, role);
    }
}

/// Whether so many milliseconds have passed since a server's time, if it has one.
fn is_past(times: &BTreeMap<String, u64>, server: &str, now: u64, patience: u64) -> bool {
    times.get(server).is_none_or(|at| now.saturating_sub(*at) >= patience)
}

/// A clock that only goes forward, in milliseconds. Zero: the host shows none.
pub fn now() -> u64 {
    abi::monotonic() / 1_000_000
}
