use std::time::UNIX_EPOCH;

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use tokio::task::JoinHandle;

use super::*;
use crate::telemetry::otlp::{
    connect::Connect,
    log::LogRecord,
    queue::Pushed,
    settings::{Compression, Protocol, QueueLimits},
    span::SpanRecord,
    statistics::FailureReason,
    stop::{self, Stopper},
    testing::{
        collector::{Collector, Door, Reply},
        counter, head, log, retry_info, span,
    },
};

/// An exporter of spans at work.
struct Bed {
    collector: Arc<Collector>,
    queue: Queue<SpanRecord>,
    statistics: Arc<Statistics>,
    stopper: Stopper,
    task: JoinHandle<()>,
    begun: Instant,
}

fn settings() -> Settings {
    Settings::new("collector:4317".parse().unwrap())
}

fn environment(collector: &Arc<Collector>) -> Environment {
    // A jitter of exactly one.
    let connector = Arc::clone(collector) as Arc<dyn Connect>;
    Environment { connector, wall: || UNIX_EPOCH, random: || u32::MAX / 2 + 1 }
}

impl Bed {
    fn new(settings: Settings) -> Self {
        let collector = Collector::new();
        let statistics = Arc::new(Statistics::default());
        let queue = Queue::new(settings.queue, settings.batch, Arc::clone(&statistics));
        let (stopper, stop) = stop::channel();
        let exporter = Exporter::new(settings, head(), queue.clone(), environment(&collector)).unwrap();
        let task = tokio::spawn(exporter.run(stop));
        Self { collector, queue, statistics, stopper, task, begun: Instant::now() }
    }

    fn push(&self, count: usize) {
        for number in 0..count {
            self.queue.push(span(&number.to_string()));
        }
    }

    /// Waits until as many records as that are accounted for.
    async fn settled(&self, count: u64) {
        while self.accounted() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn accounted(&self) -> u64 {
        let dropped: u64 = DropReason::ALL.iter().map(|reason| self.statistics.dropped(*reason)).sum();
        dropped + self.statistics.exported() + self.statistics.rejected()
    }

    /// Whole seconds at which requests came.
    fn times(&self) -> Vec<u64> {
        let since = |at: Instant| at.duration_since(self.begun).as_secs();
        self.collector.received().iter().map(|request| since(request.at)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_is_sent_at_once_and_the_rest_by_time() {
    let bed = Bed::new(settings());
    tokio::time::sleep(Duration::from_secs(2)).await;
    bed.push(1000);
    bed.settled(1000).await;
    assert_eq!(bed.collector.records(), (0..1000).map(|number| number.to_string()).collect::<Vec<_>>());
    let sizes: Vec<_> = bed.collector.received().iter().map(|request| request.records.len()).collect();
    // The delay begins with the batch that was sent.
    assert_eq!((sizes, bed.times()), (vec![512, 488], vec![2, 7]));
    assert_eq!((bed.statistics.exported(), bed.statistics.requests()), (1000, 2));
    assert_eq!(bed.queue.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_records_there_are_no_requests() {
    let bed = Bed::new(settings());
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!((bed.statistics.requests(), bed.collector.connects()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_large_is_split_and_sent_without_waiting_again() {
    let mut settings = settings();
    settings.batch.bytes = 2000;
    let bed = Bed::new(settings);
    bed.push(20);
    bed.settled(20).await;
    assert!(bed.collector.received().len() > 1);
    assert_eq!(bed.collector.records().len(), 20);
    assert!(bed.times().iter().all(|second| *second <= 5));
}

#[tokio::test(start_paused = true)]
async fn a_span_above_every_limit_is_dropped_and_those_around_it_are_not() {
    let mut settings = settings();
    settings.queue.bytes = 32 * 1024 * 1024;
    let bed = Bed::new(settings);
    let mut huge = span("huge");
    let attributes = (0..100).map(|n| (format!("k{n}").into(), "v".repeat(4000).into())).collect();
    let event = crate::telemetry::otlp::span::SpanEvent {
        time: crate::telemetry::otlp::value::UnixTime(1),
        name: "e".into(),
        attributes,
    };
    huge.events = vec![event; 20];
    bed.queue.push(span("before"));
    assert_eq!(bed.queue.push(huge), Pushed::Queued);
    bed.queue.push(span("after"));
    bed.settled(3).await;
    assert_eq!(bed.statistics.dropped(DropReason::Bytes), 1);
    assert_eq!(bed.collector.records(), ["before", "after"]);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_cannot_now_is_tried_with_growing_pauses() {
    let bed = Bed::new(settings());
    bed.collector.replies((0..4).map(|_| Reply::Head(14, vec![])));
    bed.push(512);
    bed.settled(512).await;
    assert_eq!(bed.times(), [0, 1, 3, 7, 15]);
    assert_eq!((bed.statistics.exported(), bed.statistics.failures(FailureReason::Unavailable)), (512, 4));
}

#[tokio::test(start_paused = true)]
async fn after_the_total_time_the_request_is_dropped_and_the_next_is_sent() {
    let bed = Bed::new(settings());
    bed.collector.replies((0..7).map(|_| Reply::Head(14, vec![])));
    bed.push(600);
    bed.settled(600).await;
    // 0, 1, 3, 7, 15, 31, 61; then the next.
    assert_eq!(bed.times(), [0, 1, 3, 7, 15, 31, 61, 66]);
    assert_eq!((bed.statistics.dropped(DropReason::Failed), bed.statistics.exported()), (512, 88));
}

#[tokio::test(start_paused = true)]
async fn what_the_collector_does_not_want_is_not_sent_again() {
    let bed = Bed::new(settings());
    bed.collector.replies([Reply::Head(3, vec![])]);
    bed.push(1024);
    bed.settled(1024).await;
    assert_eq!((bed.statistics.dropped(DropReason::Failed), bed.statistics.exported()), (512, 512));
    assert_eq!(bed.statistics.failures(FailureReason::Refused), 1);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_asks_for_time_is_given_it_even_beyond_the_request() {
    let bed = Bed::new(settings());
    let asked = |seconds| Reply::Head(8, vec![("grpc-status-details-bin", retry_info(seconds, 0))]);
    bed.collector.replies([asked(30), asked(100), Reply::Ok]);
    bed.push(1024);
    bed.settled(1024).await;
    assert_eq!(bed.times(), [0, 30, 130]);
    assert_eq!((bed.statistics.dropped(DropReason::Failed), bed.statistics.exported()), (512, 512));
}

#[tokio::test(start_paused = true)]
async fn a_partial_success_is_counted_by_record() {
    let bed = Bed::new(settings());
    let partial = ExportTracePartialSuccess { rejected_spans: 12, error_message: "too old".into() };
    bed.collector
        .replies([Reply::Message(ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec())]);
    bed.push(512);
    bed.settled(512).await;
    assert_eq!((bed.statistics.exported(), bed.statistics.rejected()), (500, 12));
}

#[tokio::test(start_paused = true)]
async fn a_dead_collector_costs_counted_records_and_bounded_memory() {
    for (door, reply) in [(Door::Refuse, Reply::Ok), (Door::Silent, Reply::Ok), (Door::Serve, Reply::Hang)] {
        let mut settings = settings();
        settings.queue = QueueLimits { records: 1000, bytes: 300_000 };
        let bed = Bed::new(settings);
        bed.collector.always(door, reply);
        for _ in 0..600 {
            bed.push(100);
            assert!(bed.queue.bytes() <= 300_000 && bed.queue.len() <= 1000);
            assert!(bed.collector.open() <= 1);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        bed.collector.always(Door::Serve, Reply::Ok);
        bed.settled(60_000).await;
        let statistics = &bed.statistics;
        assert!(statistics.dropped(DropReason::Failed) > 0);
        assert!(statistics.dropped(DropReason::QueueFull) + statistics.dropped(DropReason::Bytes) > 0);
        assert!(statistics.exported() > 0);
        assert_eq!(bed.accounted(), 60_000);
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_end_everything_that_waits_is_sent() {
    let bed = Bed::new(settings());
    bed.push(1300);
    bed.stopper.stop(Duration::from_secs(5));
    bed.task.await.unwrap();
    assert_eq!((bed.statistics.exported(), bed.collector.records().len()), (1300, 1300));
    assert_eq!(bed.queue.push(span("late")), Pushed::Dropped(DropReason::Shutdown));
}

#[tokio::test(start_paused = true)]
async fn the_last_flush_is_bounded_and_what_is_left_is_counted() {
    for (door, reply) in [(Door::Serve, Reply::Hang), (Door::Hang, Reply::Ok), (Door::Refuse, Reply::Ok)] {
        let bed = Bed::new(settings());
        bed.collector.always(door, reply);
        bed.push(1300);
        tokio::time::sleep(Duration::from_secs(1)).await;
        bed.stopper.stop(Duration::from_secs(3));
        bed.task.await.unwrap();
        assert_eq!(bed.begun.elapsed().as_secs(), 4);
        assert_eq!(bed.statistics.dropped(DropReason::Shutdown), 1300);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_a_pause_between_attempts_nor_repeat_a_request_in_flight() {
    let mut bed = Bed::new(settings());
    bed.collector.replies((0..5).map(|_| Reply::Head(14, vec![])));
    bed.push(512);
    // Between the fifth attempt, at 15 s, and the sixth, at 31 s.
    tokio::time::sleep(Duration::from_secs(20)).await;
    bed.stopper.stop(Duration::from_secs(1));
    (&mut bed.task).await.unwrap();
    assert_eq!((bed.times(), bed.statistics.exported()), (vec![0, 1, 3, 7, 15, 20], 512));
}

#[tokio::test(start_paused = true)]
async fn an_exporter_that_is_dropped_counts_what_it_held() {
    let bed = Bed::new(settings());
    bed.collector.always(Door::Serve, Reply::Hang);
    bed.push(1300);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bed.task.abort();
    bed.settled(1300).await;
    assert_eq!(bed.statistics.dropped(DropReason::Shutdown), 1300);
}

#[tokio::test(start_paused = true)]
async fn logs_go_over_http_compressed() {
    let mut settings = Settings::new("http://collector:4318".parse().unwrap());
    (settings.protocol, settings.compression) = (Protocol::Http, Compression::Gzip);
    let collector = Collector::new();
    let statistics = Arc::new(Statistics::default());
    let queue = Queue::<LogRecord>::new(settings.queue, settings.batch, Arc::clone(&statistics));
    let (stopper, stop) = stop::channel();
    let exporter = Exporter::new(settings, head(), queue.clone(), environment(&collector)).unwrap();
    queue.push(log("GET / 200"));
    stopper.stop(Duration::from_secs(1));
    exporter.run(stop).await;
    let received = collector.received().remove(0);
    assert_eq!((received.path.as_str(), received.records[0].as_str()), ("/v1/logs", "StringValue(\"GET / 200\")"));
}

/// An exporter of as many counters as that, with requests that hold a few each.
fn metrics(collector: &Arc<Collector>, series: i64) -> (Arc<Statistics>, Stopper, JoinHandle<()>) {
    let statistics = Arc::new(Statistics::default());
    let (stopper, stop) = stop::channel();
    let mut settings = settings();
    settings.batch.bytes = 1000;
    let read = move || (0..series).map(|number| counter(&format!("m{number}"), "x", number)).collect::<Vec<_>>();
    let every = Duration::from_secs(30);
    let exporter =
        MetricsExporter::new(settings, head(), every, read, Arc::clone(&statistics), environment(collector)).unwrap();
    (statistics, stopper, tokio::spawn(exporter.run(stop)))
}

#[tokio::test(start_paused = true)]
async fn metrics_are_read_at_every_interval_and_once_more_at_the_end() {
    let collector = Collector::new();
    let (statistics, stopper, task) = metrics(&collector, 50);
    tokio::time::sleep(Duration::from_secs(65)).await;
    assert_eq!(collector.records().len(), 100);
    assert!(collector.received().len() > 4);
    stopper.stop(Duration::from_secs(1));
    task.await.unwrap();
    assert_eq!((collector.records().len(), statistics.exported()), (150, 150));
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_cannot_be_sent_does_not_hold_up_the_next() {
    let collector = Collector::new();
    collector.always(Door::Refuse, Reply::Ok);
    let (statistics, stopper, task) = metrics(&collector, 50);
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert_eq!(statistics.dropped(DropReason::Failed), 50);
    collector.always(Door::Serve, Reply::Ok);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(statistics.exported() >= 50);
    collector.always(Door::Serve, Reply::Hang);
    stopper.stop(Duration::from_secs(1));
    task.await.unwrap();
    assert_eq!(statistics.dropped(DropReason::Shutdown), 50);
}

#[tokio::test(start_paused = true)]
async fn metrics_without_series_make_no_requests() {
    let collector = Collector::new();
    let (statistics, _stopper, _task) = metrics(&collector, 0);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(statistics.requests(), 0);
}
