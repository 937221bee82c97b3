//! Which filter chain a connection takes.
//!
//! A listener has chains in an order, each with a [`Matcher`]; the first whose conditions all hold is taken, else the
//! listener's own. That is the order of the configuration (`chains:`), not Envoy's, which ranks conditions by kind and
//! by how specific they are: what is read from top to bottom can be explained from top to bottom. [`Chains::explain`]
//! does so.
//!
//! Invariants:
//! * A condition that is not given holds. Of several values of one condition one must hold; of the conditions, all.
//! * A condition that is given never holds for what is not known: without SNI no `sni` holds.
//! * IPv4 addresses that are written as IPv6 (`::ffff:a.b.c.d`, what sockets for both families report) count as IPv4.
//!
//! Matching allocates nothing and goes through the list: it is done once per connection, and lists are short.

mod matcher;
mod network;
mod pattern;

pub use matcher::{Application, Chains, Choice, Connection, Matcher, Mismatch, Transport, TransportCondition};
pub use network::{NetworkError, parse_network, parse_networks};
pub use pattern::{Pattern, PatternError};
