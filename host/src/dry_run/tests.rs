//! Runs `tests:`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    judge::{Failure, judge, shares},
    run::{DryRun, Sent},
};
use crate::config::{
    Report,
    resolved::{Expected, Seen, Test},
};

/// How a test went.
#[derive(Debug)]
pub struct Verdict {
    /// What was not as expected; empty: nothing.
    pub failures: Vec<Failure>,
    /// What became of the request that failed, or of the last one.
    pub sent: Sent,
    /// Its number, from 1.
    pub number: u32,
    /// How long it all took.
    pub took: Duration,
}

impl Verdict {
    /// Whether everything was as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Runs a test in a proxy of its own. The first request that is not as expected ends it. Blocks; must not be called by a task.
///
/// # Errors
/// When there is no proxy to be had.
pub fn test(dry_run: &DryRun, test: &Test) -> Result<Verdict, Report> {
    let began = Instant::now();
    dry_run.stand_ins.tell(&test.upstreams);
    let mut run = dry_run.begin(false)?;
    let mut by_cluster = BTreeMap::new();
    let mut number = 1;
    // How many requests a cluster gets is known when all are sent.
    let (of_all, of_each): (Vec<_>, Vec<_>) = test.expectations.iter().cloned().partition(|expectation| {
        matches!(expectation.what, Expected::Shares(..) | Expected::Upstream(_, Seen::Requests(_)))
    });
    loop {
        let sent = run.send(&test.request, test.timeout);
        if let Some(cluster) = sent.report.as_ref().and_then(|report| report.outcome.cluster.clone()) {
            *by_cluster.entry(cluster).or_insert(0_u32) += 1;
        }
        let mut failures = judge(&of_each, &sent, &dry_run.stand_ins);
        if number == test.count {
            failures.extend(judge(&of_all, &sent, &dry_run.stand_ins));
            failures.extend(shares(&of_all, &by_cluster, test.count));
        }
        if !failures.is_empty() || number == test.count {
            return Ok(Verdict { failures, sent, number, took: began.elapsed() });
        }
        number += 1;
    }
}
