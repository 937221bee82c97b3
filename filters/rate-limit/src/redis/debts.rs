//! What a stream owes Redis: places to be given back, and what is charged at its end.

use std::rc::Rc;

use fyke_limiter::redis::Order;
use fyke_limiter::{Charge, Meter, Operation};
use fyke_sdk::StreamLog;

use super::Store;
use crate::cost::Known;
use crate::rule::{Applied, Rules};

/// What a stream owes. Its places are given back when it ends, however it does.
#[derive(Debug, Default)]
pub struct Debts {
    store: Option<Rc<Store>>,
    list: Vec<Debt>,
}

#[derive(Debug)]
struct Debt {
    rule: usize,
    name: Vec<u8>,
    meters: Rc<[Meter]>,
    cost: Known,
    /// Zero: it holds no place.
    lease: u64,
}

impl Debts {
    /// What a rule has taken.
    pub(super) fn add(&mut self, store: &Rc<Store>, applied: &Applied, meters: &Rc<[Meter]>, lease: u64) {
        self.store.get_or_insert_with(|| Rc::clone(store));
        let (rule, name, cost) = (applied.rule, applied.name.clone(), applied.cost);
        self.list.push(Debt { rule, name, meters: Rc::clone(meters), cost, lease });
    }

    /// Gives everything back that was taken: the stream goes nowhere.
    pub fn give_back(&mut self) {
        self.pay(|debt| match debt.cost {
            Known::Now(cost) => Some((Operation::Return, cost)),
            // Nothing was taken yet.
            Known::Later => None,
        });
    }

    /// The stream is over: what is known only now is charged, and places are given back, in one call.
    pub fn settle(&mut self, rules: &Rules, log: &StreamLog) {
        self.pay(|debt| match debt.cost {
            Known::Later => Some((Operation::Charge, rules.rules.get(debt.rule)?.cost.at_the_end(log))),
            Known::Now(cost) => Some((Operation::Release, cost)),
        });
    }

    fn pay(&mut self, due: impl Fn(&Debt) -> Option<(Operation, u64)>) {
        let list = std::mem::take(&mut self.list);
        let Some(store) = self.store.as_ref().filter(|_| !list.is_empty()) else { return };
        let mut orders = Vec::with_capacity(list.len());
        for debt in &list {
            if let Some((operation, cost)) = due(debt) {
                let charge = Charge { key: &debt.name, meters: &debt.meters, cost, lease: debt.lease };
                orders.push(Order { charge, operation, advisory: false });
            }
        }
        store.send(&orders);
    }
}

impl Drop for Debts {
    fn drop(&mut self) {
        self.pay(|debt| (debt.lease != 0).then_some((Operation::Release, 1)));
    }
}
