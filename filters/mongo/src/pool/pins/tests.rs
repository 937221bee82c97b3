//! Histories of cursors and transactions against a reference model.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::pool::facts::Command;

const CURSOR_IDLE: u64 = 1000;
const TRANSACTION_IDLE: u64 = 300;

fn limits(capacity: usize) -> PinLimits {
    PinLimits {
        cursor_idle: Duration::from_millis(CURSOR_IDLE),
        transaction_idle: Duration::from_millis(TRANSACTION_IDLE),
        capacity,
    }
}

fn command<'a>(name: &'a str, session: &'a [u8], number: Option<i64>) -> Command<'a> {
    let in_transaction = number.is_some();
    Command { name, database: "d", session: Some(session), txn_number: number, in_transaction, ..Command::default() }
}

fn get_more(session: &[u8], id: i64) -> Operation {
    Operation::of(&Command { collection: Some("c"), cursors: vec![id], ..command("getMore", session, None) })
}

fn opened(id: i64) -> Reply<'static> {
    Reply { ok: true, cursor: Some(id), namespace: Some("d.c"), ..Reply::default() }
}

fn server(route: Route) -> Option<String> {
    match route {
        Route::Free => None,
        Route::Pinned { server, .. } => Some(server),
    }
}

/// One step of a history, by one of two workers.
#[derive(Debug, Clone)]
enum Step {
    Open { cursor: i64, server: u8, long_lived: bool },
    More { cursor: i64, exhausts: bool },
    Kill { cursor: i64 },
    Start { session: u8, server: u8 },
    Go { session: u8, transient: bool },
    Commit { session: u8, unknown: bool },
    Abort { session: u8 },
    Outside { session: u8 },
    End { session: u8 },
    Fail { session: u8 },
    Wait { milliseconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (cursor, session, server) = (1_i64..5, 0_u8..3, 0_u8..4);
    prop_oneof![
        (cursor.clone(), server.clone(), any::<bool>()).prop_map(|(cursor, server, long_lived)| Step::Open {
            cursor,
            server,
            long_lived
        }),
        (cursor.clone(), any::<bool>()).prop_map(|(cursor, exhausts)| Step::More { cursor, exhausts }),
        cursor.prop_map(|cursor| Step::Kill { cursor }),
        (session.clone(), server).prop_map(|(session, server)| Step::Start { session, server }),
        (session.clone(), prop::bool::weighted(0.2)).prop_map(|(session, transient)| Step::Go { session, transient }),
        (session.clone(), any::<bool>()).prop_map(|(session, unknown)| Step::Commit { session, unknown }),
        session.clone().prop_map(|session| Step::Abort { session }),
        session.clone().prop_map(|session| Step::Outside { session }),
        session.clone().prop_map(|session| Step::End { session }),
        session.prop_map(|session| Step::Fail { session }),
        (0_u64..400).prop_map(|milliseconds| Step::Wait { milliseconds }),
    ]
}

/// What should be pinned: the server and when it was used last.
#[derive(Default)]
struct Reference {
    cursors: HashMap<i64, (String, bool, u64)>,
    transactions: HashMap<u8, (i64, String, u64)>,
    numbers: HashMap<u8, i64>,
}

/// Between idle and one and a half of it the table may have forgotten or not.
fn agrees(expected: Option<(&str, u64)>, found: Option<&str>, idle: u64, now: u64) -> bool {
    match expected {
        Some((server, used)) if now - used < idle => found == Some(server),
        Some((server, used)) if now - used < idle + idle / 2 => found.is_none_or(|found| found == server),
        _ => found.is_none(),
    }
}

fn run(history: Vec<(Step, bool)>, workers: usize) -> Result<(), TestCaseError> {
    let store = MemoryPins::default();
    let table = || PinTable::new(store.clone(), b"pool", limits(1000));
    let mut tables = [table(), table()];
    let mut reference = Reference::default();
    let mut now = 1_000_000;
    for (step, second) in history {
        let table = &mut tables[usize::from(second) % workers];
        match step {
            Step::Wait { milliseconds } => now += milliseconds,
            Step::Open { cursor, server, long_lived } => {
                let server = format!("s{server}");
                let find = Operation::of(&Command { long_lived, ..command("find", b"x", None) });
                table.replied(&find, &server, &opened(cursor), now);
                reference.cursors.insert(cursor, (server, long_lived, now));
            }
            Step::More { cursor, exhausts } => {
                let operation = get_more(b"x", cursor);
                let route = table.route(&operation, now);
                if let (Route::Pinned { long_lived, .. }, Some(expected)) = (&route, reference.cursors.get(&cursor)) {
                    prop_assert_eq!(*long_lived, expected.1);
                }
                let found = server(route);
                let expected = reference.cursors.get(&cursor).map(|(server, _, used)| (server.as_str(), *used));
                prop_assert!(agrees(expected, found.as_deref(), CURSOR_IDLE, now), "{expected:?} {found:?} at {now}");
                let Some(found) = found else {
                    reference.cursors.remove(&cursor);
                    continue;
                };
                table.replied(&operation, &found, &opened(if exhausts { 0 } else { cursor }), now);
                if exhausts {
                    reference.cursors.remove(&cursor);
                } else if let Some(pin) = reference.cursors.get_mut(&cursor) {
                    pin.2 = now;
                }
            }
            Step::Kill { cursor } => {
                let kill =
                    Command { collection: Some("c"), cursors: vec![cursor], ..command("killCursors", b"x", None) };
                let operation = Operation::of(&kill);
                if let Some(found) = server(table.route(&operation, now)) {
                    table.forwarded(&operation, &found, now);
                }
                reference.cursors.remove(&cursor);
            }
            Step::Start { session, server } => {
                let number = reference.numbers.entry(session).or_default();
                *number += 1;
                let server = format!("s{server}");
                let id = [session];
                let start = Command { starts_transaction: true, ..command("insert", &id, Some(*number)) };
                let operation = Operation::of(&start);
                prop_assert_eq!(table.route(&operation, now), Route::Free);
                table.forwarded(&operation, &server, now);
                reference.transactions.insert(session, (*number, server, now));
            }
            Step::Go { session, .. }
            | Step::Commit { session, .. }
            | Step::Abort { session }
            | Step::Fail { session } => {
                let name = match step {
                    Step::Commit { .. } => "commitTransaction",
                    Step::Abort { .. } => "abortTransaction",
                    _ => "find",
                };
                let id = [session];
                let number = reference.numbers.get(&session).copied().unwrap_or(0);
                let operation = Operation::of(&command(name, &id, Some(number)));
                let found = server(table.route(&operation, now));
                let pin = reference.transactions.get(&session).filter(|pin| pin.0 == number);
                let expected = pin.map(|(_, server, used)| (server.as_str(), *used));
                prop_assert!(
                    agrees(expected, found.as_deref(), TRANSACTION_IDLE, now),
                    "{expected:?} {found:?} at {now}"
                );
                let Some(found) = found else {
                    reference.transactions.remove(&session);
                    continue;
                };
                table.forwarded(&operation, &found, now);
                let labels = match step {
                    Step::Go { transient: true, .. } => Labels::TRANSIENT_TRANSACTION,
                    Step::Commit { unknown: true, .. } => Labels::UNKNOWN_COMMIT,
                    _ => Labels::NONE,
                };
                if matches!(step, Step::Fail { .. }) {
                    table.failed(&operation);
                } else {
                    table.replied(&operation, &found, &Reply { labels, ..Reply::default() }, now);
                }
                if labels != Labels::NONE || matches!(step, Step::Abort { .. } | Step::Fail { .. }) {
                    reference.transactions.remove(&session);
                } else if let Some(pin) = reference.transactions.get_mut(&session) {
                    pin.2 = now;
                }
            }
            Step::Outside { session } => {
                let id = [session];
                let operation = Operation::of(&command("find", &id, None));
                prop_assert_eq!(table.route(&operation, now), Route::Free);
                table.forwarded(&operation, "s0", now);
                reference.transactions.remove(&session);
                if workers > 1 {
                    // The pin of the other worker may outlive this, until a driver's next number.
                    *reference.numbers.entry(session).or_default() += 1;
                }
            }
            Step::End { session } => {
                let id = [session];
                let end = Command { sessions: vec![&id], session: None, ..command("endSessions", b"", None) };
                table.forwarded(&Operation::of(&end), "s0", now);
                reference.transactions.remove(&session);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn one_worker_routes_as_the_reference(history in prop::collection::vec((step(), any::<bool>()), 0..80)) {
        run(history, 1)?;
    }

    #[test]
    fn two_workers_route_as_the_reference(history in prop::collection::vec((step(), any::<bool>()), 0..80)) {
        run(history, 2)?;
    }

    #[test]
    fn a_table_is_bounded_and_forgets_what_expires_first(ids in prop::collection::vec(1_i64..200, 0..200)) {
        let store = MemoryPins::default();
        let mut table = PinTable::new(store.clone(), b"", limits(10));
        let find = Operation::of(&command("find", b"x", None));
        let mut order: Vec<i64> = Vec::new();
        for (now, id) in (0_u64..).zip(ids) {
            table.replied(&find, "s", &opened(id), now);
            order.retain(|other| *other != id);
            order.push(id);
            prop_assert!(table.len() <= 10 && store.len() == table.len());
        }
        let kept = &order[order.len().saturating_sub(10)..];
        for id in &order {
            let pinned = table.route(&get_more(b"x", *id), 200) != Route::Free;
            prop_assert_eq!(pinned, kept.contains(id));
        }
    }
}

#[test]
fn pools_do_not_see_each_others_pins() {
    let store = MemoryPins::default();
    let mut one = PinTable::new(store.clone(), b"one", limits(10));
    let mut two = PinTable::new(store, b"two", limits(10));
    one.replied(&Operation::of(&command("find", b"x", None)), "s", &opened(7), 0);
    assert_eq!(server(one.route(&get_more(b"x", 7), 1)), Some("s".into()));
    assert_eq!(two.route(&get_more(b"x", 7), 1), Route::Free);
    assert_eq!((one.counts().cursors, two.counts().missing), (1, 1));
}

#[test]
fn expired_pins_leave_the_store_although_nobody_asks() {
    let store = MemoryPins::default();
    let mut table = PinTable::new(store.clone(), b"", limits(100));
    let find = Operation::of(&command("find", b"x", None));
    for id in 1..=5 {
        table.replied(&find, "s", &opened(id), 0);
    }
    table.replied(&find, "s", &opened(6), 10 * CURSOR_IDLE);
    assert_eq!((store.len(), table.len(), table.counts().expired), (1, 1, 5));
}

#[test]
fn a_kill_of_cursors_on_two_servers_leaves_the_others_pinned() {
    let mut table = PinTable::new(MemoryPins::default(), b"", limits(100));
    let find = Operation::of(&command("find", b"x", None));
    table.replied(&find, "a", &opened(1), 0);
    table.replied(&find, "b", &opened(2), 0);
    let both = Command { collection: Some("c"), cursors: vec![1, 2], ..command("killCursors", b"x", None) };
    let kill = Operation::of(&both);
    assert_eq!(server(table.route(&kill, 1)).as_deref(), Some("a"));
    table.forwarded(&kill, "a", 1);
    assert_eq!(table.route(&get_more(b"x", 1), 1), Route::Free);
    assert_eq!(server(table.route(&get_more(b"x", 2), 1)).as_deref(), Some("b"));
}

#[test]
fn an_operation_that_is_late_does_not_unpin_a_later_transaction() {
    let mut table = PinTable::new(MemoryPins::default(), b"", limits(100));
    let start = Command { starts_transaction: true, ..command("insert", b"x", Some(6)) };
    table.forwarded(&Operation::of(&start), "a", 0);
    let write = Command { txn_number: Some(5), ..command("insert", b"x", None) };
    table.forwarded(&Operation::of(&write), "b", 1);
    let late = Operation::of(&command("find", b"x", Some(5)));
    table.failed(&late);
    table.replied(&late, "b", &Reply { labels: Labels::TRANSIENT_TRANSACTION, ..Reply::default() }, 1);
    table.forwarded(&Operation::of(&command("abortTransaction", b"x", Some(5))), "b", 1);
    let next = Operation::of(&command("find", b"x", Some(6)));
    assert_eq!(server(table.route(&next, 2)).as_deref(), Some("a"));
    table.forwarded(&Operation::of(&Command { txn_number: Some(7), ..write }), "b", 2);
    assert_eq!(table.route(&next, 2), Route::Free);
}

#[test]
fn oversized_names_are_not_pinned() {
    let mut table = PinTable::new(MemoryPins::default(), b"", limits(100));
    let find = Operation::of(&command("find", b"x", None));
    let long = "d.".to_owned() + &"c".repeat(300);
    table.replied(&find, "s", &Reply { namespace: Some(&long), ..opened(1) }, 0);
    assert_eq!((table.len(), table.counts().oversized), (0, 1));
    let session = [1; 300];
    let start = Command { starts_transaction: true, ..command("insert", &session, Some(1)) };
    table.forwarded(&Operation::of(&start), "s", 0);
    assert_eq!(table.len(), 0);
}
