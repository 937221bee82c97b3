//! What a process stops doing when it runs out of memory or connections, so that what it does goes on (Envoy's overload
//! manager).
//!
//! One [`Manager`] per process, on a control thread, is given readings of pressure from time to time, and tells all
//! workers what to do in one atomic word, [`Flags`], which they read with one relaxed load. It is pure: readings and
//! time are passed in. [`memory`] reads what the process uses, and what its control group grants it.
//!
//! Invariants:
//! * Nothing flaps. An action goes on at once when pressure reaches its upper mark, and off only after pressure was
//!   below its lower mark for a hold time without a break. A share that grows with pressure grows at once, and shrinks
//!   after the hold time too.
//! * More pressure never leads to less action: whatever the history, raising any reading in it lowers no level.
//! * A reading that fails leaves the last one in force.

mod flags;
mod manager;
pub mod memory;
mod trigger;

pub use flags::{Decisions, Flags};
pub use manager::{Action, Change, Manager, Readings, Resource, Rule, Rules};
pub use trigger::{Level, Pressure, Trigger, TriggerError};
