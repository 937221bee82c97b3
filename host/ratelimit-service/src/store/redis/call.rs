//! What the script is told, and what it answers.

use std::time::Duration;

use redis::{Cmd, Value};

use super::super::{Charge, Count};
use crate::rules::Algorithm;
use crate::settings::OverLimitHits;

/// What a charge does to a counter.
pub(super) const SCRIPT: &str = include_str!("script.lua");

/// How charges of one call hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each by itself.
    Each,
    /// All of them are counted, or none.
    All,
    /// What `All` would do, and nothing is counted.
    Look,
}

/// Charges for one call of the script, each with a key of its own.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub charges: Vec<&'a Charge>,
    pub mode: Mode,
}

impl From<OverLimitHits> for Mode {
    fn from(hits: OverLimitHits) -> Self {
        match hits {
            OverLimitHits::Count => Self::Each,
            OverLimitHits::Ignore => Self::All,
        }
    }
}

impl Call<'_> {
    /// The call of a script that Redis has.
    pub fn by_hash(&self, hash: &str) -> Cmd {
        self.command("EVALSHA", hash)
    }

    /// The call with the script itself, which Redis has from then on.
    pub fn by_text(&self) -> Cmd {
        self.command("EVAL", SCRIPT)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.charges.len());
        for charge in &self.charges {
            command.arg(charge.key.as_str());
        }
        command.arg(match self.mode {
            Mode::Each => "each",
            Mode::All => "all",
            Mode::Look => "look",
        });
        for charge in &self.charges {
            let (kind, burst) = match charge.measure.algorithm {
                Algorithm::FixedWindow => ("w", 0),
                Algorithm::Gcra { burst } => ("g", burst),
            };
            let period = u64::try_from(charge.measure.period().as_micros()).unwrap_or(u64::MAX);
            command.arg(kind).arg(charge.measure.requests_per_unit).arg(period).arg(charge.hits).arg(burst);
        }
        command
    }

    /// Reads an answer of the script. `None` where it is none.
    pub fn read(&self, answer: &Value) -> Option<Vec<Count>> {
        let Value::Array(items) = answer else { return None };
        if items.len() != self.charges.len() {
            return None;
        }
        let counts = self.charges.iter().zip(items).map(|(charge, item)| {
            let Value::Array(numbers) = item else { return None };
            let [Value::Int(passes), Value::Int(before), Value::Int(after), Value::Int(reset)] = numbers.as_slice()
            else {
                return None;
            };
            let reset = u64::try_from(*reset).map_or(charge.measure.period(), Duration::from_micros);
            let (before, after) = (u64::try_from(*before).ok()?, u64::try_from(*after).ok()?);
            Some(Count { before, after, over: *passes == 0, reset, cached: false })
        });
        counts.collect()
    }
}
