//! The audit log: attempts to change what runs.

use super::Host;
use crate::{
    admin::{
        board,
        dashboard::model::{DiffKind, DiffLine, Reload, ReloadOutcome},
    },
    reload::{
        audit::{Entry, Outcome},
        lines::Line,
    },
};

/// Attempts that are told.
const MOST: usize = 50;

pub(super) fn reloads(host: &Host<'_>) -> Vec<Reload> {
    let entries = host.admin.keeper.audit.entries();
    entries.iter().rev().filter(|entry| entry.outcome != Outcome::Done).take(MOST).map(reload).collect()
}

fn reload(entry: &Entry) -> Reload {
    let (outcome, generation, error) = match &entry.outcome {
        Outcome::Applied(generation) => (ReloadOutcome::Applied, Some(*generation), None),
        Outcome::Unchanged(generation) => (ReloadOutcome::Unchanged, Some(*generation), None),
        Outcome::Refused(why) => (ReloadOutcome::Refused, None, Some(why.clone())),
        Outcome::RolledBack(generation) => (ReloadOutcome::RolledBack, Some(*generation), None),
        Outcome::Drains => (ReloadOutcome::Drains, None, None),
        // Not about what runs: see `reloads`.
        Outcome::Done => (ReloadOutcome::Unchanged, None, None),
    };
    Reload {
        at: board::time(entry.when),
        who: entry.who.clone(),
        what: entry.what.clone(),
        outcome,
        generation,
        changes: entry.changes.clone(),
        diff: entry.diff.iter().map(line).collect(),
        error,
    }
}

fn line(line: &Line) -> DiffLine {
    let (kind, text) = match line.side {
        '+' => (DiffKind::Added, line.text.clone()),
        '-' => (DiffKind::Removed, line.text.clone()),
        '.' => (DiffKind::Context, "...".to_owned()),
        _ => (DiffKind::Context, line.text.clone()),
    };
    DiffLine { kind, text }
}
