//! Global limits, counted by Redis: all of a request's in one call of one script, all or none.
//!
//! # Who owns what
//! The script and the numbers are `fyke-limiter`'s (`redis`). Here is who asks ([`Store`]), what a stream owes afterwards ([`Debts`]), and what needs not be asked because the
//! answer is known ([`Refused`]).
//!
//! # Invariants
//! A request costs one round trip, or none where a limit is known to refuse it. Whoever has taken a place among those at the same time gives it back, also when nobody knows whether
//! the server has heard of it: the client left, or the time was up. What is given back is sent without waiting, with the script's text where the server may have forgotten it; what does
//! not arrive is forgotten after the limit's `lease`.

mod debts;
mod refused;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use fyke_limiter::redis::{Order, Question, SCRIPT};
use fyke_limiter::{Charge, Meter, Operation, Outcome, Reading};
use fyke_sdk::abi::{self, Level};
use fyke_sdk::redis::{Script, Value};
use fyke_sdk::{ConfigError, Env, Error, Redis, RedisError, Result, log, random};

use crate::config::{self, Config, FailureMode};
use crate::cost::Known;
use crate::rule::Asked;
use crate::service::check_peers;

pub use debts::Debts;
use refused::Refused;

/// How long a request waits, where nothing says so.
const TIMEOUT: Duration = Duration::from_millis(20);

/// What names begin with, where nothing says so.
const PREFIX: &str = "fyke:limit:";

/// How long after it was heard of a server is taken to know the script, in nanoseconds. One that was restarted, or has replaced another, knows none.
const KNOWN: u64 = 1_000_000_000;

/// Whom to ask.
#[derive(Debug)]
pub struct Store {
    redis: Redis,
    script: Script,
    pub failure_mode: FailureMode,
    refused: RefCell<Refused>,
    /// Until when the server is taken to know the script, on the monotonic clock; zero: nobody knows, until it has answered.
    known_until: Cell<u64>,
}

/// A place that was asked for, until it is known whether it was taken. Dropped before that, because the client has left, it gives the place back.
struct Asking<'a> {
    store: &'a Store,
    places: Vec<(&'a [u8], &'a [Meter], u64)>,
}

impl Store {
    /// Makes it ready.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn new(config: &Config, env: &mut Env) -> Result<Option<Rc<Self>>, ConfigError> {
        let Some(written) = &config.redis else { return Ok(None) };
        let failure_mode = written.failure_mode.unwrap_or(config.failure_mode);
        if written.password.is_empty() && !written.user.is_empty() {
            return Err(ConfigError::at("redis.password", "is missing: there is a user"));
        }
        check_peers("redis.peers", written.peers, failure_mode)?;
        let redis = env.redis(&written.cluster).map_err(|error| error.under("redis.cluster"))?;
        let timeout = written.timeout.map_or(TIMEOUT, |span| Duration::from_nanos(span.nanoseconds()));
        Ok(Some(Rc::new(Self {
            redis: redis.login(&written.user, &written.password).database(written.database).timeout(timeout),
            script: Script::new(SCRIPT),
            failure_mode,
            refused: RefCell::default(),
            known_until: Cell::default(),
        })))
    }

    /// What names begin with.
    #[must_use]
    pub fn prefix(written: &config::Redis) -> &str {
        written.prefix.as_deref().unwrap_or(PREFIX)
    }

    /// The servers.
    #[must_use]
    pub fn cluster(&self) -> &str {
        self.redis.cluster()
    }

    /// What the meters of a rule read, where they are known to refuse it, as long as they do.
    #[must_use]
    pub fn known(&self, (applied, _): Asked<'_>) -> Option<Vec<Reading>> {
        self.refused.try_borrow().ok()?.find(&applied.name, applied.cost.now(), abi::monotonic())
    }

    /// Takes what all rules ask for: all that has a say, or none; and of shadows what fits. The readings are those of the rules' shared meters, in their order.
    ///
    /// # Errors
    /// When Redis cannot be asked, or answers what cannot be read.
    pub async fn take(self: &Rc<Self>, asked: &[Asked<'_>], debts: &mut Debts) -> Result<Outcome> {
        let begun = abi::monotonic();
        let leases: Vec<u64> = asked.iter().map(|(_, rule)| lease_of(&rule.shared)).collect();
        let orders: Vec<Order<'_>> = asked.iter().zip(&leases).map(|(asked, lease)| order(*asked, *lease)).collect();
        let question = Question::new(&orders)?;
        let mut asking = Asking { store: self, places: Vec::new() };
        for order in orders.iter().filter(|order| order.charge.lease != 0) {
            asking.places.push((order.charge.key, order.charge.meters, order.charge.lease));
        }
        let said = self.redis.eval(&self.script, question.keys(), question.arguments()).await;
        self.known_until.set(if said.is_ok() { abi::monotonic().saturating_add(KNOWN) } else { 0 });
        if said.as_ref().is_err_and(|error| !has_perhaps_taken(error)) {
            asking.places.clear();
        }
        let outcome = question.read(&numbers(&said.map_err(failure)?)?)?;
        asking.places.clear();
        drop(asking);
        let each = outcome.each(asked.iter().map(|(_, rule)| rule.shared.len()));
        for (((applied, rule), lease), own) in asked.iter().zip(&leases).zip(each) {
            if own.admitted {
                if outcome.admitted {
                    debts.add(self, applied, &rule.shared, *lease);
                }
            } else if let Ok(mut refused) = self.refused.try_borrow_mut() {
                refused.add(&applied.name, applied.cost.now(), &rule.shared, own.readings, begun);
            }
        }
        Ok(outcome)
    }

    /// Sends what nobody waits for.
    fn send(&self, orders: &[Order<'_>]) {
        let sent = match Question::new(orders) {
            Ok(question) if question.is_empty() => return,
            Ok(question) => self.tell(&question).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = sent {
            log::write(
                Level::Warn,
                &format!("what a stream gives back, or has cost, cannot be told to redis: {error}"),
            );
        }
    }

    /// Nobody hears that the server does not know the script: where it is not sure, the text goes along, from which it learns it.
    fn tell(&self, question: &Question) -> Result<(), RedisError> {
        let (now, pipeline) = (abi::monotonic(), self.redis.pipeline());
        if now < self.known_until.get() {
            return pipeline.script(&self.script, question.keys(), question.arguments()).send();
        }
        pipeline.script_text(&self.script, question.keys(), question.arguments()).send()?;
        if self.known_until.get() > 0 {
            self.known_until.set(now.saturating_add(KNOWN));
        }
        Ok(())
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut orders = Vec::with_capacity(self.places.len());
        for (key, meters, lease) in &self.places {
            let charge = Charge { key, meters, cost: 1, lease: *lease };
            orders.push(Order { charge, operation: Operation::Release, advisory: false });
        }
        // On one connection behind the call that may have taken them.
        self.store.send(&orders);
    }
}

/// Whether there may be something to give back. A script that fails has done what it did until then.
fn has_perhaps_taken(error: &RedisError) -> bool {
    error.may_be_executed() || matches!(error, RedisError::Server(_))
}

/// What is asked of a rule. Of what is charged at the end there must be something left now, and nothing is taken.
fn order<'a>((applied, rule): Asked<'a>, lease: u64) -> Order<'a> {
    Order {
        charge: Charge { key: &applied.name, meters: &rule.shared, cost: applied.cost.now(), lease },
        operation: if applied.cost == Known::Later { Operation::Peek } else { Operation::Take },
        advisory: !applied.enforced,
    }
}

/// A name for a place among those at the same time, that nobody else has; zero where there is no such limit.
fn lease_of(meters: &[Meter]) -> u64 {
    if !meters.iter().any(|meter| matches!(meter, Meter::Leases(_))) {
        return 0;
    }
    let mut bytes = [0; 8];
    random::fill(&mut bytes);
    u64::from_le_bytes(bytes).max(1)
}

/// What a person can do about it is worth saying.
fn failure(error: RedisError) -> Error {
    match &error {
        RedisError::Server(said) if said.code() == "CROSSSLOT" => {
            Error::new(format!("{error}: give `redis.prefix` a hash tag, such as `{{limits}}:`"))
        }
        _ => error.into(),
    }
}

fn numbers(value: &Value) -> Result<Vec<i64>> {
    let numbers = value.as_array().map(|values| values.iter().map(Value::as_integer).collect::<Option<Vec<i64>>>());
    numbers.flatten().ok_or_else(|| Error::new("what redis answered is no list of numbers"))
}
