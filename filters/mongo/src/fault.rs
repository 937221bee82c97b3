//! Faults on purpose: operations that wait, and operations that fail, so that one sees what becomes of clients when the database is slow or in trouble.

use std::time::Duration;

use fyke_sdk::ConfigError;

use crate::chance::Chance;
use crate::config::{Abort, Fault};
use crate::message::reply::LABELS;
use crate::message::request::Request;
use crate::rules::{Pattern, Who};

/// The longest delay: beyond it connections are idle for most proxies and drivers.
const LONGEST: Duration = Duration::from_secs(300);

/// Errors that drivers know by their numbers (`src/mongo/base/error_codes.yml` of the server).
const NAMES: [(i32, &str); 20] = [
    (6, "HostUnreachable"),
    (7, "HostNotFound"),
    (13, "Unauthorized"),
    (43, "CursorNotFound"),
    (50, "MaxTimeMSExpired"),
    (89, "NetworkTimeout"),
    (91, "ShutdownInProgress"),
    (112, "WriteConflict"),
    (134, "ReadConcernMajorityNotAvailableYet"),
    (189, "PrimarySteppedDown"),
    (251, "NoSuchTransaction"),
    (262, "ExceededTimeLimit"),
    (462, "IngressRequestRateLimitExceeded"),
    (10107, "NotWritablePrimary"),
    (11000, "DuplicateKey"),
    (11600, "InterruptedAtShutdown"),
    (11601, "Interrupted"),
    (11602, "InterruptedDueToReplStateChange"),
    (13435, "NotPrimaryNoSecondaryOk"),
    (13436, "NotPrimaryOrSecondary"),
];

/// What goes wrong on purpose.
#[derive(Debug)]
pub struct Faults {
    pattern: Pattern,
    delay: Option<(Duration, Chance)>,
    abort: Option<(Failure, Chance)>,
}

/// An error that is answered in the server's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: i32,
    pub name: String,
    pub message: String,
    pub labels: Vec<&'static str>,
}

impl Faults {
    /// Of the configuration.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn new(fault: &Fault) -> Result<Self, ConfigError> {
        if fault.delay.is_none() && fault.abort.is_none() {
            return Err(ConfigError::new("needs a `delay` or an `abort`"));
        }
        let delay = fault.delay.as_ref().map(|delay| {
            if delay.duration.is_zero() || delay.duration > LONGEST {
                return Err(ConfigError::at("delay.duration", "must be above zero and at most 5 minutes"));
            }
            Ok((delay.duration, Chance::new(delay.percentage)))
        });
        let abort = fault.abort.as_ref().map(|abort| {
            let failure = Failure::new(abort).map_err(|error| error.under("abort"))?;
            Ok::<_, ConfigError>((failure, Chance::new(abort.percentage)))
        });
        Ok(Self {
            pattern: Pattern::new(&fault.matches).map_err(|error| error.under("match"))?,
            delay: delay.transpose()?,
            abort: abort.transpose()?,
        })
    }

    /// Draws whether an operation waits before anything else happens to it, and for how long.
    pub fn delay(&self, request: &Request, application: &[u8], user: &str) -> Option<Duration> {
        let (time, chance) = self.delay.as_ref()?;
        (self.is_about(request, application, user) && chance.is_drawn()).then_some(*time)
    }

    /// Draws whether it fails.
    pub fn abort(&self, request: &Request, application: &[u8], user: &str) -> Option<&Failure> {
        let (failure, chance) = self.abort.as_ref()?;
        (self.is_about(request, application, user) && chance.is_drawn()).then_some(failure)
    }

    fn is_about(&self, request: &Request, application: &[u8], user: &str) -> bool {
        let who = Who { application, callsite: request.callsite.bytes(), user };
        request.places().any(|place| self.pattern.fits(request.command(), place, who))
    }
}

impl Failure {
    fn new(abort: &Abort) -> Result<Self, ConfigError> {
        if abort.code <= 0 {
            return Err(ConfigError::at("code", "must be above zero, as MongoDB's are"));
        }
        let known = NAMES.iter().find(|(code, _)| *code == abort.code).map(|(_, name)| (*name).to_owned());
        let mut labels = Vec::with_capacity(abort.labels.len());
        for (at, label) in abort.labels.iter().enumerate() {
            let known = LABELS.iter().find(|known| *known == label);
            labels.push(*known.ok_or_else(|| {
                let message = format!("\"{label}\" is no label that drivers know: {}", LABELS.join(", "));
                ConfigError::at(format!("labels[{at}]"), message)
            })?);
        }
        Ok(Self {
            code: abort.code,
            name: abort.code_name.clone().or(known).unwrap_or_default(),
            message: abort.message.clone().unwrap_or_else(|| "the proxy lets this operation fail (fault)".to_owned()),
            labels,
        })
    }
}
