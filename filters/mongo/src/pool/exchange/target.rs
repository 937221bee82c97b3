//! Which connection to lease for an operation.

use super::{PinReason, Route};
use crate::pool::facts::ReadPreference;
use crate::pool::fleet::{Role, Topology};
use crate::pool::operation::{Kind, Operation};

/// Where a connection must lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To any server.
    Any,
    /// To a server whose label `role` is this one.
    Label(Role),
    /// To this server.
    Server(String),
}

/// A connection to be leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Where it must lead.
    pub target: Target,
    /// Where else it may lead, if nothing leads to the target.
    pub or: Option<Role>,
    /// From the share of the pool that is for cursors which wait and for exhaust, so that these cannot use up the rest.
    pub long_lived: bool,
    /// Why the target is one server, for the gauges.
    pub pinned: Option<PinReason>,
}

impl Lease {
    /// To whichever server is free.
    pub fn any() -> Self {
        Self { target: Target::Any, or: None, long_lived: false, pinned: None }
    }

    /// The lease for an operation.
    pub(super) fn of(operation: &Operation, route: Route, exhaust: bool, topology: Topology) -> Self {
        if let Route::Pinned { server, reason, long_lived } = route {
            let long_lived = long_lived || exhaust;
            return Self { target: Target::Server(server), or: None, long_lived, pinned: Some(reason) };
        }
        let (target, or) = match topology {
            Topology::ReplicaSet => preferred(operation),
            // Which one is the primary will be known after the first handshake; see `corrected`.
            Topology::Unknown | Topology::Sharded | Topology::Standalone => (Target::Any, None),
        };
        Self { target, or, long_lived: operation.long_lived || exhaust, pinned: None }
    }

    /// The lease to take instead when the server turned out to be of a role that does not fit. Pins stand: whoever
    /// has the cursor serves it.
    pub(super) fn corrected(&self, operation: &Operation, role: Option<Role>) -> Option<Self> {
        let (target, or) = preferred(operation);
        let fits = match (&self.target, role) {
            (Target::Server(_), _) | (_, None | Some(Role::Mongos | Role::Standalone)) => true,
            (_, Some(Role::Other)) => false,
            (_, Some(role)) => match target {
                Target::Label(wanted) => wanted == role || or == Some(role),
                Target::Any | Target::Server(_) => true,
            },
        };
        (!fits).then(|| Self { target, or, ..self.clone() })
    }

    /// The role that its server must have.
    pub fn role(&self) -> Option<Role> {
        match self.target {
            Target::Label(role) => Some(role),
            Target::Any | Target::Server(_) => None,
        }
    }

    /// The lease to take when nothing leads to the target.
    pub(super) fn fallback(&self) -> Option<Self> {
        self.or.map(|role| Self { target: Target::Label(role), or: None, ..self.clone() })
    }
}

/// The target by read preference, in a replica set.
fn preferred(operation: &Operation) -> (Target, Option<Role>) {
    let primary = Target::Label(Role::Primary);
    let secondary = Target::Label(Role::Secondary);
    // A transaction reads and writes at the primary (transactions specification, "read preference"). A cursor or
    // session without a pin is refused by whichever server it gets to, so the primary does.
    if operation.in_transaction || operation.kind != Kind::Other {
        return (primary, None);
    }
    match operation.read_preference {
        ReadPreference::Primary => (primary, None),
        ReadPreference::PrimaryPreferred => (primary, Some(Role::Secondary)),
        ReadPreference::Secondary => (secondary, None),
        ReadPreference::SecondaryPreferred => (secondary, Some(Role::Primary)),
        ReadPreference::Nearest => (Target::Any, None),
    }
}
