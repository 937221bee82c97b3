//! How often something may be done: limits that all workers count together (crate `fyke-limiter`).
//!
//! Of the limits that an operation counts for, all must have room, and where one has none nothing is charged. Shadows are charged by themselves, and
//! only by what they would let pass. What is the same for one limit is counted in one place, whichever worker and connection it comes by.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use fyke_limiter::{Charge, Decision, KeyBuilder, Meter, Operation, Outcome, SdkStore, Store, includes};
use fyke_sdk::abi::Level;
use fyke_sdk::{ConfigError, Counter, Env, log};

use crate::config::{By, FailureMode, Limit};
use crate::message::request::Request;
use crate::names;
use crate::rules::{Pattern, Place, Who};

/// Limits of one configuration.
const MOST: usize = 100;

/// Commands that give back what others have taken: to refuse them helps nobody, so only limits that name them are about them.
const ENDINGS: [&str; 3] = ["abortTransaction", "commitTransaction", "killCursors"];

/// Limits in order.
#[derive(Debug)]
pub struct Limits {
    limits: Vec<One>,
    counting: Option<Counting>,
}

/// Where it is counted.
#[derive(Debug)]
struct Counting {
    store: Rc<SdkStore>,
    keys: RefCell<KeyBuilder>,
    prefix: String,
    total: Counter<3>,
}

#[derive(Debug)]
struct One {
    name: Rc<str>,
    pattern: Pattern,
    /// Whether commands are named.
    is_exact: bool,
    by: Vec<By>,
    meters: Rc<[Meter]>,
    shadow: bool,
    rollout: f64,
    failure_mode: FailureMode,
}

/// Who asks, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    pub request: &'a Request,
    pub application: &'a [u8],
    pub user: &'a str,
    /// Without its port.
    pub address: &'a str,
}

/// It is within all limits.
#[derive(Debug, Default)]
pub struct Passage {
    /// Places among those at the same time, to be kept until it is over.
    pub held: Vec<Held>,
    /// The limit that would have refused it, if it were no shadow.
    pub shadow: Option<Rc<str>>,
}

/// It is beyond one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over<'a> {
    /// Its name.
    pub limit: &'a str,
    /// Until it is worth trying again, in nanoseconds; zero: nobody knows.
    pub retry_after: u64,
}

/// A place among those at the same time; given back when it is dropped.
pub struct Held {
    store: Rc<SdkStore>,
    key: Vec<u8>,
    meters: Rc<[Meter]>,
    lease: u64,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let charge = Charge { key: &self.key, meters: &self.meters, cost: 1, lease: self.lease };
        // What cannot be given back is forgotten in time.
        let _ = self.store.apply(Operation::Release, &[charge], &mut Outcome::default());
    }
}

/// A limit that an operation counts for.
#[derive(Debug)]
struct Applied<'l> {
    limit: &'l One,
    key: Vec<u8>,
}

impl Applied<'_> {
    fn charge(&self) -> Charge<'_> {
        Charge { key: &self.key, meters: &self.limit.meters, cost: 1, lease: 0 }
    }
}

impl Limits {
    /// Of the configuration.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn new(limits: &[Limit], prefix: &str, env: &mut Env) -> Result<Self, ConfigError> {
        if limits.len() > MOST {
            return Err(ConfigError::at("limits", format!("there are {}, of at most {MOST}", limits.len())));
        }
        let mut all: Vec<One> = Vec::with_capacity(limits.len());
        for (at, limit) in limits.iter().enumerate() {
            let one = One::new(limit).map_err(|error| error.under(format!("limits[{at}]")))?;
            if all.iter().any(|known| known.name == one.name) {
                let message = format!("\"{}\" is the name of another limit", one.name);
                return Err(ConfigError::at(format!("limits[{at}].name"), message));
            }
            all.push(one);
        }
        if all.is_empty() {
            return Ok(Self { limits: all, counting: None });
        }
        let store = SdkStore::open(env).map_err(|error| error.under("limits"))?;
        let seed = store.seed().map_err(|error| error.under("limits"))?;
        let counting = Counting {
            keys: RefCell::new(KeyBuilder::new(seed)),
            store: Rc::new(store),
            prefix: prefix.to_owned(),
            total: env.counter(names::LIMITS, ["mongo_prefix", "limit", "outcome"])?,
        };
        Ok(Self { limits: all, counting: Some(counting) })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    /// Whether one of them is more than a shadow.
    #[must_use]
    pub fn is_enforcing(&self) -> bool {
        self.limits.iter().any(|limit| !limit.shadow)
    }

    /// Counts an operation.
    ///
    /// # Errors
    /// It is beyond a limit, and is not counted.
    pub fn take(&self, asker: &Asker<'_>) -> Result<Passage, Over<'_>> {
        let mut passage = Passage::default();
        let Some(counting) = &self.counting else { return Ok(passage) };
        let applied = self.limits.iter().filter_map(|limit| {
            let key = counting.key(limit, asker, limit.place(asker)?)?;
            let is_enforced = !limit.shadow && includes(limit.name.as_bytes(), &key, limit.rollout);
            Some((is_enforced, Applied { limit, key }))
        });
        let (enforced, shadows): (Vec<_>, Vec<_>) = applied.partition(|(is_enforced, _)| *is_enforced);
        let enforced: Vec<Applied<'_>> = enforced.into_iter().map(|(_, applied)| applied).collect();
        if !enforced.is_empty() {
            counting.enforce(&enforced, &mut passage)?;
        }
        for (_, shadow) in &shadows {
            counting.look(shadow, &mut passage);
        }
        Ok(passage)
    }
}

impl One {
    fn new(limit: &Limit) -> Result<Self, ConfigError> {
        let name = &limit.name;
        let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_legal) {
            return Err(ConfigError::at("name", "must be 1 to 64 letters, digits, \"_\", \"-\" and \".\""));
        }
        if limit.limit.delay.is_some() {
            return Err(ConfigError::at(
                "limit.delay",
                "operations that are beyond a limit are answered, and do not wait",
            ));
        }
        let meters =
            limit.limit.meters(0).map_err(|error| ConfigError::at(error.field, error.message).under("limit"))?;
        Ok(Self {
            name: name.as_str().into(),
            pattern: Pattern::new(&limit.matches).map_err(|error| error.under("match"))?,
            is_exact: !limit.matches.commands.is_empty(),
            by: limit.by.clone(),
            meters: meters.into(),
            shadow: limit.shadow,
            rollout: limit.rollout.map_or(1.0, fyke_sdk::units::Percent::fraction),
            failure_mode: limit.failure_mode,
        })
    }

    /// The namespace for which it is about an operation; the first of several.
    fn place<'a>(&self, asker: &Asker<'a>) -> Option<Place<'a>> {
        let request = asker.request;
        let command = request.command();
        if !self.is_exact && ENDINGS.contains(&command.name) {
            return None;
        }
        let who = Who { application: asker.application, callsite: request.callsite.bytes(), user: asker.user };
        request.places().find(|place| self.pattern.fits(command, *place, who))
    }
}

impl Counting {
    fn key(&self, limit: &One, asker: &Asker<'_>, (database, collection): Place<'_>) -> Option<Vec<u8>> {
        let mut keys = self.keys.try_borrow_mut().ok()?;
        keys.clear();
        for part in ["mongo", &self.prefix, &limit.name] {
            keys.push(part.as_bytes());
        }
        for by in &limit.by {
            keys.push(match by {
                By::Database => database,
                By::Collection => collection,
                By::Command => asker.request.command().name.as_bytes(),
                By::Callsite => asker.request.callsite.bytes(),
                By::Application => asker.application,
                By::User => asker.user.as_bytes(),
                By::Address => asker.address.as_bytes(),
            });
        }
        Some(keys.key().to_vec())
    }

    /// All or nothing.
    fn enforce<'l>(&self, applied: &[Applied<'l>], passage: &mut Passage) -> Result<(), Over<'l>> {
        let charges: Vec<Charge<'_>> = applied.iter().map(Applied::charge).collect();
        let mut outcome = Outcome::default();
        if let Err(error) = self.store.apply(Operation::Take, &charges, &mut outcome) {
            applied.iter().for_each(|one| self.count(one.limit, "error"));
            log::write(Level::Warn, &format!("mongo: limits cannot be looked up: {error}"));
            let closed = applied.iter().find(|one| one.limit.failure_mode == FailureMode::Closed);
            return closed.map_or(Ok(()), |one| Err(Over { limit: &one.limit.name, retry_after: 0 }));
        }
        let mut readings = outcome.readings.iter();
        for one in applied {
            let mut lease = 0;
            let mut passes = true;
            for reading in readings.by_ref().take(one.limit.meters.len()) {
                lease = lease.max(reading.lease);
                passes &= reading.passes;
            }
            match (outcome.admitted, passes) {
                (true, _) => self.keep(one, lease, passage),
                (false, false) => self.count(one.limit, "over"),
                // It was not charged.
                (false, true) => {}
            }
        }
        if outcome.admitted {
            return Ok(());
        }
        let decision = Decision::of(&charges, &outcome);
        let refuses = decision.governing.and_then(|governing| applied.get(governing.charge)).or(applied.first());
        let limit = refuses.map_or("", |one| &*one.limit.name);
        // When others will be done nobody knows.
        let is_known = decision.governing.is_none_or(|governing| !matches!(governing.meter, Meter::Leases(_)));
        Err(Over { limit, retry_after: if is_known { decision.retry_after } else { 0 } })
    }

    fn look(&self, shadow: &Applied<'_>, passage: &mut Passage) {
        let mut outcome = Outcome::default();
        match self.store.apply(Operation::Take, &[shadow.charge()], &mut outcome) {
            Err(_) => self.count(shadow.limit, "error"),
            Ok(()) if outcome.admitted => {
                let lease = outcome.readings.iter().map(|reading| reading.lease).max().unwrap_or(0);
                self.keep(shadow, lease, passage);
            }
            Ok(()) => {
                self.count(shadow.limit, "shadow");
                passage.shadow.get_or_insert_with(|| Rc::clone(&shadow.limit.name));
            }
        }
    }

    fn keep(&self, applied: &Applied<'_>, lease: u64, passage: &mut Passage) {
        self.count(applied.limit, "ok");
        if lease > 0 {
            let (key, meters) = (applied.key.clone(), Rc::clone(&applied.limit.meters));
            passage.held.push(Held { store: Rc::clone(&self.store), key, meters, lease });
        }
    }

    fn count(&self, limit: &One, outcome: &str) {
        self.total.increment([&*self.prefix, &*limit.name, outcome]);
    }
}
