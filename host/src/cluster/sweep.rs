//! How long connections stay: what is worn, old, or has been idle for too long is closed.

use std::time::Duration;

use super::{
    choice::Priority,
    local::{LocalCluster, Open},
};

/// When connections are closed.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// Number of this sweep.
    pub now: u64,
    /// Sweeps that an idle connection lives through.
    pub sweeps: u64,
    /// The same as time.
    pub limit: Duration,
    /// Nobody will want a connection again: nothing is kept.
    pub everything: bool,
    /// Somebody waits for a permit of the default priority.
    pub starving: bool,
    /// Somebody waits for one of high priority.
    pub starving_high: bool,
}

impl Sweep {
    /// Whether nothing is kept that has a permit of this priority: somebody waits for one, or nobody will want a connection again.
    pub(super) fn gives_up(&self, priority: Priority) -> bool {
        self.everything
            || match priority {
                Priority::Default => self.starving,
                Priority::High => self.starving_high,
            }
    }
}

impl LocalCluster {
    /// Whether a connection has served as many requests, or for as long, as one may, or nobody will want it again.
    pub(super) fn is_spent(&self, served: u64, open: &Open) -> bool {
        let most = self.shared.settings.pool.requests_per_connection;
        (most > 0 && served >= most) || self.retired.get() || open.until <= self.sweeps.get()
    }

    /// How often to sweep.
    #[must_use]
    pub fn sweep_period(&self) -> Duration {
        let pool = &self.shared.settings.pool;
        let shortest = pool.max_age.map_or(pool.idle_timeout, |age| age.min(pool.idle_timeout));
        (shortest / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// The sweep that finds a connection too old which is opened now. Connections that are opened together do not end together.
    pub(super) fn lifetime(&self) -> u64 {
        let Some(age) = self.shared.settings.pool.max_age else { return u64::MAX };
        let age = age.mul_f64(1.0 - 0.2 * fastrand::f64());
        self.sweeps.get().saturating_add(self.sweeps_in(age).max(1))
    }

    fn sweeps_in(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() / self.sweep_period().as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    /// Closes connections that have been idle for too long. Called once every [`LocalCluster::sweep_period`].
    pub fn sweep(&self) {
        let limit: Duration = self.shared.settings.pool.idle_timeout;
        let now = self.sweeps.get() + 1;
        self.sweeps.set(now);
        let sweeps = self.sweeps_in(limit);
        let [starving, starving_high] =
            [Priority::Default, Priority::High].map(|priority| self.shared.is_starving(priority));
        let sweep = Sweep { now, sweeps, limit, everything: self.retired.get(), starving, starving_high };
        let (view, idle) = (self.view(), &self.metrics.idle);
        for endpoint in view.in_use() {
            endpoint.sweep(sweep, &self.shared.settings.pool, idle);
        }
        // Handshakes are dear: what is lent is given up at once only by those who have more than their part. The others give up what has been
        // idle for the longest time, one each time: it is worth less than whoever waits, on whichever worker.
        let sweep = Sweep { everything: self.retired.get() || self.has_too_many(), ..sweep };
        self.lending.sweep(sweep, idle);
        if starving {
            self.lending.close_one_idle(idle);
        }
    }

    /// Only streams that have begun still use it: keeps no connection any more.
    pub fn retire(&self) {
        self.retired.set(true);
        self.close_idle();
    }

    /// Closes every idle connection: the worker is going away.
    pub fn close_idle(&self) {
        for endpoint in self.view.borrow().in_use() {
            endpoint.close_idle(&self.metrics.idle);
        }
        self.lending.close_idle(&self.metrics.idle);
    }
}
