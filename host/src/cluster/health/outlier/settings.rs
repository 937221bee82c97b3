//! What an operator may set, in Envoy's words (`envoy.config.cluster.v3.OutlierDetection`) and with its defaults.
//!
//! Plain data. [`Settings::check`] refuses what Envoy refuses; a detector given unchecked settings misbehaves only in
//! the way that they say.

use std::time::Duration;

use super::Reason;

/// Settings of a cluster's outlier detection. Each field is Envoy's field of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// 5xx answers in a row that eject. 0 never does. Default 5.
    pub consecutive_5xx: u32,
    /// 502, 503 and 504 answers in a row that eject. 0 never does. Default 5, not enforced by default.
    pub consecutive_gateway_failure: u32,
    /// Local origin failures in a row that eject, with `split_external_local_origin_errors` only. 0 never does.
    /// Default 5.
    pub consecutive_local_origin_failure: u32,
    /// Whether failures to connect, timeouts and resets are counted apart from what the host answers. Otherwise they
    /// count as 503 and 504 answers. Default false.
    pub split_external_local_origin_errors: bool,
    /// Time between sweeps; also the time after which a host that was not ejected again has its ejection time shrunk
    /// by a step. Default 10 s.
    pub interval: Duration,
    /// How long the first ejection lasts; the n-th in close succession lasts n times as long. Default 30 s.
    pub base_ejection_time: Duration,
    /// The longest that an ejection lasts, before jitter. Default 300 s, or `base_ejection_time` if that is longer: see
    /// [`Settings::default_max_ejection_time`].
    pub max_ejection_time: Duration,
    /// Up to this much is added to each ejection, at random, so that hosts do not all come back at once. Default 0.
    pub max_ejection_time_jitter: Duration,
    /// The largest share of the cluster's hosts that is ejected at a time, 0 to 100. Default 10.
    pub max_ejection_percent: u32,
    /// Whether one host may be ejected though that is more than `max_ejection_percent`. Default false, as in Envoy
    /// since 1.29: with the defaults a cluster of fewer than ten hosts ejects none of them.
    pub always_eject_one_host: bool,
    /// Detection by success rate.
    pub success_rate: SuccessRate,
    /// Detection by failure percentage.
    pub failure_percentage: FailurePercentage,
    /// How often a detection becomes an ejection, per reason.
    pub enforcing: Enforcing,
    /// Whether a passed active health check ends an ejection. Default true.
    pub successful_active_health_check_uneject_host: bool,
}

/// Detection of hosts whose success rate is far below the cluster's (`success_rate_*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuccessRate {
    /// How many hosts must have enough requests for any to be judged. Default 5.
    pub minimum_hosts: u32,
    /// Requests in an interval that a host needs to be counted. Default 100.
    pub request_volume: u32,
    /// Thousandths of the standard deviation that a host may lie below the mean. Default 1900.
    pub stdev_factor: u32,
}

/// Detection of hosts of whose requests too large a share fails (`failure_percentage_*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailurePercentage {
    /// Percentage of failed requests from which on a host is an outlier, 0 to 100. Default 85.
    pub threshold: u32,
    /// How many hosts must have enough requests for any to be judged. Default 5.
    pub minimum_hosts: u32,
    /// Requests in an interval that a host needs to be judged. Default 50.
    pub request_volume: u32,
}

/// The chance in percent that a detection is enforced, per [`Reason`] (`enforcing_*`). 0 only counts, 100 always
/// ejects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enforcing {
    /// Default 100.
    pub consecutive_5xx: u32,
    /// Default 0.
    pub consecutive_gateway_failure: u32,
    /// Default 100.
    pub consecutive_local_origin_failure: u32,
    /// Default 100.
    pub success_rate: u32,
    /// Default 100.
    pub local_origin_success_rate: u32,
    /// Default 0.
    pub failure_percentage: u32,
    /// Default 0 (`enforcing_failure_percentage_local_origin`).
    pub local_origin_failure_percentage: u32,
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A percentage is above 100.
    #[error("{field} is {value}%, which is more than 100%")]
    Percentage {
        /// The field, in Envoy's words.
        field: &'static str,
        /// What it says.
        value: u32,
    },
    /// A duration must be longer than nothing.
    #[error("{field} must be longer than 0s")]
    Zero {
        /// The field, in Envoy's words.
        field: &'static str,
    },
    /// The longest ejection is shorter than the first.
    #[error("max_ejection_time ({max:?}) is shorter than base_ejection_time ({base:?})")]
    Shorter {
        /// `max_ejection_time`.
        max: Duration,
        /// `base_ejection_time`.
        base: Duration,
    },
}

impl Settings {
    /// What `max_ejection_time` is when it is not set: 300 s, or `base` if that is longer.
    #[must_use]
    pub fn default_max_ejection_time(base: Duration) -> Duration {
        Duration::from_mins(5).max(base)
    }

    /// Refuses what cannot have been meant.
    ///
    /// # Errors
    /// A percentage above 100, an interval or ejection time of nothing, `max_ejection_time` below `base_ejection_time`.
    pub fn check(&self) -> Result<(), SettingsError> {
        let percentages = [
            ("max_ejection_percent", self.max_ejection_percent),
            ("failure_percentage_threshold", self.failure_percentage.threshold),
        ];
        let enforcing = Reason::ALL.map(|reason| (reason.enforcing_field(), self.enforcing.of(reason)));
        for (field, value) in percentages.into_iter().chain(enforcing) {
            if value > 100 {
                return Err(SettingsError::Percentage { field, value });
            }
        }
        for (field, value) in [("interval", self.interval), ("base_ejection_time", self.base_ejection_time)] {
            if value.is_zero() {
                return Err(SettingsError::Zero { field });
            }
        }
        let (max, base) = (self.max_ejection_time, self.base_ejection_time);
        if max < base { Err(SettingsError::Shorter { max, base }) } else { Ok(()) }
    }
}

impl Enforcing {
    /// The chance for `reason`, in percent.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u32 {
        match reason {
            Reason::Consecutive5xx => self.consecutive_5xx,
            Reason::ConsecutiveGatewayFailure => self.consecutive_gateway_failure,
            Reason::ConsecutiveLocalOriginFailure => self.consecutive_local_origin_failure,
            Reason::SuccessRate => self.success_rate,
            Reason::LocalOriginSuccessRate => self.local_origin_success_rate,
            Reason::FailurePercentage => self.failure_percentage,
            Reason::LocalOriginFailurePercentage => self.local_origin_failure_percentage,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let base = Duration::from_secs(30);
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_failure: 5,
            consecutive_local_origin_failure: 5,
            split_external_local_origin_errors: false,
            interval: Duration::from_secs(10),
            base_ejection_time: base,
            max_ejection_time: Self::default_max_ejection_time(base),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one_host: false,
            success_rate: SuccessRate::default(),
            failure_percentage: FailurePercentage::default(),
            enforcing: Enforcing::default(),
            successful_active_health_check_uneject_host: true,
        }
    }
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { minimum_hosts: 5, request_volume: 100, stdev_factor: 1900 }
    }
}

impl Default for FailurePercentage {
    fn default() -> Self {
        Self { threshold: 85, minimum_hosts: 5, request_volume: 50 }
    }
}

impl Default for Enforcing {
    fn default() -> Self {
        Self {
            consecutive_5xx: 100,
            consecutive_gateway_failure: 0,
            consecutive_local_origin_failure: 100,
            success_rate: 100,
            local_origin_success_rate: 100,
            failure_percentage: 0,
            local_origin_failure_percentage: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_accepted() {
        assert_eq!(Settings::default().check(), Ok(()));
    }

    #[test]
    fn a_base_longer_than_the_default_maximum_becomes_the_maximum() {
        let base = Duration::from_mins(10);
        assert_eq!(Settings::default_max_ejection_time(base), base);
    }

    #[test]
    fn what_envoy_refuses_is_refused_in_words() {
        let refused = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        assert_eq!(
            refused(|settings| settings.max_ejection_percent = 101),
            "max_ejection_percent is 101%, which is more than 100%"
        );
        assert_eq!(
            refused(|settings| settings.enforcing.local_origin_failure_percentage = 200),
            "enforcing_failure_percentage_local_origin is 200%, which is more than 100%"
        );
        assert_eq!(refused(|settings| settings.interval = Duration::ZERO), "interval must be longer than 0s");
        assert_eq!(
            refused(|settings| settings.max_ejection_time = Duration::from_secs(1)),
            "max_ejection_time (1s) is shorter than base_ejection_time (30s)"
        );
    }
}
