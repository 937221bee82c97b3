use std::{
    io,
    sync::atomic::{AtomicI64, AtomicUsize, Ordering},
};

use tokio::{
    net::{UdpSocket, UnixDatagram},
    task::JoinHandle,
    time::advance,
};

use super::*;
use crate::telemetry::{
    otlp::stop::{self, Stopper},
    statsd::{
        network::{Address, System},
        statistics::FailureReason,
        testing::{Fake, Fate, counter, gauge},
    },
};

/// Numbers of which the readings are made.
#[derive(Default)]
struct Source {
    count: AtomicI64,
    /// How many gauges there are beside the counter.
    gauges: AtomicUsize,
    reads: AtomicUsize,
}

struct Bed {
    fake: Arc<Fake>,
    source: Arc<Source>,
    statistics: Arc<Statistics>,
    stopper: Stopper,
    task: JoinHandle<()>,
}

impl Bed {
    fn new(target: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let fake = Fake::new();
        let mut settings = Settings::new(target.parse().unwrap());
        change(&mut settings);
        let source = Arc::new(Source { count: AtomicI64::new(1000), ..Source::default() });
        let statistics = Arc::new(Statistics::default());
        let (stopper, stop) = stop::channel();
        let read = {
            let source = Arc::clone(&source);
            move || {
                source.reads.fetch_add(1, Ordering::SeqCst);
                let gauges =
                    (0..source.gauges.load(Ordering::SeqCst)).map(|at| gauge(&format!("fyke_g{at:04}"), 1_i64));
                let count = counter("fyke_c", source.count.load(Ordering::SeqCst));
                gauges.chain([count]).collect::<Vec<_>>()
            }
        };
        let exporter = Exporter::new(settings, read, Arc::clone(&statistics), &fake.environment()).unwrap();
        let task = tokio::spawn(exporter.run(stop));
        Self { fake, source, statistics, stopper, task }
    }

    fn count(&self, more: i64) {
        self.source.count.fetch_add(more, Ordering::SeqCst);
    }

    /// Until the next flush is over.
    async fn flushed(&self) {
        let before = self.statistics.flushes();
        while self.statistics.flushes() == before {
            assert!(!self.task.is_finished(), "the exporter has ended");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(self, grace: Duration) -> (Arc<Fake>, Arc<Statistics>) {
        self.stopper.stop(grace);
        self.task.await.unwrap();
        (self.fake, self.statistics)
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_before_is_not_told_and_the_last_flush_tells_the_rest() {
    let bed = Bed::new("127.0.0.1:1", |_| {});
    yield_now().await;
    assert_eq!(bed.source.reads.load(Ordering::SeqCst), 1);
    bed.count(5);
    bed.flushed().await;
    assert_eq!(bed.fake.lines(), ["fyke.c:5|c"]);
    bed.count(2);
    let (fake, statistics) = bed.end(Duration::from_secs(1)).await;
    assert_eq!(fake.lines(), ["fyke.c:2|c"]);
    assert_eq!((statistics.lines(), statistics.datagrams(), statistics.bytes()), (2, 2, 20));
}

#[tokio::test(start_paused = true)]
async fn the_first_flush_is_somewhere_in_the_first_interval_and_the_others_follow_it() {
    let bed = Bed::new("127.0.0.1:1", |_| {});
    let begun = Instant::now();
    for after in [5, 15, 25] {
        bed.flushed().await;
        assert!(
            begun.elapsed().abs_diff(Duration::from_secs(after)) < Duration::from_millis(3),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn datagrams_are_filled_up_to_their_limit_and_a_line_that_never_fits_is_counted() {
    let bed = Bed::new("127.0.0.1:1", |settings| {
        settings.datagram = 128;
        settings.prefix = "p".repeat(100);
    });
    bed.source.gauges.store(3, Ordering::SeqCst);
    bed.flushed().await;
    let sent = bed.fake.sent();
    assert_eq!(sent.len(), 3);
    let (_, statistics) = bed.end(Duration::from_secs(1)).await;
    assert_eq!(statistics.dropped(DropReason::TooLong), 0);

    let bed = Bed::new("127.0.0.1:1", |settings| settings.datagram = 128);
    bed.source.gauges.store(20, Ordering::SeqCst);
    bed.flushed().await;
    let sent = bed.fake.sent();
    assert_eq!(sent.iter().map(|(_, datagram)| datagram.lines().count()).sum::<usize>(), 20);
    assert!(sent.len() < 5 && sent.iter().all(|(_, datagram)| datagram.len() <= 128));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_longer_than_a_datagram_is_dropped_and_counted() {
    let fake = Fake::new();
    let statistics = Arc::new(Statistics::default());
    let (stopper, stop) = stop::channel();
    let read = || vec![gauge(&"x".repeat(2000), 1_i64), gauge("fyke_b", 2_i64)];
    let settings = Settings::new("127.0.0.1:1".parse().unwrap());
    let exporter = Exporter::new(settings, read, Arc::clone(&statistics), &fake.environment()).unwrap();
    stopper.stop(Duration::from_secs(1));
    exporter.run(stop).await;
    assert_eq!(fake.lines(), ["fyke.b:2|g"]);
    assert_eq!((statistics.lines(), statistics.dropped(DropReason::TooLong)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_the_rest_of_the_flush_is_dropped_and_the_next_opens_anew() {
    let bed = Bed::new("127.0.0.1:1", |settings| settings.datagram = 128);
    bed.source.gauges.store(60, Ordering::SeqCst);
    bed.fake.fates([Fate::Fails(io::ErrorKind::ConnectionRefused)]);
    bed.flushed().await;
    assert!(bed.fake.sent().is_empty());
    assert_eq!(bed.fake.opened(), 1);
    assert_eq!((bed.statistics.lines(), bed.statistics.dropped(DropReason::Failed)), (0, 60));
    assert_eq!(bed.statistics.failures(FailureReason::Refused), 1);
    bed.flushed().await;
    assert_eq!((bed.fake.opened(), bed.fake.lines().len()), (2, 60));
}

#[tokio::test(start_paused = true)]
async fn what_is_counted_while_the_server_is_gone_is_not_told_later() {
    let bed = Bed::new("127.0.0.1:1", |_| {});
    bed.fake.fates([Fate::Fails(io::ErrorKind::ConnectionRefused)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bed.count(7);
    bed.flushed().await;
    bed.count(1);
    bed.flushed().await;
    assert_eq!(bed.fake.lines(), ["fyke.c:1|c"]);
}

#[tokio::test(start_paused = true)]
async fn a_datagram_that_is_too_large_is_passed_over() {
    let bed = Bed::new("127.0.0.1:1", |settings| settings.datagram = 128);
    bed.source.gauges.store(30, Ordering::SeqCst);
    bed.fake.fates([Fate::FailsBy(90)]);
    bed.flushed().await;
    let sent = u64::try_from(bed.fake.lines().len()).unwrap();
    assert!(sent > 0);
    assert_eq!(bed.statistics.dropped(DropReason::Failed), 30 - sent);
    assert_eq!((bed.statistics.failures(FailureReason::TooLarge), bed.fake.opened()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_socket_without_room_holds_up_one_flush_for_a_second() {
    let bed = Bed::new("unix:/run/dsd.socket", |settings| settings.datagram = 128);
    bed.source.gauges.store(30, Ordering::SeqCst);
    bed.fake.fates([Fate::Hangs]);
    let begun = Instant::now();
    bed.flushed().await;
    assert!(begun.elapsed() < Duration::from_millis(6010));
    assert_eq!(bed.statistics.failures(FailureReason::Timeout), 1);
    assert_eq!(bed.statistics.dropped(DropReason::Failed), 30);
    bed.flushed().await;
    assert_eq!(bed.fake.lines().len(), 30);
}

#[tokio::test(start_paused = true)]
async fn what_the_network_says_afterwards_counts_and_costs_nothing() {
    let bed = Bed::new("127.0.0.1:1", |_| {});
    bed.source.gauges.store(1, Ordering::SeqCst);
    bed.flushed().await;
    bed.fake.complain(io::ErrorKind::ConnectionRefused);
    bed.flushed().await;
    assert_eq!(bed.fake.lines().len(), 2);
    assert_eq!((bed.statistics.failures(FailureReason::Refused), bed.fake.opened()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_address_of_which_the_network_complains_is_tried_last() {
    let bed = Bed::new("statsd:1", |settings| settings.refresh = Duration::from_hours(1));
    bed.source.gauges.store(1, Ordering::SeqCst);
    bed.fake.answer(&["10.0.0.1:1", "10.0.0.2:1"]);
    bed.flushed().await;
    bed.fake.complain(io::ErrorKind::ConnectionRefused);
    bed.flushed().await;
    let hosts: Vec<String> = bed.fake.sent().iter().map(|(address, _)| address.to_string()).collect();
    assert_eq!(hosts, ["10.0.0.1:1", "10.0.0.2:1"]);
}

#[tokio::test(start_paused = true)]
async fn another_address_of_the_name_is_tried_where_one_does_not_work() {
    let udp = |address: &str| Address::Udp(address.parse().unwrap());
    let bed = Bed::new("statsd:1", |settings| settings.refresh = Duration::from_hours(1));
    bed.source.gauges.store(1, Ordering::SeqCst);
    bed.fake.refuse(&[udp("[fe80::1]:1")]);
    bed.fake.answer(&["[fe80::1]:1", "10.0.0.1:1", "10.0.0.2:1"]);
    bed.fake.fates([Fate::Fails(io::ErrorKind::ConnectionRefused)]);
    bed.flushed().await;
    bed.flushed().await;
    assert_eq!(bed.fake.sent(), [(udp("10.0.0.2:1"), "fyke.g0000:1|g".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn the_first_flush_waits_for_an_address_as_long_as_an_interval() {
    for (answered, first) in [(2, 5), (7, 7), (11, 10)] {
        let bed = Bed::new("statsd:1", |_| {});
        bed.source.gauges.store(1, Ordering::SeqCst);
        let begun = Instant::now();
        let answer = async {
            tokio::time::sleep(Duration::from_secs(answered)).await;
            bed.fake.answer(&["10.0.0.1:1"]);
        };
        tokio::join!(answer, async {
            bed.flushed().await;
            assert!(begun.elapsed().abs_diff(Duration::from_secs(first)) < Duration::from_millis(3));
        });
        assert_eq!(bed.statistics.lines(), u64::from(first != 10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_address_is_sent_to_and_a_hanging_lookup_holds_up_nothing() {
    let bed = Bed::new("statsd:1", |settings| settings.refresh = Duration::from_secs(12));
    bed.source.gauges.store(1, Ordering::SeqCst);
    bed.flushed().await;
    assert_eq!(bed.statistics.failures(FailureReason::Unknown), 1);
    assert_eq!(bed.statistics.dropped(DropReason::Failed), 1);
    for host in ["10.0.0.1:1", "10.0.0.2:1"] {
        bed.fake.answer(&[host]);
        bed.flushed().await;
        assert_eq!(bed.fake.sent()[0].0, Address::Udp(host.parse().unwrap()));
        // The lookup is under way by now, and hangs.
        bed.flushed().await;
        assert_eq!(bed.fake.sent()[0].0, Address::Udp(host.parse().unwrap()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_an_address_and_for_a_socket_only_as_long_as_it_may() {
    let bed = Bed::new("statsd:1", |_| {});
    bed.source.gauges.store(1, Ordering::SeqCst);
    yield_now().await;
    let begun = Instant::now();
    let (_, statistics) = bed.end(Duration::from_secs(3)).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    assert_eq!(statistics.dropped(DropReason::Failed), 1);

    let bed = Bed::new("unix:/a", |settings| settings.datagram = 128);
    bed.source.gauges.store(20, Ordering::SeqCst);
    bed.fake.fates([Fate::Hangs]);
    yield_now().await;
    let begun = Instant::now();
    let (_, statistics) = bed.end(Duration::from_millis(300)).await;
    assert_eq!(begun.elapsed(), Duration::from_millis(300));
    assert_eq!(statistics.dropped(DropReason::Shutdown), 20);

    let bed = Bed::new("statsd:1", |_| {});
    bed.source.gauges.store(1, Ordering::SeqCst);
    yield_now().await;
    bed.fake.answer(&["10.0.0.1:1"]);
    let (fake, _) = bed.end(Duration::from_secs(3)).await;
    assert_eq!(fake.lines().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_stopper_it_ends_at_once_and_counts_what_it_did_not_send() {
    let bed = Bed::new("127.0.0.1:1", |_| {});
    bed.source.gauges.store(4, Ordering::SeqCst);
    yield_now().await;
    drop(bed.stopper);
    bed.task.await.unwrap();
    assert!(bed.fake.sent().is_empty());
    assert_eq!(bed.statistics.dropped(DropReason::Shutdown), 4);
}

#[tokio::test(start_paused = true)]
async fn many_datagrams_are_not_sent_in_one_burst() {
    let bed = Bed::new("127.0.0.1:1", |settings| settings.datagram = 128);
    bed.source.gauges.store(1000, Ordering::SeqCst);
    advance(Duration::from_secs(4)).await;
    let begun = Instant::now();
    bed.flushed().await;
    assert_eq!(bed.fake.lines().len(), 1000);
    assert!(bed.statistics.datagrams() > 100);
    assert!(begun.elapsed() >= Duration::from_secs(1) + Duration::from_millis(bed.statistics.datagrams() / 32));
}

#[tokio::test]
async fn lines_arrive_at_a_real_server_over_udp_and_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let (udp, unix) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UnixDatagram::bind(&path).unwrap());
    let export = async |target: String, dog: bool| {
        let target = target.parse().unwrap();
        let settings = if dog { Settings::dog(target) } else { Settings::new(target) };
        let environment = Environment { network: Arc::new(System), random: || 0 };
        let (stopper, stop) = stop::channel();
        stopper.stop(Duration::from_secs(10));
        let read = || vec![gauge("fyke_a", -4_i64), gauge("fyke_b", 2_i64)];
        Exporter::new(settings, read, Arc::default(), &environment).unwrap().run(stop).await;
    };
    let mut buffer = [0; 2000];
    // By name: the system's resolver is asked.
    export(format!("localhost:{}", udp.local_addr().unwrap().port()), false).await;
    let length = udp.recv(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..length], b"fyke.a:0|g\nfyke.a:-4|g\nfyke.b:2|g");
    export(format!("unix:{}", path.display()), true).await;
    let length = unix.recv(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..length], b"fyke.a:-4|g\nfyke.b:2|g");
}
