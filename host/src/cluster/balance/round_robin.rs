//! Round robin: hosts of equal weight in order, others by a [`Schedule`](crate::cluster::balance::schedule::Schedule).
//!
//! A turn that falls on a host which may not have it goes to one drawn by weight. Its successor would otherwise carry a
//! double load for as long as that lasts, which in slow start is the whole window.

use crate::cluster::balance::{
    local::Local,
    pool::{Pick, Pool},
    request::Load,
};

/// Picks the next.
pub(crate) fn pick<L: Load, U: Fn(usize) -> bool>(
    pool: &Pool,
    pick: &Pick<'_, L, U>,
    local: &mut Local,
) -> Option<usize> {
    let turn = if pool.is_weighted() {
        local.next_weighted(pool.slot(), pool.weights(pick))?
    } else {
        local.next(pool.slot(), pool.len())
    };
    match pool.admit(turn, pick, &mut local.random) {
        Some(host) => Some(host),
        None => pool.draw(pick, &mut local.random).map(|drawn| drawn.host),
    }
}
