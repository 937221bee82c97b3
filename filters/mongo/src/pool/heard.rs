//! What the servers of a cluster have said of themselves, as all workers share it.
//!
//! Replies overtake one another: they come over several connections, to several workers. What is older than what is known is not listened to
//! (server discovery and monitoring specification, `topologyVersion` and `electionId`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fleet::{Role, ServerFacts};
use crate::bson::Value;
use crate::bson::read::find;

/// How often a server has become something else since its process began: `topologyVersion`, since MongoDB 4.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    process: [u8; 12],
    counter: i64,
}

/// What a primary was elected by: `electionId` and `setVersion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Election {
    id: [u8; 12],
    set: i64,
}

/// Every server, by address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Heard(BTreeMap<String, Server>);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Server {
    /// None: what it said is not relied on.
    facts: Option<ServerFacts>,
    /// The latest, in a greeting or with an error.
    version: Option<Version>,
}

/// What comes of what a server says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// It is older than what is known.
    pub is_stale: bool,
    /// Whoever is the primary no more.
    pub deposed: Vec<String>,
}

impl Version {
    /// Of a version's own document; none if it is not one.
    pub fn read(document: &[u8]) -> Option<Self> {
        let process = find(document, "processId").and_then(Value::object_id)?;
        Some(Self { process, counter: find(document, "counter").and_then(Value::integer)? })
    }

    /// Of its parts.
    pub const fn new(process: [u8; 12], counter: i64) -> Self {
        Self { process, counter }
    }

    /// Whether it was so before the other. Between processes nobody knows.
    pub fn is_before(&self, other: &Self) -> bool {
        self.process == other.process && self.counter < other.counter
    }
}

impl Election {
    /// Of a primary's greeting.
    pub const fn new(id: [u8; 12], set: i64) -> Self {
        Self { id, set }
    }

    /// Whether it was before the other. Since MongoDB 6.0 the election counts for more than the set's configuration.
    fn is_before(&self, other: &Self, wire_version: i32) -> bool {
        if wire_version >= 17 {
            (self.id, self.set) < (other.id, other.set)
        } else {
            (self.set, self.id) < (other.set, other.id)
        }
    }
}

impl Heard {
    /// A server has said what it is.
    pub fn observe(&mut self, server: &str, facts: &ServerFacts) -> Learned {
        let known = self.0.get(server).and_then(|known| known.version);
        if facts.version.zip(known).is_some_and(|(said, known)| said.is_before(&known)) {
            return Learned { is_stale: true, deposed: Vec::new() };
        }
        let mut learned = Learned::default();
        if facts.role == Role::Primary {
            for (other, known) in &mut self.0 {
                let Some(rival) = known.facts.as_ref() else { continue };
                if other == server || rival.role != Role::Primary || rival.set_name != facts.set_name {
                    continue;
                }
                let wire_version = facts.limits.max_wire_version.min(rival.limits.max_wire_version);
                let elections = facts.election.zip(rival.election);
                if elections.is_some_and(|(this, rival)| this.is_before(&rival, wire_version)) {
                    learned.is_stale = true;
                } else {
                    learned.deposed.push(other.clone());
                    known.facts = None;
                }
            }
        }
        let entry = self.0.entry(server.to_owned()).or_default();
        entry.version = facts.version.or(entry.version);
        entry.facts = (!learned.is_stale).then(|| facts.clone());
        learned
    }

    /// A server has refused something for what it is, as of this version: what it said before is not listened to any more.
    pub fn outdate(&mut self, server: &str, version: Version) {
        let entry = self.0.entry(server.to_owned()).or_default();
        if entry.version.is_none_or(|known| !version.is_before(&known)) {
            entry.version = Some(version);
        }
    }

    /// What is known of a server is not to be relied on.
    pub fn doubt(&mut self, server: &str) {
        if let Some(known) = self.0.get_mut(server) {
            known.facts = None;
        }
    }

    /// What is known of any is not to be relied on.
    pub fn doubt_all(&mut self) {
        for known in self.0.values_mut() {
            known.facts = None;
        }
    }

    /// Forgets those that are not there any more.
    pub fn tidy(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|server, _| is_there(server));
    }

    /// What is known of a server.
    pub fn facts(&self, server: &str) -> Option<&ServerFacts> {
        self.0.get(server)?.facts.as_ref()
    }

    /// What is known of each.
    pub fn into_facts(self) -> impl Iterator<Item = (String, ServerFacts)> {
        self.0.into_iter().filter_map(|(server, known)| Some((server, known.facts?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::fleet::Limits;

    fn says(role: Role, counter: i64, election: Option<(u8, i64)>) -> ServerFacts {
        ServerFacts {
            role,
            set_name: Some("rs".to_owned()),
            limits: Limits::default(),
            version: Some(Version::new([1; 12], counter)),
            election: election.map(|(id, set)| Election::new([id; 12], set)),
        }
    }

    fn role(heard: &Heard, server: &str) -> Option<Role> {
        heard.facts(server).map(|facts| facts.role)
    }

    const STALE: Learned = Learned { is_stale: true, deposed: Vec::new() };

    #[test]
    fn a_late_reply_of_the_same_process_is_not_listened_to() {
        let mut heard = Heard::default();
        heard.observe("a", &says(Role::Secondary, 2, None));
        assert_eq!(heard.observe("a", &says(Role::Primary, 1, None)), STALE);
        assert_eq!(role(&heard, "a"), Some(Role::Secondary));
        // Doubts do not make it forget.
        heard.doubt_all();
        assert_eq!(heard.observe("a", &says(Role::Primary, 1, None)), STALE);
        assert_eq!(role(&heard, "a"), None);
        assert_eq!(heard.observe("a", &says(Role::Primary, 2, None)), Learned::default());
        // It began anew.
        let restarted = ServerFacts { version: Some(Version::new([2; 12], 0)), ..says(Role::Secondary, 0, None) };
        heard.observe("a", &restarted);
        assert_eq!(role(&heard, "a"), Some(Role::Secondary));
        // Servers before 4.4 do not say.
        heard.observe("a", &ServerFacts { version: None, ..says(Role::Primary, 0, None) });
        assert_eq!(role(&heard, "a"), Some(Role::Primary));
    }

    #[test]
    fn what_it_refuses_is_newer_than_what_it_said() {
        let mut heard = Heard::default();
        heard.observe("a", &says(Role::Primary, 1, None));
        heard.outdate("a", Version::new([1; 12], 2));
        assert_eq!(heard.observe("a", &says(Role::Primary, 1, None)), STALE);
        // An error that comes late changes nothing.
        heard.outdate("a", Version::new([1; 12], 0));
        assert_eq!(heard.observe("a", &says(Role::Primary, 1, None)), STALE);
        heard.observe("a", &says(Role::Primary, 3, None));
        assert_eq!(role(&heard, "a"), Some(Role::Primary));
    }

    #[test]
    fn there_is_one_primary_of_a_set() {
        let mut heard = Heard::default();
        heard.observe("a", &says(Role::Primary, 1, Some((1, 1))));
        let learned = heard.observe("b", &says(Role::Primary, 1, Some((2, 1))));
        assert_eq!(learned, Learned { is_stale: false, deposed: vec!["a".to_owned()] });
        assert_eq!((role(&heard, "a"), role(&heard, "b")), (None, Some(Role::Primary)));
        // Whoever was elected before is not believed, until it is elected again.
        assert_eq!(heard.observe("a", &says(Role::Primary, 1, Some((1, 1)))), STALE);
        assert_eq!((role(&heard, "a"), role(&heard, "b")), (None, Some(Role::Primary)));
        heard.observe("a", &says(Role::Primary, 2, Some((3, 1))));
        assert_eq!((role(&heard, "a"), role(&heard, "b")), (Some(Role::Primary), None));
        // Whoever names no election is believed last.
        heard.observe("b", &says(Role::Primary, 2, None));
        assert_eq!((role(&heard, "a"), role(&heard, "b")), (None, Some(Role::Primary)));
        // Another set has its own.
        heard.observe("c", &ServerFacts { set_name: Some("other".to_owned()), ..says(Role::Primary, 1, Some((1, 1))) });
        assert_eq!((role(&heard, "c"), role(&heard, "b")), (Some(Role::Primary), Some(Role::Primary)));
    }

    #[test]
    fn before_6_0_the_configuration_counts_for_more() {
        for (wire_version, newer) in [(16, "a"), (17, "b")] {
            let mut heard = Heard::default();
            let of = |election| {
                let said = says(Role::Primary, 1, Some(election));
                ServerFacts { limits: Limits { max_wire_version: wire_version, ..said.limits }, ..said }
            };
            heard.observe("a", &of((1, 2)));
            heard.observe("b", &of((2, 1)));
            assert_eq!(role(&heard, newer), Some(Role::Primary), "{wire_version}");
            assert_eq!(heard.into_facts().count(), 1);
        }
    }

    #[test]
    fn servers_that_are_gone_leave_nothing_behind() {
        let mut heard = Heard::default();
        for server in ["a", "b", "c"] {
            heard.observe(server, &says(Role::Secondary, 1, None));
        }
        heard.tidy(|server| server == "b");
        assert_eq!(heard.0.keys().collect::<Vec<_>>(), ["b"]);
    }
}
