//! What the servers behind the pool said about themselves: their roles, and the limits that hold for all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::heard::{Election, Version};
use crate::bson::Value;
use crate::bson::read::elements;

/// What a server is, by its reply to `hello` (server discovery and monitoring specification, "type").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Router of a sharded cluster.
    Mongos,
    /// Primary of a replica set.
    Primary,
    /// Secondary of a replica set.
    Secondary,
    /// Server without a replica set.
    Standalone,
    /// Arbiter, hidden, starting or removed: never lent.
    Other,
}

/// A server's reply to `hello`, the fields that matter here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// What the server is.
    pub role: Role,
    /// Name of its replica set.
    pub set_name: Option<String>,
    /// Limits that clients must be told.
    pub limits: Limits,
    /// `topologyVersion`.
    pub version: Option<Version>,
    /// What a primary was elected by.
    pub election: Option<Election>,
}

/// Limits in a reply to `hello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Lowest wire version.
    pub min_wire_version: i32,
    /// Highest wire version, by which drivers choose features.
    pub max_wire_version: i32,
    /// Largest document in bytes.
    pub max_document: i32,
    /// Largest message in bytes.
    pub max_message: i32,
    /// Most documents of one write command.
    pub max_batch: i32,
    /// Minutes that an idle session lives; none if the server has no sessions (a standalone's are of no use for
    /// retryable writes, see [`Fleet::limits`]).
    pub session_minutes: Option<i32>,
}

impl Default for Limits {
    /// What is said before any server was heard: sizes of every server since 3.6, and wire version 17 (MongoDB 6.0),
    /// which every server that is still maintained goes beyond. Saying too much would make drivers send what servers
    /// refuse.
    fn default() -> Self {
        Self {
            min_wire_version: 0,
            max_wire_version: 17,
            max_document: 16_777_216,
            max_message: 48_000_000,
            max_batch: 100_000,
            session_minutes: Some(30),
        }
    }
}

/// What kind of deployment stands behind the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// Nothing was heard yet.
    Unknown,
    /// A replica set: reads and writes have their servers.
    ReplicaSet,
    /// Routers: any serves any.
    Sharded,
    /// Servers of their own: any serves any.
    Standalone,
}

/// Most servers of which facts are kept; more are ignored.
pub const MAX_SERVERS: usize = 1024;

/// Every server that was heard, by address.
#[derive(Debug, Clone)]
pub struct Fleet {
    servers: BTreeMap<String, ServerFacts>,
    /// Asked for with every request, so it is not made anew each time.
    topology: Topology,
    /// The limits of when a server was known last.
    heard: Option<Limits>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { servers: BTreeMap::new(), topology: Topology::Unknown, heard: None }
    }
}

impl Role {
    /// The value of the label `role` that the filter publishes for an endpoint.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Mongos => "mongos",
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::Standalone => "standalone",
            Self::Other => "other",
        }
    }

    /// The role of a label's value.
    #[cfg(test)]
    pub fn of_label(label: &str) -> Option<Self> {
        [Self::Mongos, Self::Primary, Self::Secondary, Self::Standalone, Self::Other]
            .into_iter()
            .find(|role| role.label() == label)
    }
}

impl ServerFacts {
    /// Reads a reply to `hello` or `isMaster`; none if it is not one (`ok` is false, or not BSON).
    pub fn read(reply: &[u8]) -> Option<Self> {
        // Servers before 3.6 say less; these are the protocol's defaults for absent fields.
        let mut limits = Limits { max_wire_version: 0, max_batch: 1000, session_minutes: None, ..Limits::default() };
        let (mut set_name, mut version, mut election, mut set_version) = (None, None, None, 0);
        let (mut ok, mut primary, mut secondary, mut mongos, mut other) = (false, false, false, false, false);
        for element in elements(reply) {
            let (name, value) = element.ok()?;
            let number = || value.integer().and_then(|number| i32::try_from(number).ok());
            match name {
                "ok" => ok = value.is_true(),
                "isWritablePrimary" | "ismaster" => primary |= value.is_true(),
                "secondary" => secondary = value.is_true(),
                "msg" => mongos = value.str() == Some("isdbgrid"),
                "hidden" | "arbiterOnly" | "isreplicaset" => other |= value.is_true(),
                "setName" => set_name = value.str().map(str::to_owned),
                "setVersion" => set_version = value.integer()?,
                "electionId" => election = value.object_id(),
                "topologyVersion" => version = if let Value::Document(it) = value { Version::read(it) } else { None },
                "minWireVersion" => limits.min_wire_version = number()?,
                "maxWireVersion" => limits.max_wire_version = number()?,
                "maxBsonObjectSize" => limits.max_document = number()?,
                "maxMessageSizeBytes" => limits.max_message = number()?,
                "maxWriteBatchSize" => limits.max_batch = number()?,
                "logicalSessionTimeoutMinutes" => limits.session_minutes = number(),
                _ => {}
            }
        }
        let role = match (mongos, other, set_name.is_some()) {
            (true, ..) => Role::Mongos,
            (_, true, _) => Role::Other,
            (.., true) if primary => Role::Primary,
            (.., true) if secondary => Role::Secondary,
            (.., true) => Role::Other,
            (.., false) if primary => Role::Standalone,
            (.., false) => Role::Other,
        };
        let election = election.filter(|_| role == Role::Primary).map(|id| Election::new(id, set_version));
        ok.then_some(Self { role, set_name, limits, version, election })
    }
}

impl Fleet {
    /// Notes what a server said, in place of what it said before.
    pub fn observe(&mut self, server: &str, facts: ServerFacts) {
        if let Some(known) = self.servers.get_mut(server) {
            *known = facts;
        } else if self.servers.len() < MAX_SERVERS {
            self.servers.insert(server.to_owned(), facts);
        }
        self.learn();
    }

    /// Forgets a server that is gone.
    pub fn forget(&mut self, server: &str) {
        self.servers.remove(server);
        self.learn();
    }

    /// Forgets all of them.
    pub fn forget_all(&mut self) {
        self.servers.clear();
        self.learn();
    }

    /// Whether a server has a role.
    pub fn has(&self, role: Role) -> bool {
        self.servers.values().any(|facts| facts.role == role)
    }

    /// Their addresses.
    pub fn addresses(&self) -> impl Iterator<Item = &String> {
        self.servers.keys()
    }

    /// What they are.
    pub fn roles(&self) -> BTreeMap<String, Role> {
        self.servers.iter().map(|(server, facts)| (server.clone(), facts.role)).collect()
    }

    /// What a server is, if it was heard.
    pub fn role(&self, server: &str) -> Option<Role> {
        self.facts(server).map(|facts| facts.role)
    }

    /// What is known of a server.
    pub fn facts(&self, server: &str) -> Option<&ServerFacts> {
        self.servers.get(server)
    }

    /// The kind of deployment: that of the servers that can be lent. A mixture, which is a mistake in the
    /// configuration, counts as a replica set, so that writes find the primary.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    fn learn(&mut self) {
        self.topology = if self.has(Role::Primary) || self.has(Role::Secondary) {
            Topology::ReplicaSet
        } else if self.has(Role::Mongos) {
            Topology::Sharded
        } else if self.has(Role::Standalone) {
            Topology::Standalone
        } else {
            Topology::Unknown
        };
        self.heard = self.common().or(self.heard);
    }

    /// Limits that hold for every server: what a client is told. Those of before while none is known, as after an outage: a client that
    /// connects then must not lack for good what the servers can do. `default` if none was ever heard.
    ///
    /// With standalone servers sessions are left out: drivers then send no transaction numbers, which a standalone
    /// refuses, and which they would send to a mongos. (A client with `loadBalanced=true` does not look at it; it
    /// needs `retryWrites=false` there.)
    pub fn limits(&self, default: Limits) -> Limits {
        self.heard.unwrap_or(default)
    }

    fn common(&self) -> Option<Limits> {
        let lent = self.servers.values().filter(|facts| facts.role != Role::Other);
        let mut limits = lent.map(|facts| facts.limits).reduce(Limits::both)?;
        // Servers that share no version cannot all be served; the lower bound yields, for clients to choose by.
        limits.min_wire_version = limits.min_wire_version.min(limits.max_wire_version);
        if self.topology() == Topology::Standalone {
            limits.session_minutes = None;
        }
        Some(limits)
    }
}

impl Limits {
    fn both(self, other: Self) -> Self {
        Self {
            min_wire_version: self.min_wire_version.max(other.min_wire_version),
            max_wire_version: self.max_wire_version.min(other.max_wire_version),
            max_document: self.max_document.min(other.max_document),
            max_message: self.max_message.min(other.max_message),
            max_batch: self.max_batch.min(other.max_batch),
            // No session anywhere if one has none.
            session_minutes: self.session_minutes.zip(other.session_minutes).map(|(mine, theirs)| mine.min(theirs)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bson::write::Document;

    fn facts(write: impl FnOnce(&mut Document)) -> ServerFacts {
        let mut document = Document::new();
        write(&mut document);
        document.double("ok", 1.0);
        ServerFacts::read(&document.finish()).unwrap()
    }

    #[test]
    fn roles_follow_the_discovery_specification() {
        assert_eq!(facts(|d| _ = d.bool("isWritablePrimary", true).string("msg", "isdbgrid")).role, Role::Mongos);
        assert_eq!(facts(|d| _ = d.bool("isWritablePrimary", true).string("setName", "r")).role, Role::Primary);
        assert_eq!(facts(|d| _ = d.bool("ismaster", true).string("setName", "r")).role, Role::Primary);
        assert_eq!(facts(|d| _ = d.bool("secondary", true).string("setName", "r")).role, Role::Secondary);
        let hidden = facts(|d| _ = d.bool("secondary", true).bool("hidden", true).string("setName", "r"));
        assert_eq!(hidden.role, Role::Other);
        assert_eq!(facts(|d| _ = d.bool("arbiterOnly", true).string("setName", "r")).role, Role::Other);
        assert_eq!(facts(|d| _ = d.string("setName", "r")).role, Role::Other);
        assert_eq!(facts(|d| _ = d.bool("isreplicaset", true)).role, Role::Other);
        assert_eq!(facts(|d| _ = d.bool("ismaster", true)).role, Role::Standalone);
        assert_eq!(ServerFacts::read(&Document::new().finish()), None);
        for role in [Role::Mongos, Role::Primary, Role::Secondary, Role::Standalone, Role::Other] {
            assert_eq!(Role::of_label(role.label()), Some(role));
        }
    }

    #[test]
    fn limits_are_those_that_every_server_keeps() {
        let member = |role: &str, wire: i32, batch: i32, minutes: i32| {
            facts(|d| {
                d.bool(role, true).string("setName", "r").int32("maxWireVersion", wire).int32("minWireVersion", 0);
                d.int32("maxWriteBatchSize", batch).int32("logicalSessionTimeoutMinutes", minutes);
            })
        };
        let mut fleet = Fleet::default();
        assert_eq!(fleet.limits(Limits::default()), Limits::default());
        assert_eq!(fleet.topology(), Topology::Unknown);
        fleet.observe("a", member("ismaster", 25, 100_000, 30));
        fleet.observe("b", member("secondary", 21, 50_000, 20));
        let limits = fleet.limits(Limits::default());
        assert_eq!((limits.max_wire_version, limits.max_batch, limits.session_minutes), (21, 50_000, Some(20)));
        assert_eq!(fleet.topology(), Topology::ReplicaSet);
        fleet.forget("b");
        assert_eq!(fleet.limits(Limits::default()).max_wire_version, 25);
        assert_eq!((fleet.role("a"), fleet.role("b")), (Some(Role::Primary), None));
        assert_eq!((fleet.has(Role::Primary), fleet.has(Role::Secondary)), (true, false));
        // While none is known, nobody is told less than before.
        fleet.forget_all();
        assert_eq!((fleet.topology(), fleet.has(Role::Primary)), (Topology::Unknown, false));
        assert_eq!(fleet.limits(Limits::default()).max_wire_version, 25);
    }

    #[test]
    fn standalone_servers_offer_no_retryable_writes() {
        let mut fleet = Fleet::default();
        fleet.observe("a", facts(|d| _ = d.bool("ismaster", true).int32("logicalSessionTimeoutMinutes", 30)));
        assert_eq!(fleet.topology(), Topology::Standalone);
        assert_eq!(fleet.limits(Limits::default()).session_minutes, None);
    }
}
