//! Turns a configuration into a running proxy.
//!
//! Everything is validated, compiled, configured and bound before a worker starts; if any step fails nothing has started and
//! the report says why. One generation lives as long as the process; replacing it while traffic flows comes later and belongs here.

pub mod start;
