//! Local limits: what is taken, held, given back, and charged afterwards.

use std::rc::Rc;

use fyke_limiter::{Charge, Meter, Operation, Outcome, SdkStore, Store, StoreError};
use fyke_sdk::StreamLog;

use crate::cost::Known;
use crate::redis::Debts;
use crate::rule::{Applied, Asked, Rule, Rules};
use crate::stats::{Stats, Word};
use crate::verdict::Verdict;

/// Nanoseconds, and more of them than anybody waits.
pub const NEVER: u64 = u64::MAX;

/// What a stream has taken and has to give back, or to be charged for.
#[derive(Debug, Default)]
pub struct Account {
    held: Vec<Held>,
    late: Vec<Late>,
    /// What was taken, as long as it can be taken back.
    taken: Vec<Taken>,
    /// The same of what Redis counts.
    pub debts: Debts,
}

/// A place among those at the same time. Given back when the stream ends, however it does.
#[derive(Debug)]
struct Held {
    store: Rc<SdkStore>,
    key: Vec<u8>,
    meters: Rc<[Meter]>,
    lease: u64,
}

/// Charged at the end.
#[derive(Debug)]
struct Late {
    rule: usize,
    key: Vec<u8>,
}

#[derive(Debug)]
struct Taken {
    rule: usize,
    key: Vec<u8>,
    cost: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let charge = Charge { key: &self.key, meters: &self.meters, cost: 1, lease: self.lease };
        // What cannot be given back is forgotten in time.
        let _ = self.store.apply(Operation::Release, &[charge], &mut Outcome::default());
    }
}

/// Local limits.
#[derive(Debug)]
pub struct Limiter {
    store: Rc<SdkStore>,
    /// Whether what was taken may be taken back.
    remembers: bool,
}

impl Limiter {
    /// `remembers`: what was taken may have to be taken back, because somebody else refuses.
    pub fn new(store: SdkStore, remembers: bool) -> Self {
        Self { store: Rc::new(store), remembers }
    }

    /// Takes what enforced rules ask for, all or nothing, and then what shadows would.
    ///
    /// # Errors
    /// When it cannot be looked up. Shadows fail on their own.
    pub fn take(&self, asked: &[Asked<'_>], account: &mut Account, stats: &Stats) -> Result<Verdict, StoreError> {
        let (enforced, shadows): (Vec<_>, Vec<_>) = asked.iter().copied().partition(|(applied, _)| applied.enforced);
        let verdict = self.enforce(&enforced, account, stats)?;
        if !verdict.refused {
            for shadow in &shadows {
                self.shadow(*shadow, account, stats);
            }
        }
        Ok(verdict)
    }

    fn enforce(&self, all: &[Asked<'_>], account: &mut Account, stats: &Stats) -> Result<Verdict, StoreError> {
        let mut verdict = Verdict::default();
        if all.is_empty() {
            return Ok(verdict);
        }
        let mut outcome = Outcome::default();
        // Of what is charged at the end there must be something left now. First, because it takes nothing.
        for late in [true, false] {
            let these = all.iter().filter(|(applied, _)| (applied.cost == Known::Later) == late).copied();
            let these: Vec<Asked<'_>> = these.collect();
            let operation = if late { Operation::Peek } else { Operation::Take };
            let charges: Vec<Charge<'_>> = these.iter().map(|(applied, rule)| charge(applied, rule)).collect();
            if charges.is_empty() {
                continue;
            }
            if let Err(error) = self.store.apply(operation, &charges, &mut outcome) {
                these.iter().for_each(|(_, rule)| stats.count(rule, Word::Error));
                account.take_back(&self.store, all);
                return Err(error);
            }
            Self::look(&these, &outcome, &mut verdict, stats);
            if verdict.refused {
                account.take_back(&self.store, all);
                return Ok(verdict);
            }
            self.note(&these, &outcome, account);
        }
        Ok(verdict)
    }

    /// What an outcome comes to.
    fn look(these: &[Asked<'_>], outcome: &Outcome, verdict: &mut Verdict, stats: &Stats) {
        let each = outcome.each(these.iter().map(|(_, rule)| rule.meters.len()));
        for (asked, own) in these.iter().zip(each) {
            verdict.add(*asked, &asked.1.meters, &own, outcome.admitted, stats);
        }
    }

    /// What has to be given back, or to be charged.
    fn note(&self, these: &[Asked<'_>], outcome: &Outcome, account: &mut Account) {
        let mut readings = outcome.readings.iter();
        for (applied, rule) in these {
            let lease = readings.by_ref().take(rule.meters.len()).map(|reading| reading.lease).max().unwrap_or(0);
            let key = || applied.key.clone();
            match applied.cost {
                Known::Later => account.late.push(Late { rule: applied.rule, key: key() }),
                Known::Now(_) if !self.remembers => {}
                Known::Now(cost) => account.taken.push(Taken { rule: applied.rule, key: key(), cost }),
            }
            if lease > 0 && applied.cost != Known::Later {
                let store = Rc::clone(&self.store);
                account.held.push(Held { store, key: key(), meters: Rc::clone(&rule.meters), lease });
            }
        }
    }

    fn shadow(&self, (applied, rule): Asked<'_>, account: &mut Account, stats: &Stats) {
        let operation = if applied.cost == Known::Later { Operation::Peek } else { Operation::Take };
        let mut outcome = Outcome::default();
        let asked = self.store.apply(operation, &[charge(applied, rule)], &mut outcome);
        stats.count(
            rule,
            match asked {
                Err(_) => Word::Error,
                Ok(()) if outcome.admitted => Word::Ok,
                Ok(()) => Word::Shadow,
            },
        );
        stats.busy(applied, rule);
        if asked.is_ok() && outcome.admitted {
            self.note(&[(applied, rule)], &outcome, account);
        }
    }

    /// Gives everything back that was taken: the stream goes nowhere.
    pub fn take_back(&self, rules: &Rules, account: &mut Account) {
        account.debts.give_back();
        account.held.clear();
        account.late.clear();
        for taken in account.taken.drain(..) {
            if let Some(rule) = rules.rules.get(taken.rule) {
                give_back(&self.store, &taken.key, &rule.meters, taken.cost);
            }
        }
    }

    /// The stream is over.
    pub fn settle(&self, rules: &Rules, account: &mut Account, log: &StreamLog) {
        account.debts.settle(rules, log);
        account.held.clear();
        account.taken.clear();
        for late in account.late.drain(..) {
            let Some(rule) = rules.rules.get(late.rule) else { continue };
            let charge = Charge { key: &late.key, meters: &rule.meters, cost: rule.cost.at_the_end(log), lease: 0 };
            if self.store.apply(Operation::Charge, &[charge], &mut Outcome::default()).is_err() {
                // Nobody is left to be told.
                fyke_sdk::log::write(fyke_sdk::abi::Level::Warn, "what a stream has cost could not be charged");
            }
        }
    }
}

impl Account {
    fn take_back(&mut self, store: &SdkStore, all: &[Asked<'_>]) {
        self.held.clear();
        self.late.clear();
        for taken in self.taken.drain(..) {
            if let Some((_, rule)) = all.iter().find(|(applied, _)| applied.rule == taken.rule) {
                give_back(store, &taken.key, &rule.meters, taken.cost);
            }
        }
    }
}

/// Leases are given back by those who hold them.
fn give_back(store: &SdkStore, key: &[u8], meters: &[Meter], cost: u64) {
    let _ = store.apply(Operation::Return, &[Charge { key, meters, cost, lease: 0 }], &mut Outcome::default());
}

fn charge<'a>(applied: &'a Applied, rule: &'a Rule) -> Charge<'a> {
    Charge { key: &applied.key, meters: &rule.meters, cost: applied.cost.now(), lease: 0 }
}
