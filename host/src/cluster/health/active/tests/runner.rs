use std::sync::Mutex;

use ::bytes::Bytes;
use fastrand::Rng;
use tokio::{
    io::{DuplexStream, duplex},
    sync::{Notify, mpsc, watch},
    time::Instant,
};

use super::{
    super::{Health, Report, Runner, Seen, TcpCheck, Traffic, Transition},
    *,
};

/// What the host does with the next connections; the last one is repeated.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Answer,
    Refuse,
    Hang,
}

/// A host in memory, so that time can stand still.
struct Memory {
    deeds: Mutex<Vec<Deed>>,
    held: Mutex<Vec<DuplexStream>>,
    open: Arc<AtomicUsize>,
}

/// Counts the connections that are open at once.
struct Counted(DuplexStream, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl tokio::io::AsyncRead for Counted {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncWrite for Counted {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl Connect for Memory {
    type Io = Counted;

    async fn connect(&self) -> io::Result<Counted> {
        let mut deeds = self.deeds.lock().unwrap();
        let deed = if deeds.len() > 1 { deeds.remove(0) } else { deeds[0] };
        let (near, mut far) = duplex(64);
        match deed {
            Deed::Refuse => return Err(io::ErrorKind::ConnectionRefused.into()),
            Deed::Hang => self.held.lock().unwrap().push(far),
            Deed::Answer => drop(tokio::spawn(async move { far.write_all(b"well").await })),
        }
        assert_eq!(self.open.fetch_add(1, Ordering::Relaxed), 0, "checks overlap");
        Ok(Counted(near, Arc::clone(&self.open)))
    }
}

struct Tell(mpsc::UnboundedSender<(Duration, Seen)>, Instant);

impl Report for Tell {
    fn checked(&self, seen: Seen) {
        let _ = self.0.send((self.1.elapsed(), seen));
    }
}

struct Running {
    seen: mpsc::UnboundedReceiver<(Duration, Seen)>,
    stop: watch::Sender<()>,
    passive: Arc<Notify>,
    open: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

fn settings() -> Settings {
    Settings::new(Kind::Tcp(TcpCheck { send: Bytes::new(), receive: vec![Bytes::from_static(b"well")] }))
}

fn run(settings: Settings, deeds: &[Deed], traffic: Traffic, seed: u64) -> Running {
    let (tell, told) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(());
    let (passive, open) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let runner = Runner {
        connect: Memory { deeds: Mutex::new(deeds.to_vec()), held: Mutex::new(Vec::new()), open: Arc::clone(&open) },
        settings: Arc::new(settings),
        report: Tell(tell, Instant::now()),
        traffic: Arc::new(move || traffic),
        passive: Arc::clone(&passive),
        random: Rng::with_seed(seed),
    };
    Running { seen: told, stop, passive, open, task: tokio::spawn(runner.run(stopped)) }
}

impl Running {
    async fn next(&mut self) -> (u128, Health, Transition) {
        let (at, seen) = self.seen.recv().await.unwrap();
        (at.as_millis(), seen.health, seen.transition)
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_check_is_at_once_and_the_others_follow_at_the_interval() {
    let mut running = run(settings(), &[Deed::Answer], Traffic::Busy, 1);
    assert_eq!(running.next().await, (0, Health::Healthy, Transition::Changed));
    assert_eq!(running.next().await, (5000, Health::Healthy, Transition::Unchanged));
    assert_eq!(running.next().await, (10_000, Health::Healthy, Transition::Unchanged));
}

#[tokio::test(start_paused = true)]
async fn without_traffic_hosts_are_asked_rarely() {
    let mut running = run(settings(), &[Deed::Answer], Traffic::Idle, 1);
    assert_eq!(running.next().await.0, 0);
    assert_eq!(running.next().await.0, 60_000);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_check_ends_with_its_timeout_and_the_next_begins_an_interval_later() {
    let mut running = run(settings(), &[Deed::Answer, Deed::Hang], Traffic::Busy, 1);
    assert_eq!(running.next().await, (0, Health::Healthy, Transition::Changed));
    assert_eq!(running.next().await, (6000, Health::Healthy, Transition::ChangePending));
    assert_eq!(running.next().await, (12_000, Health::Healthy, Transition::ChangePending));
    let (at, seen) = running.seen.recv().await.unwrap();
    assert_eq!((at.as_secs(), seen.health, seen.elapsed), (18, Health::Unhealthy, Duration::from_secs(1)));
    assert_eq!(failed(seen.verdict), (FailureKind::Timeout, "no answer within 1s".into()));
}

#[tokio::test(start_paused = true)]
async fn edges_and_unhealthy_hosts_have_intervals_of_their_own() {
    let seconds = Duration::from_secs;
    let settings = Settings {
        unhealthy: 2,
        unhealthy_interval: Some(seconds(20)),
        unhealthy_edge_interval: Some(seconds(1)),
        healthy_edge_interval: Some(seconds(2)),
        ..settings()
    };
    let deeds = [Deed::Answer, Deed::Refuse, Deed::Refuse, Deed::Refuse, Deed::Answer];
    let mut running = run(settings, &deeds, Traffic::Busy, 1);
    assert_eq!(running.next().await, (0, Health::Healthy, Transition::Changed));
    assert_eq!(running.next().await, (5000, Health::Healthy, Transition::ChangePending));
    assert_eq!(running.next().await, (6000, Health::Unhealthy, Transition::Changed));
    assert_eq!(running.next().await, (26_000, Health::Unhealthy, Transition::Unchanged));
    assert_eq!(running.next().await, (46_000, Health::Unhealthy, Transition::ChangePending));
    assert_eq!(running.next().await, (48_000, Health::Healthy, Transition::Changed));
    assert_eq!(running.next().await, (53_000, Health::Healthy, Transition::Unchanged));
}

#[tokio::test(start_paused = true)]
async fn first_checks_are_spread() {
    let mut first = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let settings = Settings { initial_jitter: Duration::from_secs(3), ..settings() };
        let (at, ..) = run(settings, &[Deed::Answer], Traffic::Busy, seed).next().await;
        assert!(at < 3000 + 1);
        first.insert(at);
    }
    assert!(first.len() > 15, "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn traffic_may_fail_a_host_between_checks() {
    let mut running = run(settings(), &[Deed::Answer], Traffic::Busy, 1);
    running.next().await;
    running.passive.notify_one();
    let (at, seen) = running.seen.recv().await.unwrap();
    assert_eq!((at.as_millis(), seen.health), (0, Health::Unhealthy));
    assert_eq!(failure(seen.verdict).kind, FailureKind::Passive);
    assert_eq!(running.next().await, (5000, Health::Unhealthy, Transition::ChangePending));
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_the_task_and_closes_its_connection_in_the_middle_of_a_check() {
    let running = run(settings(), &[Deed::Hang], Traffic::Busy, 1);
    while running.open.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
    assert_eq!(running.open.load(Ordering::Relaxed), 0);
    assert!({ running.seen }.try_recv().is_err());

    let running = run(settings(), &[Deed::Answer], Traffic::Busy, 1);
    drop(running.stop);
    running.task.await.unwrap();
}
