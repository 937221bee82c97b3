//! The table: bounded, and forgetting what matters least.

use super::{SECOND, THEN, at, gcra};
use crate::{Charge, Meter, Now, Operation, Outcome, Table};

fn take(table: &Table, key: &[u8], meter: Meter, now: Now) -> bool {
    let mut outcome = Outcome::default();
    let charge = Charge { key, meters: &[meter], cost: 1, lease: 0 };
    table.apply(Operation::Take, &[charge], || now, &mut outcome);
    outcome.admitted
}

#[test]
fn a_million_live_keys_fit_into_150_megabytes() {
    let table = Table::new(150_000_000);
    let meter = Meter::Gcra(gcra("1/d", 1));
    for key in 0..1_000_000_u32 {
        assert!(take(&table, format!("tenant-{key}").as_bytes(), meter, at(THEN)));
    }
    let stats = table.stats();
    assert_eq!((stats.entries, stats.evicted), (1_000_000, 0));
    assert!(stats.bytes <= 150_000_000, "{stats:?}");
    let again =
        (0..1_000_000_u32).filter(|key| take(&table, format!("tenant-{key}").as_bytes(), meter, at(THEN))).count();
    assert_eq!(again, 0);
}

#[test]
fn a_full_table_forgets_what_does_not_matter_first() {
    let table = Table::new(1 << 20);
    let slow = Meter::Gcra(gcra("1/h", 1));
    let fast = Meter::Gcra(gcra("1000/s", 1));
    let kept: Vec<String> = (0..5_000).map(|key| format!("slow-{key}")).collect();
    for key in &kept {
        assert!(take(&table, key.as_bytes(), slow, at(THEN)));
    }
    let mut now = THEN;
    for key in 0..500_000_u32 {
        now += 1_000;
        take(&table, format!("fast-{key}").as_bytes(), fast, at(now));
    }
    let stats = table.stats();
    assert!(stats.bytes <= 1 << 20, "{stats:?}");
    assert_eq!(stats.evicted, 0);
    assert!(kept.iter().all(|key| !take(&table, key.as_bytes(), slow, at(now))));
}

#[test]
fn where_all_matter_those_that_matter_least_go_and_are_counted() {
    let table = Table::new(1 << 20);
    let meters = ["1/h", "1/m"].map(|rate| Meter::Gcra(gcra(rate, 1)));
    assert!(take(&table, b"dear", meters[0], at(THEN)));
    for key in 0..100_000_u32 {
        take(&table, &key.to_le_bytes(), meters[1], at(THEN));
    }
    let stats = table.stats();
    assert!(stats.bytes <= 1 << 20 && stats.evicted > 50_000, "{stats:?}");
    assert_eq!(stats.evicted + stats.entries as u64, 100_001);
    assert!(!take(&table, b"dear", meters[0], at(THEN)));
}

#[test]
fn sweeping_gives_memory_back() {
    let table = Table::new(10_000_000);
    let (short, long) = (Meter::Gcra(gcra("10/s", 1)), Meter::Gcra(gcra("1/h", 1)));
    for key in 0..100_000_u32 {
        take(&table, &key.to_le_bytes(), if key < 10 { long } else { short }, at(THEN));
    }
    let before = table.stats();
    table.sweep(at(THEN + SECOND));
    let after = table.stats();
    assert_eq!(after.entries, 10);
    assert!(after.bytes < before.bytes / 10, "{before:?} {after:?}");
}
