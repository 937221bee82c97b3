//! The script in a real server, against this crate's own meters; and what it is asked.
//!
//! Each case has keys of its own, so that all share one server.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use fyke_peers::{Answer, RedisClient, RedisServer};
use proptest::prelude::*;

use super::{SECOND, THEN, at, gcra, quota};
use crate::redis::{Names, Order, Question, SCRIPT, Unsupported};
use crate::{Charge, Gcra, Leases, Meter, Operation, Outcome, Quota, Rate, Reading, State, StoreError, Window};

const MICRO: u64 = 1_000;

/// The server of one test, and a counter for keys that nobody else has.
struct Server {
    client: RefCell<RedisClient>,
    /// What it knows the script by.
    hash: Vec<u8>,
    next: Cell<u64>,
    _server: RedisServer,
}

impl Server {
    /// `None`: there is none on this machine, and that was said.
    fn start() -> Option<Self> {
        let server = RedisServer::start()?;
        let mut client = server.connect();
        let Answer::Bytes(hash) = client.call(&["SCRIPT", "LOAD", SCRIPT]) else { panic!("no hash") };
        Some(Self { client: RefCell::new(client), hash, next: Cell::new(0), _server: server })
    }

    fn call(&self, command: &[impl AsRef<[u8]>]) -> Answer {
        self.client.borrow_mut().call(command)
    }

    fn fresh(&self) -> Vec<u8> {
        self.next.set(self.next.get() + 1);
        format!("k{}", self.next.get()).into_bytes()
    }

    fn ask(&self, question: &Question) -> Outcome {
        let count = question.keys().len().to_string();
        let head = ["EVALSHA".as_bytes(), &self.hash, count.as_bytes()];
        let parts = question.keys().iter().chain(question.arguments()).map(Vec::as_slice);
        let command: Vec<&[u8]> = head.into_iter().chain(parts).collect();
        question.read(&numbers(self.call(&command))).unwrap()
    }

    fn at(&self, now: u64, orders: &[Order<'_>]) -> Outcome {
        self.ask(&Question::new(orders).unwrap().at(now / MICRO))
    }
}

fn numbers(answer: Answer) -> Vec<i64> {
    let Answer::List(answers) = answer else { panic!("{answer:?}") };
    let number = |answer| if let Answer::Integer(number) = answer { number } else { panic!("{answer:?}") };
    answers.into_iter().map(number).collect()
}

fn order<'a>(operation: Operation, key: &'a [u8], meters: &'a [Meter], cost: u64, lease: u64) -> Order<'a> {
    Order { charge: Charge { key, meters, cost, lease }, operation, advisory: false }
}

fn take<'a>(key: &'a [u8], meters: &'a [Meter], cost: u64) -> Order<'a> {
    order(Operation::Take, key, meters, cost, 1)
}

fn advisory(order: Order<'_>) -> Order<'_> {
    Order { advisory: true, ..order }
}

/// Of times that the script has in microseconds, and the reference in nanoseconds.
fn rounded(reading: Reading) -> Reading {
    let up = |time: u64| if time == u64::MAX { time } else { time.div_ceil(MICRO) * MICRO };
    Reading { retry_after: up(reading.retry_after), reset: up(reading.reset), wait: up(reading.wait), ..reading }
}

fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    proptest::test_runner::TestRunner::new(config)
}

/// What a request does, to several keys with several meters each.
#[derive(Debug, Clone)]
struct Step {
    /// In microseconds; backwards, too.
    later: i64,
    /// Which keys, by their number, what is done with them, and at what cost.
    orders: Vec<(usize, Operation, u64, bool)>,
}

const RATES: &[&str] = &[
    "1/s",
    "3/s",
    "7/s",
    "10000/s",
    "9999/s",
    "5000/m",
    "999983/d",
    "1M/d",
    "1/d",
    "17/250ms",
    "1G/s",
    "1/366d",
    "999999999999999/366d",
];

fn rate() -> impl Strategy<Value = Meter> {
    let debt = prop_oneof![Just(0), 1..200_u64];
    let queue = prop_oneof![3 => Just(0), 1 => 1..2_000_u64];
    (prop::sample::select(RATES), 1..30_u64, debt, queue).prop_map(|(rate, burst, debt, queue)| {
        Meter::Gcra(gcra(rate, burst).with_debt(debt).with_queue(queue * 1_000_000))
    })
}

fn window() -> impl Strategy<Value = Meter> {
    (1..20_u64, prop::sample::select(&["m", "h", "d"][..])).prop_map(|(limit, unit)| quota(&format!("{limit}/{unit}")))
}

fn meters() -> impl Strategy<Value = Vec<Vec<Meter>>> {
    prop::collection::vec(prop::collection::vec(prop_oneof![2 => rate(), 1 => window()], 1..4), 1..4)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let operation = prop_oneof![
        6 => Just(Operation::Take),
        1 => Just(Operation::Peek),
        1 => Just(Operation::Charge),
        1 => Just(Operation::Return),
    ];
    let order = (0..4_usize, operation, prop_oneof![6 => 1..4_u64, 1 => Just(0), 1 => 1..60_u64], any::<bool>());
    let later = prop_oneof![
        4 => 0..50_000_i64,
        4 => 0..2_000_000_i64,
        1 => 0..90_000_000_000_i64,
        1 => -90_000_000_000..0_i64,
    ];
    let step = (later, prop::collection::vec(order, 1..4)).prop_map(|(later, orders)| Step { later, orders });
    prop::collection::vec(step, 1..40)
}

/// The definition: a state for each meter of each key, and the functions of this crate.
#[derive(Default)]
struct Reference {
    states: HashMap<(usize, usize), State>,
}

impl Reference {
    fn apply(&mut self, keys: &[Vec<Meter>], orders: &[(usize, Operation, u64, bool)], now: u64) -> Outcome {
        let mut outcome = Outcome { admitted: true, readings: Vec::new() };
        let is_asked = |operation| matches!(operation, Operation::Take | Operation::Peek);
        let mut fits = Vec::new();
        for (key, operation, cost, advisory) in orders {
            let mut all = true;
            for (index, meter) in keys[*key].iter().enumerate().filter(|_| is_asked(*operation)) {
                let state = self.states.get(&(*key, index)).copied().unwrap_or_default();
                let reading = meter.take(state, *cost, at(now)).0;
                all &= reading.passes;
                outcome.readings.push(rounded(reading));
            }
            fits.push(all);
            outcome.admitted &= all || *advisory;
        }
        for ((key, operation, cost, _), fits) in orders.iter().zip(fits) {
            for (index, meter) in keys[*key].iter().enumerate() {
                let known = self.states.get(&(*key, index)).copied();
                let state = known.unwrap_or_default();
                let passes = meter.take(state, *cost, at(now)).0.passes;
                let after = match operation {
                    Operation::Take if outcome.admitted && fits => {
                        (*cost > 0).then(|| meter.take(state, *cost, at(now)).1)
                    }
                    Operation::Take if !passes => known.and_then(|state| meter.settle(state, at(now))),
                    Operation::Charge => (*cost > 0).then(|| meter.charge(state, *cost, at(now))),
                    Operation::Return => known.filter(|_| *cost > 0).map(|state| meter.give(state, *cost, 0, at(now))),
                    _ => None,
                };
                if let Some(after) = after {
                    self.states.insert((*key, index), after);
                }
            }
        }
        outcome
    }
}

/// Rates and quotas, in any combination, of clocks that jump: every decision, and everything that is said of it.
#[test]
fn it_decides_as_the_meters_do() {
    let Some(server) = Server::start() else { return };
    runner(150)
        .run(&(meters(), steps()), |(keys, steps)| {
            let names: Vec<Vec<u8>> = keys.iter().map(|_| server.fresh()).collect();
            let (mut reference, mut now) = (Reference::default(), THEN);
            for step in steps {
                now = now.checked_add_signed(step.later * 1_000).unwrap();
                let mut orders: Vec<(usize, Operation, u64, bool)> = Vec::new();
                for (key, operation, cost, advisory) in step.orders {
                    // Keys of one call are different.
                    let key = key % keys.len();
                    if orders.iter().all(|(known, ..)| *known != key) {
                        orders.push((key, operation, cost, advisory));
                    }
                }
                let expected = reference.apply(&keys, &orders, now);
                let asked: Vec<Order<'_>> = orders
                    .iter()
                    .map(|(key, operation, cost, advisory)| Order {
                        advisory: *advisory,
                        ..order(*operation, &names[*key], &keys[*key], *cost, 0)
                    })
                    .collect();
                prop_assert_eq!(server.at(now, &asked), expected);
            }
            Ok(())
        })
        .unwrap();
}

/// Leases against a list of them: each is forgotten when its time is up, and given back once.
#[test]
fn it_counts_those_that_are_there() {
    let Some(server) = Server::start() else { return };
    let (limit, expiry) = (4_u64, 10 * SECOND);
    let meters = [Meter::Leases(Leases { limit, expiry })];
    let step = (0..3 * SECOND / MICRO, 0..10_u8, any::<prop::sample::Index>());
    runner(60)
        .run(&prop::collection::vec(step, 1..60), |steps| {
            let (key, mut now) = (server.fresh(), THEN);
            // When each was taken, under which name.
            let (mut held, mut ever) = (Vec::<(u64, u64)>::new(), Vec::<u64>::new());
            for (later, what, which) in steps {
                now += later * MICRO;
                held.retain(|(since, _)| now - since < expiry);
                let count = held.len() as u64;
                match what {
                    0..5 => {
                        let lease = ever.len() as u64 + 1;
                        let outcome = server.at(now, &[order(Operation::Take, &key, &meters, 1, lease)]);
                        prop_assert_eq!(outcome.admitted, count < limit);
                        let reading = outcome.readings[0];
                        let remaining = if outcome.admitted { limit - count - 1 } else { 0 };
                        prop_assert_eq!((reading.remaining, reading.lease, reading.reset), (remaining, lease, expiry));
                        prop_assert_eq!(reading.retry_after, if outcome.admitted { 0 } else { SECOND });
                        ever.push(lease);
                        if outcome.admitted {
                            held.push((now, lease));
                        }
                    }
                    // Given back once, or twice, or although it was refused: by whoever does not know.
                    5..9 if !ever.is_empty() => {
                        let lease = *which.get(&ever);
                        let operation = if what == 5 { Operation::Return } else { Operation::Release };
                        prop_assert_eq!(server.at(now, &[order(operation, &key, &meters, 1, lease)]).readings, []);
                        held.retain(|(_, known)| *known != lease);
                    }
                    _ => {
                        let outcome = server.at(now, &[order(Operation::Peek, &key, &meters, 0, 0)]);
                        prop_assert_eq!((outcome.admitted, outcome.readings[0].remaining), (true, limit - count));
                    }
                }
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn where_one_refuses_none_is_charged_and_who_has_no_say_is_in_nobodys_way() {
    let Some(server) = Server::start() else { return };
    let wide = [Meter::Gcra(gcra("100/s", 100)), quota("50/h")];
    let narrow = [Meter::Leases(Leases { limit: 1, expiry: SECOND })];
    let both = |lease| [take(b"wide", &wide, 2), order(Operation::Take, b"narrow", &narrow, 1, lease)];
    assert!(server.at(THEN, &both(1)).admitted);
    let refused = server.at(THEN, &both(2));
    assert!(!refused.admitted);
    assert_eq!(refused.readings.iter().map(|reading| reading.passes).collect::<Vec<_>>(), [true, true, false]);
    let remaining = || server.at(THEN, &[order(Operation::Peek, b"wide", &wide, 0, 0)]).readings[1].remaining;
    assert_eq!(remaining(), 48);
    // As a shadow it is asked, and not taken.
    let [one, other] = both(2);
    assert!(server.at(THEN, &[one, advisory(other)]).admitted);
    assert_eq!(remaining(), 46);
    // A shadow that fits is taken where the others are, and is not where they are not.
    let shadow = advisory(take(b"shadow", &wide, 1));
    assert!(server.at(THEN, &[one, shadow]).admitted && !server.at(THEN, &[other, shadow]).admitted);
    let seen = server.at(THEN, &[order(Operation::Peek, b"shadow", &wide, 0, 0)]);
    assert_eq!(seen.readings[1].remaining, 49);
    // What must fit and is not taken.
    let looks = order(Operation::Peek, b"wide", &wide, 45, 0);
    assert!(!server.at(THEN, &[looks, take(b"other", &wide, 1)]).admitted);
    assert_eq!(remaining(), 44);
}

#[test]
fn keys_go_by_themselves_by_the_servers_own_clock() {
    let Some(server) = Server::start() else { return };
    let meters = [Meter::Gcra(gcra("1/10s", 5)), quota("9/d"), Meter::Leases(Leases { limit: 9, expiry: 60 * SECOND })];
    let outcome = server.ask(&Question::new(&[take(b"a:b", &meters, 1)]).unwrap());
    assert!(outcome.admitted);
    let left = |key: &str| match server.call(&["PTTL", key]) {
        Answer::Integer(left) => left,
        other => panic!("{other:?}"),
    };
    for (key, most) in [("a:b:r0", 10_002), ("a:b:q1", 86_400_002), ("a:b:c2", 60_002)] {
        // Negative: it is not there, or stays for ever.
        assert!((1..=most).contains(&left(key)), "{key}: {}", left(key));
    }
    assert!(left("a:b:r0") > 9_000 && left("a:b:c2") > 59_000);
    assert_eq!(server.call(&["DBSIZE"]), Answer::Integer(3));
    // Given back, nothing of leases is left.
    let _ = server.ask(&Question::new(&[order(Operation::Release, b"a:b", &meters, 1, 1)]).unwrap());
    assert_eq!(server.call(&["EXISTS", "a:b:c2", "a:b:r0"]), Answer::Integer(1));
    // The window that is told is the calendar's.
    let Answer::List(time) = server.call(&["TIME"]) else { panic!("no time") };
    let Answer::Bytes(seconds) = &time[0] else { panic!("no seconds") };
    let seconds: u64 = String::from_utf8_lossy(seconds).parse().unwrap();
    assert!(outcome.readings[1].reset.abs_diff((86_400 - seconds % 86_400) * SECOND) < 10 * SECOND);
}

#[test]
fn what_is_not_ours_is_an_error() {
    let Some(server) = Server::start() else { return };
    server.call(&["LPUSH", "x:r0", "1"]);
    let question = Question::new(&[take(b"x", &[Meter::Gcra(gcra("1/s", 1))], 1)]).unwrap();
    let command =
        [vec![b"EVAL".to_vec(), SCRIPT.into(), b"1".to_vec()], question.keys().to_vec(), question.arguments().to_vec()];
    let Answer::Error(error) = server.call(&command.concat()) else { panic!("no error") };
    assert!(error.contains("WRONGTYPE"), "{error}");
    // A state that is none is as if it were not there.
    server.call(&["SET", "y:r0", "gibberish"]);
    assert!(server.at(THEN, &[take(b"y", &[Meter::Gcra(gcra("1/s", 1))], 1)]).admitted);
}

#[test]
fn replies_that_are_none_are_refused() {
    let meters = [Meter::Gcra(gcra("1/s", 2)), quota("3/m")];
    let question = Question::new(&[take(b"k", &meters, 1)]).unwrap();
    let now = (THEN / MICRO).cast_signed();
    let end = now - now % 60_000_000 + 60_000_000;
    let good = [1, now, 500_000, 0, end, 1];
    let outcome = question.read(&good).unwrap();
    assert_eq!(outcome.readings[0].remaining, 0);
    assert_eq!((outcome.readings[0].reset, outcome.readings[1].remaining), (1_500_000_000, 1));
    for bad in [&[][..], &good[..5], &[1, now, -1, 0, end, 1], &[0, now, 0, 0, end, 1], &[1, now, 0, 0, end, 3]] {
        assert_eq!(question.read(bad), Err(StoreError::Malformed), "{bad:?}");
    }
    assert_eq!(question.read(&[&good[..], &[0]].concat()), Err(StoreError::Malformed));
    assert!(!question.read(&[0, now, 0, 0, end, 3]).unwrap().admitted);
}

#[test]
fn what_a_double_cannot_count_is_refused_and_nothing_that_a_limit_says_is() {
    let odd = Gcra::from_parts([999_999_999_999_989, 7, 1, 0, 0]).unwrap();
    let window = Window { limit: 1, period: 1_500 };
    for meter in [Meter::Gcra(odd), Meter::Window(window), Meter::Leases(Leases { limit: 1, expiry: 10 })] {
        assert_eq!(Question::check(&[meter]), Err(Unsupported));
        assert!(Question::new(&[take(b"k", &[meter], 1)]).is_err());
    }
    for rate in RATES.iter().chain(&["1000000000000000/ms", "999999999999999/366d", "1/ms"]) {
        let rate = Rate::parse(rate).unwrap();
        assert_eq!(Question::check(&[Meter::Gcra(Gcra::new(rate, rate.amount).with_queue(1_000_000))]), Ok(()));
    }
    assert_eq!(Question::check(&[Meter::Window(Window::new(Quota::parse("1000000000000000/d").unwrap()))]), Ok(()));
}

#[test]
fn only_what_an_operation_is_about_is_asked() {
    let meters = [Meter::Gcra(gcra("1/s", 1)), Meter::Leases(Leases { limit: 1, expiry: SECOND })];
    let keys = |operation, lease| {
        let question = Question::new(&[order(operation, b"k", &meters, 1, lease)]).unwrap();
        question.keys().iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys(Operation::Take, 7), ["k:r0", "k:c1"]);
    assert_eq!(keys(Operation::Charge, 7), ["k:r0"]);
    assert_eq!(keys(Operation::Release, 7), ["k:c1"]);
    assert_eq!(keys(Operation::Return, 7), ["k:r0", "k:c1"]);
    assert_eq!(keys(Operation::Return, 0), ["k:r0"]);
    assert!(keys(Operation::Release, 0).is_empty());
    let nothing = Question::new(&[order(Operation::Release, b"k", &meters, 1, 0)]).unwrap();
    assert!(nothing.is_empty());
}

fn name(prefix: &str, parts: &[&[u8]]) -> String {
    let mut names = Names::new(prefix);
    names.clear();
    parts.iter().for_each(|part| names.push(part));
    String::from_utf8(names.name().to_vec()).unwrap()
}

#[test]
fn names_are_readable_and_say_what_was_meant() {
    assert_eq!(name("fyke:limit:", &[b"shop", b"tenant", b"blue/1"]), "fyke:limit:shop:tenant:blue/1");
    assert_eq!(name("{x}:", &[b"", b"a"]), "{x}::a");
    assert_eq!(name("", &[b"a:b{c}%# \xff"]), "a%3Ab%7Bc%7D%25%23%20%FF");
    // `printf %065d 0 | sha256sum`
    assert_eq!(name("p:", &[&[b'0'; 65]]), "p:#e531ef0f962409170917abf9de3287af");
    let mut names = Names::new("p:");
    for part in ["one", "two"] {
        names.clear();
        names.push(part.as_bytes());
        assert_eq!(names.name(), format!("p:{part}").as_bytes());
    }
}

proptest! {
    #[test]
    fn different_parts_have_different_names_of_bounded_length(
        one in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 2..12),
        other in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b':'), Just(b'#'), Just(b'%'), Just(b'a')], 0..4), 2..5),
        others in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b':'), Just(b'#'), Just(b'%'), Just(b'a')], 0..4), 2..5),
    ) {
        let of = |parts: &[Vec<u8>]| name("p:", &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert!(of(&one).len() <= 2 + 512 + 40);
        let fits = |byte: u8| byte.is_ascii_graphic() && !b"{}".contains(&byte);
        prop_assert!(of(&one).bytes().all(fits));
        prop_assert_eq!(of(&other) == of(&others), other == others);
        let longer = [&one[..], &[b"x".to_vec()]].concat();
        prop_assert_ne!(of(&one), of(&longer));
    }
}

proptest! {
    /// In the long run all peers together let through what the limit says.
    #[test]
    fn peers_share_a_rate(rate in prop::sample::select(RATES), burst in 1..100_u64, peers in 1..50_u64) {
        let whole = gcra(rate, burst);
        let [count, period, share, ..] = whole.divided(peers).parts();
        let [of, per, ..] = whole.parts();
        prop_assert_eq!(share, burst.div_ceil(peers));
        // count/period * peers = of/per, unless ten years are not long enough.
        if period < 10 * 366 * 86_400 * SECOND {
            prop_assert_eq!(u128::from(count) * u128::from(peers) * u128::from(per), u128::from(of) * u128::from(period));
        }
        prop_assert_eq!(quota("10/m").divided(3).limit(), 4);
        prop_assert_eq!(Meter::Leases(Leases { limit: 2, expiry: 1 }).divided(5).limit(), 1);
    }
}
