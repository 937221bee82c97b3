use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

const START: UnixTime = UnixTime(10);

fn counter(tracker: &mut Tracker, name: &str, now: i64) -> Result<Number, DropReason> {
    tell(tracker, name, Number::Integer(now))
}

fn tell(tracker: &mut Tracker, name: &str, now: Number) -> Result<Number, DropReason> {
    tracker.counter(&Id { kind: b'c', name, labels: &Vec::new() }, START, now)
}

fn whole(number: i64) -> Result<Number, DropReason> {
    Ok(Number::Integer(number))
}

fn histogram(tracker: &mut Tracker, bounds: &[f64], counts: &[u64], sum: f64) -> (Vec<u64>, f64) {
    let reading = Histogram::new(bounds.into(), counts.to_vec(), sum).unwrap();
    let Observed { counts, sum } =
        tracker.histogram(&Id { kind: b'h', name: "h", labels: &Vec::new() }, START, &reading).unwrap();
    (counts, sum)
}

fn flush(tracker: &mut Tracker) -> Vec<String> {
    let ended = tracker.finish();
    tracker.begin();
    ended
}

fn tracker() -> Tracker {
    let mut tracker = Tracker::new(1 << 20);
    tracker.begin();
    tracker
}

#[test]
fn a_counter_tells_what_is_new_and_all_after_it_began_anew() {
    let mut tracker = tracker();
    for (now, told) in [(5, 5), (5, 0), (12, 7), (3, 3), (4, 1)] {
        assert_eq!(counter(&mut tracker, "a", now), whole(told));
        flush(&mut tracker);
    }
}

#[test]
fn a_later_start_is_a_new_beginning_even_where_the_number_is_higher() {
    let mut tracker = tracker();
    let labels = Vec::new();
    let id = Id { kind: b'c', name: "a", labels: &labels };
    assert_eq!(tracker.counter(&id, UnixTime(1), 5_i64.into()), whole(5));
    flush(&mut tracker);
    assert_eq!(tracker.counter(&id, UnixTime(2), 8_i64.into()), whole(8));
    flush(&mut tracker);
    assert_eq!(tracker.counter(&id, UnixTime(2), 9_i64.into()), whole(1));
}

#[test]
fn fractions_and_whole_numbers_go_together() {
    let mut tracker = tracker();
    for (now, told) in [(Number::Float(0.5), 0.5), (Number::Float(0.75), 0.25), (Number::Integer(2), 1.25)] {
        assert_eq!(tell(&mut tracker, "a", now), Ok(Number::Float(told)));
        flush(&mut tracker);
    }
    assert_eq!(tell(&mut tracker, "a", Number::Float(2.5)), Ok(Number::Float(0.5)));
}

#[test]
fn what_no_counter_can_be_is_refused_and_leaves_no_trace() {
    let mut tracker = tracker();
    for number in [Number::Float(f64::NAN), Number::Float(f64::INFINITY), Number::Integer(-1), Number::Float(-0.5)] {
        assert_eq!(tell(&mut tracker, "a", number), Err(DropReason::Number));
    }
    assert_eq!(tracker.bytes(), 0);
    assert_eq!(counter(&mut tracker, "a", 1), whole(1));
    assert_eq!(counter(&mut tracker, "a", 2), Err(DropReason::Duplicate));
    flush(&mut tracker);
    assert_eq!(counter(&mut tracker, "a", 2), whole(1));
}

#[test]
fn kind_name_and_labels_tell_series_apart() {
    let mut tracker = tracker();
    let label = |name, value| vec![(name, Cow::Borrowed(value))];
    for (kind, name, labels) in [
        (b'c', "a", Vec::new()),
        (b'c', "ab", Vec::new()),
        (b'c', "a", label("b", "c")),
        (b'c', "a", label("bc", "")),
        (b'x', "a", Vec::new()),
    ] {
        assert_eq!(tracker.counter(&Id { kind, name, labels: &labels }, START, 1_i64.into()), whole(1));
    }
}

#[test]
fn a_histogram_tells_what_is_new_and_all_after_it_began_anew_or_has_other_bounds() {
    let mut tracker = tracker();
    assert_eq!(histogram(&mut tracker, &[1.0], &[1, 2], 9.0), (vec![1, 2], 9.0));
    flush(&mut tracker);
    assert_eq!(histogram(&mut tracker, &[1.0], &[1, 4], 15.0), (vec![0, 2], 6.0));
    flush(&mut tracker);
    assert_eq!(histogram(&mut tracker, &[1.0], &[5, 3], 11.0), (vec![5, 3], 11.0));
    flush(&mut tracker);
    assert_eq!(histogram(&mut tracker, &[2.0], &[6, 4], 12.0), (vec![6, 4], 12.0));
    flush(&mut tracker);
    let bytes = tracker.bytes();
    assert_eq!(histogram(&mut tracker, &[2.0, 3.0], &[6, 4, 1], 14.0), (vec![6, 4, 1], 14.0));
    assert_eq!(tracker.bytes(), bytes + 8);
}

#[test]
fn a_series_that_comes_back_is_told_from_where_it_was_unless_it_was_gone_for_long() {
    let mut tracker = tracker();
    assert_eq!(counter(&mut tracker, "a", 100), whole(100));
    for _ in 0..KEPT {
        flush(&mut tracker);
    }
    assert_eq!(counter(&mut tracker, "a", 101), whole(1));
    for _ in 0..=KEPT {
        flush(&mut tracker);
    }
    assert_ne!(tracker.bytes(), 0);
    flush(&mut tracker);
    assert_eq!(tracker.bytes(), 0);
    assert_eq!(counter(&mut tracker, "a", 102), whole(102));
}

#[test]
fn the_end_of_a_gauge_is_told_once() {
    let mut tracker = tracker();
    let labels = Vec::new();
    let id = Id { kind: b'g', name: "a", labels: &labels };
    assert_eq!(tracker.gauge(&id, || "line".to_owned()), Ok(()));
    assert_eq!(tracker.gauge(&id, || "line".to_owned()), Err(DropReason::Duplicate));
    assert!(flush(&mut tracker).is_empty());
    assert_eq!(tracker.gauge(&id, || panic!("it is known")), Ok(()));
    assert!(flush(&mut tracker).is_empty());
    assert_eq!(flush(&mut tracker), ["line"]);
    assert!(flush(&mut tracker).is_empty());
    assert_eq!(tracker.bytes(), 0);
}

#[test]
fn memory_is_bounded_and_what_is_gone_makes_room() {
    let mut tracker = Tracker::new(1000);
    tracker.begin();
    let told = |tracker: &mut Tracker, names: std::ops::Range<usize>| {
        names.filter(|name| counter(tracker, &format!("{name:03}"), 1).is_ok()).count()
    };
    let fit = told(&mut tracker, 0..100);
    assert!((2..100).contains(&fit), "{fit}");
    assert!(tracker.bytes() <= 1000);
    assert_eq!(counter(&mut tracker, "one more", 1), Err(DropReason::Memory));
    // They were there in the last flush: they may be there in this one.
    flush(&mut tracker);
    assert_eq!(told(&mut tracker, 200..300), 0);
    flush(&mut tracker);
    assert_eq!(told(&mut tracker, 200..300), fit);
    assert!(tracker.bytes() <= 1000);
}

#[test]
fn what_was_refused_is_not_told_as_if_it_were_new() {
    let mut tracker = Tracker::new(200);
    tracker.begin();
    assert_eq!(counter(&mut tracker, "first", 5), whole(5));
    assert_eq!(counter(&mut tracker, "second", 700), Err(DropReason::Memory));
    flush(&mut tracker);
    assert_eq!(counter(&mut tracker, "second", 800), Err(DropReason::Memory));
    // The first is gone by now.
    flush(&mut tracker);
    assert_eq!(counter(&mut tracker, "second", 900), whole(0));
    flush(&mut tracker);
    assert_eq!(counter(&mut tracker, "second", 901), whole(1));
}

proptest! {
    #[test]
    fn what_is_told_adds_up_to_what_was_counted(steps in prop::collection::vec((0_i64..1000, any::<bool>()), 1..50)) {
        let mut tracker = tracker();
        let (mut now, mut counted, mut told) = (0_i64, 0_i64, 0_i64);
        for (more, anew) in steps {
            // A new beginning is only seen where less is counted than before.
            if anew && more < now { now = more } else { now += more }
            counted += more;
            let Ok(Number::Integer(since)) = counter(&mut tracker, "a", now) else { panic!("refused") };
            told += since;
            flush(&mut tracker);
        }
        prop_assert_eq!(told, counted);
    }
}
