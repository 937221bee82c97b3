//! Random: by chance, in proportion to weights. Envoy's ignores weights; here they hold.

use crate::cluster::balance::{
    local::Local,
    pool::{Pick, Pool},
    request::Load,
};

/// Picks any.
pub(crate) fn pick<L: Load, U: Fn(usize) -> bool>(
    pool: &Pool,
    pick: &Pick<'_, L, U>,
    local: &mut Local,
) -> Option<usize> {
    pool.draw(pick, &mut local.random).map(|drawn| drawn.host)
}
