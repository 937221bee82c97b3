//! `fyke.shared.take.v1`: charges and outcomes as bytes. The guest's side is [`encode`] and [`read_outcome`], the host's is [`answer`].
//!
//! Numbers are little-endian. Arguments: `u32` operation (0 take, 1 peek, 2 charge, 3 return, 4 release), `u32` how many charges; for each `u32` length of
//! the key, `u32` how many meters, `u64` cost, `u64` lease, the key; and for each meter `u32` kind (1 GCRA, 2 window, 3 leases), `u32` zero, and
//! five `u64`: of GCRA count, period, burst, queue and debt, of a window limit and period, of leases limit and expiry, then zeros. All times are
//! in nanoseconds.
//!
//! Result: `u32` whether all was admitted, `u32` how many readings; for each `u64` flags (bit 0: passes), remaining, retry after, reset, wait,
//! lease.

use crate::gcra::Gcra;
use crate::leases::Leases;
use crate::meter::{Meter, Now, Reading};
use crate::store::{Charge, Operation, Outcome};
use crate::table::Table;
use crate::window::Window;

/// The foreign function's name.
pub const TAKE: &str = "fyke.shared.take.v1";

/// More charges, or meters of all of them together, are refused.
const MOST: usize = 256;

/// Longer keys are refused. Those of [`KeyBuilder`](crate::KeyBuilder) are shorter.
const LONGEST: usize = 4096;

/// What came is no such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireError;

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("these bytes are no charges, or no outcome")
    }
}

impl std::error::Error for WireError {}

/// Appends the arguments to `out`.
pub fn encode(operation: Operation, charges: &[Charge<'_>], out: &mut Vec<u8>) {
    let number = match operation {
        Operation::Take => 0,
        Operation::Peek => 1,
        Operation::Charge => 2,
        Operation::Return => 3,
        Operation::Release => 4,
    };
    word(out, number);
    word(out, charges.len());
    for charge in charges {
        word(out, charge.key.len());
        word(out, charge.meters.len());
        long(out, charge.cost);
        long(out, charge.lease);
        out.extend_from_slice(charge.key);
        for meter in charge.meters {
            word(out, usize::from(meter.kind()));
            word(out, 0);
            let numbers = match meter {
                Meter::Gcra(gcra) => gcra.parts(),
                Meter::Window(Window { limit, period }) => [*limit, *period, 0, 0, 0],
                Meter::Leases(Leases { limit, expiry }) => [*limit, *expiry, 0, 0, 0],
            };
            numbers.into_iter().for_each(|number| long(out, number));
        }
    }
}

/// The host's whole part: reads arguments, applies them to the table, and appends the result to `out`.
///
/// # Errors
/// When the arguments are malformed. Then nothing was charged.
pub fn answer(table: &Table, arguments: &[u8], clock: impl Fn() -> Now, out: &mut Vec<u8>) -> Result<(), WireError> {
    let mut rest = Bytes(arguments);
    let operation = match rest.word().ok_or(WireError)? {
        0 => Operation::Take,
        1 => Operation::Peek,
        2 => Operation::Charge,
        3 => Operation::Return,
        4 => Operation::Release,
        _ => return Err(WireError),
    };
    let count = rest.word().filter(|count| *count <= MOST).ok_or(WireError)?;
    let mut heads = Vec::with_capacity(count);
    let mut meters = Vec::with_capacity(count);
    for _ in 0..count {
        let length = rest.word().filter(|length| *length <= LONGEST).ok_or(WireError)?;
        let of_it = rest.word().ok_or(WireError)?;
        let (cost, lease) = (rest.long().ok_or(WireError)?, rest.long().ok_or(WireError)?);
        let key = rest.take(length).ok_or(WireError)?;
        let first = meters.len();
        for _ in 0..of_it {
            if meters.len() >= MOST {
                return Err(WireError);
            }
            meters.push(rest.meter().ok_or(WireError)?);
        }
        heads.push((key, first, cost, lease));
    }
    if !rest.0.is_empty() {
        return Err(WireError);
    }
    let mut end = meters.len();
    let mut charges = Vec::with_capacity(count);
    for (key, first, cost, lease) in heads.into_iter().rev() {
        charges.push(Charge { key, meters: meters.get(first..end).unwrap_or_default(), cost, lease });
        end = first;
    }
    charges.reverse();
    let mut outcome = Outcome::default();
    table.apply(operation, &charges, clock, &mut outcome);
    word(out, usize::from(outcome.admitted));
    word(out, outcome.readings.len());
    for reading in &outcome.readings {
        let Reading { passes, remaining, retry_after, reset, wait, lease } = *reading;
        [u64::from(passes), remaining, retry_after, reset, wait, lease]
            .into_iter()
            .for_each(|number| long(out, number));
    }
    Ok(())
}

/// Reads a result.
///
/// # Errors
/// When it is none.
pub fn read_outcome(bytes: &[u8], outcome: &mut Outcome) -> Result<(), WireError> {
    outcome.clear();
    let mut rest = Bytes(bytes);
    let admitted = rest.word().ok_or(WireError)? != 0;
    for _ in 0..rest.word().ok_or(WireError)? {
        let mut number = || rest.long().ok_or(WireError);
        let passes = number()? & 1 == 1;
        outcome.add(Reading {
            passes,
            remaining: number()?,
            retry_after: number()?,
            reset: number()?,
            wait: number()?,
            lease: number()?,
        });
    }
    outcome.admitted = admitted;
    Ok(())
}

fn word(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

fn long(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn word(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.take(4)?.try_into().ok()?)).ok()
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn meter(&mut self) -> Option<Meter> {
        let kind = self.word()?;
        if self.word()? != 0 {
            return None;
        }
        let numbers @ [one, other, ..] = [self.long()?, self.long()?, self.long()?, self.long()?, self.long()?];
        match kind {
            1 => Gcra::from_parts(numbers).map(Meter::Gcra),
            2 if other > 0 => Some(Meter::Window(Window { limit: one, period: other })),
            3 if other > 0 => Some(Meter::Leases(Leases { limit: one, expiry: other })),
            _ => None,
        }
    }
}
