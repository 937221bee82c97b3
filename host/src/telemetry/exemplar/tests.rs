use std::{
    sync::atomic::{AtomicBool, AtomicUsize},
    thread,
};

use proptest::prelude::*;

use super::*;

/// All of whose words follow from the number, each in another way.
fn exemplar(number: u64) -> Exemplar {
    unpack([number | 1 << 63, !number, number.rotate_left(17), number.wrapping_mul(3), number])
}

#[test]
fn nothing_is_allocated_before_the_first_exemplar() {
    let store = Exemplars::new(3);
    assert!(store.is_empty());
    assert_eq!((store.read(0), store.iter().count()), (None, 0));
    assert_eq!(size_of::<Exemplars>(), 32);
    // Nor for what is not kept.
    assert_eq!(store.record(3, &exemplar(1)), Recorded::LeftOut);
    assert_eq!(store.record(0, &Exemplar { trace: [0; 16], ..exemplar(1) }), Recorded::LeftOut);
    assert!(store.is_empty());
}

#[test]
fn a_bucket_has_its_last_exemplar() {
    let store = Exemplars::new(2);
    assert_eq!(store.record(1, &exemplar(1)), Recorded::Kept);
    assert_eq!(store.record(1, &exemplar(2)), Recorded::Kept);
    assert_eq!((store.read(0), store.read(1), store.read(2)), (None, Some(exemplar(2)), None));
    assert_eq!(store.iter().collect::<Vec<_>>(), [(1, exemplar(2))]);
    assert_eq!(size_of_val(&**store.slots.get().unwrap()), 2 * 48);
}

#[test]
fn of_two_stores_the_later_exemplars_stay() {
    let (one, two) = (Exemplars::new(3), Exemplars::new(3));
    for (store, bucket, number) in [(&one, 0, 5), (&two, 0, 7), (&one, 1, 9), (&two, 1, 3), (&two, 2, 1)] {
        store.record(bucket, &exemplar(number));
    }
    one.absorb(&two);
    assert_eq!(one.iter().collect::<Vec<_>>(), [(0, exemplar(7)), (1, exemplar(9)), (2, exemplar(1))]);
    let empty = Exemplars::new(3);
    empty.absorb(&Exemplars::new(3));
    assert!(empty.is_empty());
}

#[test]
fn a_write_that_never_ends_costs_its_bucket_and_nothing_else() {
    let store = Exemplars::new(1);
    store.record(0, &exemplar(1));
    // As a thread leaves it that was stopped in the middle.
    store.slots.get().unwrap()[0].sequence.fetch_add(1, Ordering::SeqCst);
    assert_eq!(store.read(0), None);
    assert_eq!(store.record(0, &exemplar(2)), Recorded::LeftOut);
}

#[test]
fn the_number_goes_round_without_harm() {
    let slot = Slot::default();
    slot.sequence.store(u64::MAX - 1, Ordering::SeqCst);
    assert_eq!(slot.write(&[1; WORDS]), Recorded::Kept);
    assert_eq!(slot.write(&[2; WORDS]), Recorded::Kept);
    assert_eq!(slot.read(), Some([2; WORDS]));
}

/// Readers look until `writers` are through with as many exemplars each, and see none that was not written as a whole.
fn stress(writers: u64, each: u64) {
    let store = Exemplars::new(1);
    let (running, seen) = (AtomicBool::new(true), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while running.load(Ordering::Relaxed) {
                    if let Some(read) = store.read(0) {
                        // First, or a torn one would leave the other threads waiting.
                        seen.fetch_add(1, Ordering::Relaxed);
                        let number = read.time.0;
                        assert_eq!(read, exemplar(number), "torn");
                        assert!(writers > 1 || number >= last, "from {last} back to {number}");
                        last = number;
                    }
                }
            });
        }
        let handles: Vec<_> = (0..writers)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    let kept = |number: &u64| store.record(0, &exemplar(number * writers + writer)) == Recorded::Kept;
                    (0..each).filter(kept).count()
                })
            })
            .collect();
        let kept: Vec<usize> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
        // The last exemplar can be read, so the loop ends.
        while seen.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        running.store(false, Ordering::Relaxed);
        assert!(kept.iter().any(|kept| *kept > 0));
        assert!(writers > 1 || kept == [usize::try_from(each).unwrap()]);
    });
}

#[test]
fn readers_see_no_torn_exemplar_of_one_writer() {
    stress(1, 300_000);
}

#[test]
fn readers_see_no_torn_exemplar_of_several_writers() {
    stress(3, 100_000);
}

proptest! {
    #[test]
    fn an_exemplar_reads_back(trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), value in any::<u64>(), time in any::<u64>()) {
        let exemplar = Exemplar { trace, span, value, time: UnixTime(time) };
        prop_assert_eq!(unpack(pack(&exemplar)), exemplar);
    }
}
