//! What endpoints say of their own load, and the weights that are made of it (ORCA; `load_balancer: client_side_weighted_round_robin`).
//!
//! [`report`] reads reports, [`weights`] makes weights of them; `task` does so once a period, and `out_of_band` asks endpoints whose answers say
//! nothing.

mod out_of_band;
pub mod report;
#[cfg(test)]
mod skew;
mod task;
pub mod weights;

pub use report::Report;
pub(super) use task::{ask, weigh};
pub use weights::{LoadWeights, Reported};
