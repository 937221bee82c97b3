//! Limits that the filter counts itself, in shared data by compare and swap. For hosts without `fyke.shared.take.v1`.
//!
//! A key is one value, with the states of all of its meters, so that one key is charged at once. Several keys are charged one after the other;
//! where a later one refuses, the earlier ones get it back. The clock is the wall's, the only one that all workers share: guests' monotonic clocks
//! begin when their workers do.

use fyke_sdk::abi::{self, Status};
use fyke_sdk::random;

use super::failed;
use crate::key::Seed;
use crate::meter::{Meter, Now, State};
use crate::store::{Charge, Operation, Outcome, Store, StoreError};

/// How often a charge is tried again while others charge the same key.
const ATTEMPTS: usize = 64;

/// Before every key, so that nothing else in the filter's shared data is touched.
const PREFIX: &str = "limit:";

/// Where the seed is.
const SEED: &str = "limiter.seed";

/// A token for a key that is not there: the host ignores it, and who finds a value there meanwhile loses to that.
const ABSENT: u32 = u32::MAX;

/// Data with tokens, and the time. Tests have some of their own, which threads can share.
pub trait Data {
    fn get(&self, name: &str) -> Option<(Vec<u8>, u32)>;
    fn set(&self, name: &str, value: &[u8], token: u32) -> Result<(), Status>;
    fn expire(&self, name: &str, milliseconds: u64);
    fn now(&self) -> u64;
}

/// The host's.
#[derive(Debug, Default, Clone, Copy)]
pub struct HostData;

impl Data for HostData {
    fn get(&self, name: &str) -> Option<(Vec<u8>, u32)> {
        abi::shared_data(name)
    }

    fn set(&self, name: &str, value: &[u8], token: u32) -> Result<(), Status> {
        abi::set_shared_data(name, value, token)
    }

    /// A host without the function keeps it for ever.
    fn expire(&self, name: &str, milliseconds: u64) {
        let mut arguments = milliseconds.to_le_bytes().to_vec();
        arguments.extend_from_slice(name.as_bytes());
        let _ = abi::call_foreign_function("fyke.shared.expire.v1", &arguments);
    }

    fn now(&self) -> u64 {
        abi::now()
    }
}

/// Shared data.
#[derive(Debug, Default, Clone, Copy)]
pub struct SharedStore<D = HostData> {
    data: D,
}

impl SharedStore {
    /// Whether shared data is there: what is written can be read.
    #[must_use]
    pub fn is_granted() -> bool {
        const PROBE: &str = "limiter.probe";
        abi::set_shared_data(PROBE, b"1", 0).is_ok() && abi::shared_data(PROBE).is_some()
    }
}

impl<D: Data> SharedStore<D> {
    #[cfg(test)]
    pub(crate) fn over(data: D) -> Self {
        Self { data }
    }

    /// Charges one key. What was there is in the outcome's readings.
    fn one(&self, operation: Operation, charge: &Charge<'_>, outcome: &mut Outcome) -> Result<bool, StoreError> {
        let name = name_of(charge.key);
        let before = outcome.readings.len();
        for _ in 0..ATTEMPTS {
            outcome.readings.truncate(before);
            let (bytes, token) = self.data.get(&name).unwrap_or((Vec::new(), ABSENT));
            if matches!(operation, Operation::Return | Operation::Release) && bytes.is_empty() {
                // Forgotten, which gave it back.
                return Ok(true);
            }
            // Read after the value: who looked at the clock before would take a state of somebody faster for one of a clock set back.
            let time = self.data.now();
            let now = Now { steady: time, wall: time };
            let mut states = read(&bytes, charge.meters);
            let mut passes = true;
            for (state, meter) in states.iter_mut().zip(charge.meters) {
                *state = if matches!(operation, Operation::Take | Operation::Peek) {
                    let (reading, after) = meter.take(*state, charge.cost, now);
                    passes &= reading.passes;
                    outcome.readings.push(reading);
                    after
                } else {
                    charge.after(operation, meter, *state, now).unwrap_or(*state)
                };
            }
            if operation == Operation::Peek || charge.cost == 0 {
                return Ok(passes);
            }
            if !passes {
                states = read(&bytes, charge.meters);
                if !settle(&mut states, charge.meters, now) {
                    return Ok(false);
                }
            }
            match self.data.set(&name, &write(&states, charge.meters), token) {
                Ok(()) => {
                    self.data.expire(&name, milliseconds_left(&states, charge.meters, now));
                    return Ok(passes);
                }
                Err(Status::CAS_MISMATCH) => {}
                Err(status) => return Err(failed(status)),
            }
        }
        Err(StoreError::Contended)
    }

    fn give_back(&self, charges: &[Charge<'_>], outcome: &Outcome) {
        let mut readings = outcome.readings.iter();
        for charge in charges {
            let lease = readings.by_ref().take(charge.meters.len()).map(|reading| reading.lease).max().unwrap_or(0);
            let charge = Charge { lease, ..*charge };
            // Who cannot give back leaves the key overcharged, which refuses too much and never too little.
            let _ = self.one(Operation::Return, &charge, &mut Outcome::default());
        }
    }
}

impl<D: Data> Store for SharedStore<D> {
    fn apply(&self, operation: Operation, charges: &[Charge<'_>], outcome: &mut Outcome) -> Result<(), StoreError> {
        outcome.clear();
        for (at, charge) in charges.iter().enumerate() {
            // One that cannot be admitted any more is still asked what it reads.
            let operation = if outcome.admitted { operation } else { Operation::Peek };
            let passes = self.one(operation, charge, outcome);
            if passes != Ok(true) && outcome.admitted && operation == Operation::Take {
                self.give_back(charges.get(..at).unwrap_or_default(), outcome);
            }
            outcome.admitted &= passes?;
        }
        Ok(())
    }
}

/// Of one that was refused: whether there is something to write.
fn settle(states: &mut [State], meters: &[Meter], now: Now) -> bool {
    let mut settles = false;
    for (state, meter) in states.iter_mut().zip(meters) {
        if let Some(settled) = meter.settle(*state, now) {
            *state = settled;
            settles = true;
        }
    }
    settles
}

/// Names of shared data are text here: every byte is a character.
fn name_of(key: &[u8]) -> String {
    let mut name = String::with_capacity(PREFIX.len() + key.len());
    name.push_str(PREFIX);
    name.extend(key.iter().map(|byte| char::from(*byte)));
    name
}

/// For each meter its kind and sixteen bytes. What does not fit the meters is as if it were not there.
fn read(bytes: &[u8], meters: &[Meter]) -> Vec<State> {
    let mut rest = bytes;
    let mut state_of = |meter: &Meter| {
        let (kind, after) = rest.split_first()?;
        let (until, after) = after.split_first_chunk::<8>()?;
        let (value, after) = after.split_first_chunk::<8>()?;
        rest = after;
        let state = State { until: u64::from_le_bytes(*until), value: u64::from_le_bytes(*value) };
        (*kind == meter.kind()).then_some(state)
    };
    meters.iter().map(|meter| state_of(meter).unwrap_or_default()).collect()
}

fn write(states: &[State], meters: &[Meter]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(states.len() * 17);
    for (state, meter) in states.iter().zip(meters) {
        bytes.push(meter.kind());
        bytes.extend_from_slice(&state.until.to_le_bytes());
        bytes.extend_from_slice(&state.value.to_le_bytes());
    }
    bytes
}

/// A value goes when none of its states matters any more.
fn milliseconds_left(states: &[State], meters: &[Meter], now: Now) -> u64 {
    let left = states
        .iter()
        .zip(meters)
        .map(|(state, meter)| state.until.saturating_sub(if meter.is_of_the_wall() { now.wall } else { now.steady }));
    // One more, for fractions.
    left.max().unwrap_or(0) / 1_000_000 + 1
}

/// The seed that is there, or a new one for everybody.
pub fn seed() -> Result<Seed, StoreError> {
    let known = || abi::shared_data(SEED).and_then(|(bytes, _)| <[u8; 16]>::try_from(bytes.as_slice()).ok());
    if let Some(bytes) = known() {
        return Ok(Seed::of_bytes(bytes));
    }
    let mut fresh = [0; 16];
    random::fill(&mut fresh);
    match abi::set_shared_data(SEED, &fresh, ABSENT) {
        // Somebody was faster.
        Ok(()) | Err(Status::CAS_MISMATCH) => known().map(Seed::of_bytes).ok_or(StoreError::Malformed),
        Err(status) => Err(failed(status)),
    }
}
