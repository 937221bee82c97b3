//! What endpoints say of their own load (ORCA): weights are made of it (`load_balancer: client_side_weighted_round_robin`), and control planes are told.
//!
//! [`report`] reads reports, [`weights`] makes weights of them; `task` does so once a period, and `out_of_band` asks endpoints whose answers say
//! nothing; [`told`] sums up what control planes want to hear.

mod out_of_band;
pub mod report;
#[cfg(test)]
mod skew;
mod task;
pub mod told;
pub mod weights;

pub use report::Report;
pub(super) use task::{ask, weigh};
pub use weights::{LoadWeights, Reported};
