//! The languages inside commands: filters, updates, projections, expressions and pipelines, over documents in memory.
//!
//! Pure functions: no locks, no clock, no I/O.

mod condition;
pub(crate) mod expression;
pub(crate) mod matching;
pub(crate) mod ordering;
pub(crate) mod path;
pub(crate) mod pipeline;
pub(crate) mod projection;
#[cfg(test)]
mod tests;
pub(crate) mod update;
