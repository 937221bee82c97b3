//! A simulated day of a cluster: what load balancing, health checks, outlier ejection, retries and hedging are worth, alone and together.
//!
//! 50 endpoints, each with two workers and a queue, get an open-loop Poisson load whose rate follows the hours. All of
//! it is simulated time, from fixed seeds, so that every row of the table meets the same requests; an hour lasts 25
//! seconds, which changes nothing but the number of requests.
//! ```text
//! endpoints 0 to 4     five times as slow as the others, from 6 to 18 o'clock
//! endpoints 5 and 6    answer everything with 503 at once, from 9 to 15 o'clock
//! endpoint 7           good and bad in turn, ten seconds each, all day
//! ```
//! A request fails when it is answered with 503 or no attempt is within two seconds. Balancers, detector, checks, retry policy and budget are
//! those that clusters use.
//!
//! | file | owns |
//! |---|---|
//! | `mod.rs` | the table |
//! | `world.rs` | requests, endpoints, and what happens to them |
//! | `watch.rs` | who is well: checks and outlier detection |
//! | `retries.rs` | who is asked again |
//!
//! The table: `cargo test -p fyke --lib a_bad_day -- --nocapture`

mod retries;
mod watch;
mod world;

use std::time::Duration;

use self::{
    retries::{Budget, Never, Retry},
    watch::{Checks, Outliers, Watch},
    world::Day,
};
use super::balance::{LeastRequest, PeakEwma, Policy};

/// Microseconds since midnight.
type Time = u64;

const SECOND: Time = 1_000_000;
const HOUR: Time = 25 * SECOND;
const DAY: Time = 24 * HOUR;
const ENDPOINTS: usize = 50;
const WORKERS: usize = 2;
/// Mean of the exponentially distributed time that a worker takes.
const SERVICE: f64 = 0.1;
const TIMEOUT: Time = 2 * SECOND;
/// After this time another attempt goes out beside the first, where there is hedging.
const HEDGE: Time = SECOND * 6 / 10;
const DECAY: Duration = Duration::from_secs(10);

/// What is switched on.
#[derive(Debug, Clone, Copy, Default)]
struct Features {
    outliers: bool,
    checks: bool,
    retries: bool,
    hedging: bool,
}

impl Features {
    fn words(self) -> String {
        let all = [
            ("outliers", self.outliers),
            ("checks", self.checks),
            ("retries", self.retries),
            ("hedging", self.hedging),
        ];
        let on: Vec<&str> = all.into_iter().filter(|(_, on)| *on).map(|(word, _)| word).collect();
        if on.is_empty() { "nothing".to_owned() } else { on.join(", ") }
    }

    fn run(self, name: &str, policy: Policy) -> Report {
        let watch =
            Watch { outliers: self.outliers.then(Outliers::default), checks: self.checks.then(Checks::default) };
        let retry: Box<dyn Retry> = if self.retries { Box::new(Budget::default()) } else { Box::new(Never) };
        let report = Day::new(policy, watch, retry, self.hedging.then_some(HEDGE)).run();
        println!(
            "{name:<14} {:<36} {:>9} {:>7.2}% {:>6} ms {:>6} ms",
            self.words(),
            report.requests,
            report.error_percent(),
            report.percentile(50) / 1000,
            report.percentile(99) / 1000,
        );
        report
    }
}

#[test]
fn a_bad_day_is_better_with_outlier_detection_and_retries() {
    println!("{:<14} {:<36} {:>9} {:>8} {:>9} {:>9}", "policy", "on", "requests", "errors", "p50", "p99");
    let policies = [
        ("random", Policy::Random),
        ("round robin", Policy::RoundRobin),
        ("least request", Policy::LeastRequest(LeastRequest::default())),
        ("peak EWMA", Policy::PeakEwma(PeakEwma { decay: DECAY, ..PeakEwma::default() })),
    ];
    let off = Features::default();
    let (outliers, retries) = (Features { outliers: true, ..off }, Features { retries: true, ..off });
    let both = Features { outliers: true, retries: true, ..off };
    for (name, policy) in policies {
        let errors = [off, outliers, retries, both].map(|features| features.run(name, policy).error_percent());
        let [neither, outliers, retries, both] = errors;
        assert!(outliers < neither && retries < neither && both < outliers.min(retries), "{name}: {errors:?}");
        assert!(both < neither / 3.0, "{name}: {errors:?}");
        if name != "random" {
            continue;
        }
        // The rest is seen best where the balancer helps least. A hedge is a retry that does not wait for the first to fail.
        let checks = Features { checks: true, ..off };
        let hedging = Features { retries: true, hedging: true, ..off };
        let all = Features { outliers: true, checks: true, retries: true, hedging: true };
        let more = [checks, hedging, all].map(|features| features.run(name, policy).error_percent());
        let [checks, hedging, all] = more;
        assert!(checks < neither && hedging < retries && all < both && all < hedging, "{errors:?} {more:?}");
    }
}

#[derive(Default)]
struct Report {
    requests: u64,
    errors: u64,
    latencies: Vec<Time>,
}

impl Report {
    fn error_percent(&self) -> f64 {
        let part = |count: u64| u32::try_from(count).map_or(0.0, f64::from);
        100.0 * part(self.errors) / part(self.requests.max(1))
    }

    /// Of the successful requests, in microseconds.
    fn percentile(&self, percent: usize) -> Time {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() * percent / 100).copied().unwrap_or(0)
    }
}

/// Time to the next of exponentially distributed events, `mean` seconds apart.
pub(super) fn wait(mean: f64, random: &mut fastrand::Rng) -> Time {
    let seconds = -mean * (1.0 - random.f64()).ln();
    u64::try_from(Duration::from_secs_f64(seconds).as_micros()).unwrap_or(0)
}
