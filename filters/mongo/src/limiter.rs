//! How often something may be done: what this filter needs of whoever counts.

use fyke_sdk::{ConfigError, Env};

use crate::config::{By, Limit};
use crate::message::request::Request;
use crate::rules::Pattern;

/// Counts. All workers count together; that is why it is not done here.
pub trait Limiter {
    /// Whether one more is within the limit of this number, for this key.
    fn admits(&self, limit: usize, key: &[u8]) -> bool;
}

/// Limits in order.
pub struct Limits {
    limits: Vec<One>,
    limiter: Option<Box<dyn Limiter>>,
    key: std::cell::RefCell<Vec<u8>>,
}

struct One {
    name: String,
    pattern: Pattern,
    by: Vec<By>,
}

impl Limits {
    /// Of the configuration.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn new(limits: &[Limit], env: &mut Env) -> Result<Self, ConfigError> {
        let mut all = Vec::with_capacity(limits.len());
        for (at, limit) in limits.iter().enumerate() {
            let place = format!("limits[{at}]");
            if limit.name.is_empty() {
                return Err(ConfigError::at(format!("{place}.name"), "must not be empty"));
            }
            let pattern = Pattern::new(&limit.matches).map_err(|error| error.under(format!("{place}.match")))?;
            all.push(One { name: limit.name.clone(), pattern, by: limit.by.clone() });
        }
        let limiter = if limits.is_empty() { None } else { Some(open(limits, env)?) };
        Ok(Self { limits: all, limiter, key: std::cell::RefCell::default() })
    }

    /// The name of the first limit that is reached.
    #[must_use]
    pub fn reached(&self, request: &Request, application: &str) -> Option<&str> {
        let limiter = self.limiter.as_ref()?;
        let mut key = self.key.try_borrow_mut().ok()?;
        let command = request.command();
        let place = (request.database.bytes(), request.collection.bytes());
        let reached = |(at, limit): &(usize, &One)| {
            if !limit.pattern.fits(command, place, application) {
                return false;
            }
            key.clear();
            for by in &limit.by {
                let value = match by {
                    By::Database => request.database.bytes(),
                    By::Collection => request.collection.bytes(),
                    By::Command => command.name.as_bytes(),
                    By::Callsite => request.callsite.bytes(),
                    By::Application => application.as_bytes(),
                };
                // Its length goes before each, so that no two combinations are the same.
                key.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
                key.extend_from_slice(value);
            }
            !limiter.admits(*at, &key)
        };
        self.limits.iter().enumerate().find(reached).map(|(_, limit)| limit.name.as_str())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }
}

/// Whoever counts for this configuration.
fn open(_limits: &[Limit], _env: &mut Env) -> Result<Box<dyn Limiter>, ConfigError> {
    Err(ConfigError::at("limits", "this build has no limiter"))
}
