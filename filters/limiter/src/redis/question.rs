//! What the script is asked, and what its reply comes to.

use std::fmt;

use crate::leases::Leases;
use crate::meter::{Meter, Reading, State};
use crate::store::{Charge, Operation, Outcome, StoreError};
use crate::window::Window;

/// Nanoseconds of a microsecond.
const MICRO: u64 = 1_000;

/// The largest whole number up to which doubles have all of them.
const LARGEST: u64 = (1 << 53) - 1;

/// A charge, and what is done with it.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// What is charged. Its key is a name, of [`Names`](super::Names). Its lease is the name of a lease: of [`Operation::Take`] one that nobody else chooses, a random number; of [`Operation::Return`] and
    /// [`Operation::Release`] the one that was taken, or zero. Those at the same time count as one each: a cost above that is one.
    pub charge: Charge<'a>,
    /// What is done.
    pub operation: Operation,
    /// Whether it has no say: the others are taken even if it does not fit. It is taken if it fits and they do.
    pub advisory: bool,
}

/// What the script is asked: `EVALSHA hash COUNT KEYS ARGUMENTS`.
#[derive(Debug, Clone, Default)]
pub struct Question {
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
    /// What is replied to, in its order.
    asked: Vec<Asked>,
}

/// One meter that is replied to, in microseconds.
#[derive(Debug, Clone)]
struct Asked {
    meter: Meter,
    cost: u64,
    lease: u64,
    advisory: bool,
}

/// A meter whose numbers a double cannot have, or whose times are no whole microseconds. Those of a [`Limit`](crate::Limit) are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsupported;

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a limit has numbers that Redis cannot count with")
    }
}

impl std::error::Error for Unsupported {}

impl Question {
    /// Of orders, whose keys must be different.
    ///
    /// # Errors
    /// [`Unsupported`], where it is about such a meter.
    pub fn new(orders: &[Order<'_>]) -> Result<Self, Unsupported> {
        let mut question = Self { arguments: vec![Vec::new()], ..Self::default() };
        for order in orders {
            question.add(order)?;
        }
        Ok(question)
    }

    /// Whether the script can count these.
    ///
    /// # Errors
    /// [`Unsupported`], where it cannot.
    pub fn check(meters: &[Meter]) -> Result<(), Unsupported> {
        meters.iter().try_for_each(|meter| in_microseconds(meter).map(drop).ok_or(Unsupported))
    }

    /// Tells the script what time it is, in microseconds since the epoch: for tests. Otherwise the server's clock is asked.
    #[must_use]
    pub fn at(mut self, microseconds: u64) -> Self {
        if let Some(time) = self.arguments.first_mut() {
            *time = microseconds.to_string().into_bytes();
        }
        self
    }

    /// `KEYS`
    #[must_use]
    pub fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }

    /// `ARGV`
    #[must_use]
    pub fn arguments(&self) -> &[Vec<u8>] {
        &self.arguments
    }

    /// Whether there is nothing to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What a reply, a list of integers, comes to: one reading for each meter of what is taken or looked at, in their order; and whether all that has a say was
    /// admitted.
    ///
    /// # Errors
    /// [`StoreError::Malformed`], if it is no such reply.
    pub fn read(&self, reply: &[i64]) -> Result<Outcome, StoreError> {
        let mut numbers = reply.iter().map(|number| u64::try_from(*number).map_err(|_| StoreError::Malformed));
        let mut number = || numbers.next().ok_or(StoreError::Malformed)?;
        let (admitted, now) = (number()? == 1, number()?);
        let mut outcome = Outcome { admitted: true, readings: Vec::with_capacity(self.asked.len()) };
        for asked in &self.asked {
            let reading = asked.reading([number()?, number()?], now);
            outcome.admitted &= reading.passes || asked.advisory;
            outcome.readings.push(reading);
        }
        let is_whole = numbers.next().is_none() && outcome.admitted == admitted;
        if is_whole { Ok(outcome) } else { Err(StoreError::Malformed) }
    }

    fn add(&mut self, order: &Order<'_>) -> Result<(), Unsupported> {
        let Order { charge, operation, advisory } = *order;
        let concerns = |meter: &&Meter| match operation {
            Operation::Take | Operation::Peek => true,
            Operation::Charge => !matches!(meter, Meter::Leases(_)),
            Operation::Return => !matches!(meter, Meter::Leases(_)) || charge.lease != 0,
            Operation::Release => matches!(meter, Meter::Leases(_)) && charge.lease != 0,
        };
        let count = charge.meters.iter().filter(concerns).count();
        if count == 0 {
            return Ok(());
        }
        self.push(match operation {
            Operation::Take => 0,
            Operation::Peek => 1,
            Operation::Charge => 2,
            Operation::Return => 3,
            Operation::Release => 4,
        });
        self.push(u64::from(advisory));
        self.push(u64::try_from(count).unwrap_or(0));
        for (index, meter) in charge.meters.iter().enumerate().filter(|(_, meter)| concerns(meter)) {
            let meter = in_microseconds(meter).ok_or(Unsupported)?;
            self.keys.push(key_of(charge.key, index, &meter));
            self.push(u64::from(meter.kind()));
            let cost = charge.cost.min(LARGEST);
            match &meter {
                Meter::Gcra(gcra) => {
                    self.push(gcra.count());
                    gcra.terms(charge.cost).into_iter().flatten().for_each(|number| self.push(number));
                }
                Meter::Window(window) => [window.limit, window.period, cost].into_iter().for_each(|one| self.push(one)),
                Meter::Leases(leases) => {
                    [leases.limit, leases.expiry, cost.min(1)].into_iter().for_each(|number| self.push(number));
                    self.arguments.push(format!("{:016x}", charge.lease).into_bytes());
                }
            }
            if matches!(operation, Operation::Take | Operation::Peek) {
                self.asked.push(Asked { meter, cost: charge.cost, lease: charge.lease, advisory });
            }
        }
        Ok(())
    }

    fn push(&mut self, number: u64) {
        self.arguments.push(number.to_string().into_bytes());
    }
}

impl Asked {
    /// By what the meter was before, as the algorithms of this crate have it.
    fn reading(&self, [first, second]: [u64; 2], now: u64) -> Reading {
        let reading = match &self.meter {
            Meter::Gcra(gcra) => gcra.take(State { until: now.saturating_add(first), value: second }, self.cost, now).0,
            Meter::Window(window) => window.take(State { until: first, value: second }, self.cost, now).0,
            Meter::Leases(leases) => self.lease_of(leases, first),
        };
        let nanoseconds = |time: u64| if time == u64::MAX { time } else { time.saturating_mul(MICRO) };
        Reading {
            retry_after: nanoseconds(reading.retry_after),
            reset: nanoseconds(reading.reset),
            wait: nanoseconds(reading.wait),
            ..reading
        }
    }

    fn lease_of(&self, leases: &Leases, held: u64) -> Reading {
        let after = held.saturating_add(self.cost.min(1));
        let passes = self.cost == 0 || after <= leases.limit;
        Reading {
            passes,
            remaining: leases.limit.saturating_sub(if passes { after } else { held }),
            // Nobody knows when one is given back; a second is a usual guess.
            retry_after: if passes { 0 } else { leases.expiry.min(1_000_000) },
            reset: leases.expiry,
            wait: 0,
            lease: self.lease,
        }
    }
}

/// The key of one meter: what it is of, and which one of its charge.
fn key_of(name: &[u8], index: usize, meter: &Meter) -> Vec<u8> {
    let kind = match meter {
        Meter::Gcra(_) => 'r',
        Meter::Window(_) => 'q',
        Meter::Leases(_) => 'c',
    };
    [name, format!(":{kind}{index}").as_bytes()].concat()
}

fn in_microseconds(meter: &Meter) -> Option<Meter> {
    let whole = |time: u64| (time > 0 && time.is_multiple_of(MICRO)).then_some(time / MICRO);
    Some(match meter {
        Meter::Gcra(gcra) => Meter::Gcra(gcra.in_microseconds()?),
        Meter::Window(window) => {
            Meter::Window(Window { limit: window.limit.min(LARGEST), period: whole(window.period)? })
        }
        Meter::Leases(leases) => {
            Meter::Leases(Leases { limit: leases.limit.min(LARGEST), expiry: whole(leases.expiry)? })
        }
    })
}
