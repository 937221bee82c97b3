//! Least request: the less busy of a few hosts drawn at random.
//!
//! With equal weights that is Envoy's "power of two choices". With unequal ones Envoy schedules by `weight / (active +
//! 1)^bias`, a number that is out of date by the time of a host's turn. Here hosts are drawn by weight and compared by
//! `active^bias / weight`: among idle hosts the first draw stands, so weights hold exactly, and under load requests in
//! flight settle in proportion to weights.

use crate::cluster::balance::{
    local::Local,
    pool::{Drawn, Pick, Pool},
    request::Load,
    settings::{LeastRequest, Selection},
};

/// Picks the least busy.
pub(crate) fn pick<L: Load, U: Fn(usize) -> bool>(
    settings: &LeastRequest,
    pool: &Pool,
    pick: &Pick<'_, L, U>,
    local: &mut Local,
) -> Option<usize> {
    match settings.selection {
        Selection::Choices(choices) => few(settings, choices, pool, pick, local),
        Selection::FullScan => all(settings, pool, pick, local),
    }
}

fn few<L: Load, U: Fn(usize) -> bool>(
    settings: &LeastRequest,
    choices: u32,
    pool: &Pool,
    pick: &Pick<'_, L, U>,
    local: &mut Local,
) -> Option<usize> {
    let mut best = pool.draw(pick, &mut local.random)?;
    if pool.len() < 2 {
        return Some(best.host);
    }
    let mut least = cost(settings, pool, pick, best);
    for _ in 1..choices.clamp(2, pool.len()) {
        let Some(next) = pool.draw_other(best.position, pick, &mut local.random) else { break };
        let busy = cost(settings, pool, pick, next);
        if busy < least {
            (best, least) = (next, busy);
        }
    }
    Some(best.host)
}

/// Ties are broken by lot, by weight: each new one takes the place with its share of the weight seen so far.
fn all<L: Load, U: Fn(usize) -> bool>(
    settings: &LeastRequest,
    pool: &Pool,
    pick: &Pick<'_, L, U>,
    local: &mut Local,
) -> Option<usize> {
    let (mut best, mut least, mut tied) = (None, f64::INFINITY, 0.0);
    for drawn in pool.accepted(pick) {
        let busy = cost(settings, pool, pick, drawn);
        let weight = pool.weight(drawn, pick);
        if best.is_none() || busy < least {
            (best, least, tied) = (Some(drawn.host), busy, weight);
        } else if busy <= least {
            tied += weight;
            if local.random.f64() * tied < weight {
                best = Some(drawn.host);
            }
        }
    }
    best
}

fn cost<L: Load, U: Fn(usize) -> bool>(
    settings: &LeastRequest,
    pool: &Pool,
    pick: &Pick<'_, L, U>,
    drawn: Drawn,
) -> f64 {
    let active = f64::from(pick.load.active(drawn.host));
    // In this order, so that a bias that is not a number counts as none.
    let scaled = if settings.bias > 0.0 { power(active, settings.bias) } else { 0.0 };
    if pool.is_plain(pick) { scaled } else { scaled / pool.weight(drawn, pick) }
}

fn power(active: f64, bias: f64) -> f64 {
    if (bias - 1.0).abs() < f64::EPSILON { active } else { active.powf(bias) }
}
