//! What filters do to streams, for whoever watches: `fyke filter dev`, `fyke tap`. Where nobody does, it costs one look.
//!
//! A stream's heads are compared before and after every callback. What changed between two callbacks was done by whoever was called
//! last: a filter that had waited for an answer. What that costs is bounded: a watcher looks at no more streams in a second than it
//! said, and what is known when a stream begins decides before anything is copied.

mod watch;
mod wish;

use std::{
    fmt::Write as _,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use smallvec::SmallVec;
use tokio::{sync::mpsc, time::Instant};

use self::watch::head;
pub use self::{watch::Watch, wish::Wish};
use super::{
    env::Env,
    exchange::{Direction, Exchange, Kind},
    route::{RouteAction, Selection},
};

/// Reports that wait for a watcher; what is more is dropped and counted.
const WAITING: usize = 256;

/// Who watches the streams of a process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Tap {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// How many there are.
    open: AtomicUsize,
    watchers: ArcSwap<Vec<Arc<Watcher>>>,
    /// One comes or goes at a time.
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Watcher {
    wish: Wish,
    reports: mpsc::Sender<Report>,
    began: std::time::Instant,
    /// The second that is counted, and the streams that it looked at in that: 32 bits each.
    looks: AtomicU64,
    skipped: AtomicU64,
    dropped: AtomicU64,
}

/// A watch that goes on until this is dropped.
#[derive(Debug)]
pub struct Watching {
    tap: Tap,
    watcher: Arc<Watcher>,
    reports: mpsc::Receiver<Report>,
}

/// What became of a stream, and what its filters did to it. Values that carry credentials are masked.
#[derive(Debug, Clone)]
pub struct Report {
    /// When it was over.
    pub at: SystemTime,
    /// Whether it was a request or a connection.
    pub kind: Kind,
    /// `GET /path 200 in 1.2 ms`
    pub line: String,
    /// By filter, what each did.
    pub notes: Vec<(String, Vec<String>)>,
    /// Where it came in.
    pub listener: String,
    /// Who asked; empty: nobody with an address.
    pub client: String,
    /// What was asked for, as the client asked; empty for connections.
    pub method: String,
    /// The same.
    pub path: String,
    /// Fields of the request as the client sent it, the first 64 of them; empty for connections.
    pub headers: Vec<(String, String)>,
    /// Of the answer, if there was one.
    pub status: Option<u16>,
    /// By filter, what each said of what it was about to do; only filters that were asked and said something.
    pub explained: Vec<(String, Vec<String>)>,
    /// Where it went, and why.
    pub outcome: Outcome,
    /// From its beginning to its end.
    pub duration: Duration,
    /// Bytes of bodies.
    pub received: u64,
    /// The same.
    pub sent: u64,
    /// Time in filters.
    pub spent: Duration,
}

/// Where a stream went, and why.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The route that a filter selected.
    pub route: Option<Arc<RouteAction>>,
    /// How long an answer may take, what was overridden on the way included.
    pub timeout: Option<Duration>,
    /// The cluster that it was sent to.
    pub cluster: Option<String>,
    /// The endpoint that it was last sent to.
    pub endpoint: Option<SocketAddr>,
    /// `response.code_details`
    pub details: String,
    /// The filter that answered in the upstream's place.
    pub replied_by: Option<String>,
}

impl Outcome {
    /// The route's name.
    #[must_use]
    pub fn route_name(&self) -> Option<&str> {
        self.route.as_ref().map(|route| route.name.as_str())
    }
}

/// Bytes of an explanation that are kept.
const EXPLANATION: usize = 1024 * 1024;
/// Lines of one.
const LINES: usize = 10_000;

impl Tap {
    /// Watches from now on, streams that begin from now on.
    #[must_use]
    pub fn watch(&self, wish: Wish) -> Watching {
        let (sender, reports) = mpsc::channel(WAITING);
        let watcher = Arc::new(Watcher {
            wish,
            reports: sender,
            began: std::time::Instant::now(),
            looks: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        self.change(|watchers| watchers.push(Arc::clone(&watcher)));
        Watching { tap: self.clone(), watcher, reports }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Watcher>>)) {
        let _turn = self.inner.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut watchers = Vec::clone(&self.inner.watchers.load());
        change(&mut watchers);
        let open = watchers.len();
        self.inner.watchers.store(Arc::new(watchers));
        self.inner.open.store(open, Relaxed);
    }

    fn is_on(&self) -> bool {
        self.inner.open.load(Relaxed) > 0
    }

    /// Who wants to see a stream that begins so.
    fn interested(&self, exchange: &Exchange) -> Interested {
        let watchers = self.inner.watchers.load();
        let wants = |watcher: &&Arc<Watcher>| watcher.wish.may_fit(exchange) && watcher.looks();
        watchers.iter().filter(wants).map(Arc::clone).collect()
    }
}

impl Watching {
    /// The next report. Cancel-safe.
    pub async fn next(&mut self) -> Option<Report> {
        self.reports.recv().await
    }

    /// A report that is there already.
    pub fn try_next(&mut self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// The next report, for a thread that may wait.
    pub fn wait(&mut self) -> Option<Report> {
        self.reports.blocking_recv()
    }

    /// Streams that might have fitted and were not looked at because there were too many, and reports that were dropped because nobody
    /// took them.
    #[must_use]
    pub fn missed(&self) -> (u64, u64) {
        (self.watcher.skipped.load(Relaxed), self.watcher.dropped.load(Relaxed))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.tap.change(|watchers| watchers.retain(|watcher| !Arc::ptr_eq(watcher, &self.watcher)));
    }
}

impl Watcher {
    /// Whether there is room for one more stream in this second.
    fn looks(&self) -> bool {
        let Some(rate) = self.wish.rate else { return true };
        let second = self.began.elapsed().as_secs() & u64::from(u32::MAX);
        let next = self.looks.fetch_update(Relaxed, Relaxed, |looks| {
            let (counted, so_far) = (looks >> 32, looks & u64::from(u32::MAX));
            let so_far = if counted == second { so_far } else { 0 };
            (so_far < u64::from(rate)).then_some(second << 32 | (so_far + 1))
        });
        if next.is_err() {
            self.skipped.fetch_add(1, Relaxed);
        }
        next.is_ok()
    }

    fn tell(&self, report: &Report) {
        // Whoever watched may have gone.
        if self.wish.fits(report) && self.reports.try_send(report.clone()).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

type Interested = SmallVec<[Arc<Watcher>; 1]>;

/// Before a filter is called.
pub fn before(env: &Rc<Env>, exchange: &mut Exchange, index: usize) -> Option<Instant> {
    if !env.tap.is_on() {
        return None;
    }
    begin(env, exchange);
    let mut watch = exchange.watch.take()?;
    let last = watch.last.unwrap_or(index);
    // An answer that has just come, or replaced another one, is nobody's change.
    if watch.response.is_none() || watch.replied != exchange.replied.is_some() {
        watch.replied = exchange.replied.is_some();
        watch.response = exchange.response_head.as_ref().map(|response| head(response));
    }
    watch.look(exchange, last);
    watch.last = Some(index);
    exchange.watch = Some(watch);
    Some(Instant::now())
}

/// Decides once whether anybody watches the stream.
fn begin(env: &Rc<Env>, exchange: &mut Exchange) {
    if exchange.watch.is_some() || std::mem::replace(&mut exchange.passed_by, true) {
        return;
    }
    let watchers = env.tap.interested(exchange);
    if watchers.is_empty() {
        return;
    }
    let request = head(&exchange.request_head);
    let value =
        |name: &str| request.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default();
    let (method, path) = (value(":method"), wish::masked_path(&value(":path")));
    let headers = wish::shown(&request);
    exchange.watch = Some(Box::new(Watch { watchers, method, path, headers, request, ..Watch::default() }));
}

/// After it was.
pub fn after(exchange: &mut Exchange, index: usize, began: Option<Instant>, failed: bool) {
    let Some(began) = began else { return };
    let Some(mut watch) = exchange.watch.take() else { return };
    watch.spent += began.elapsed();
    watch.look(exchange, index);
    if failed {
        watch.notes.push((index, "failed; why is in the log".to_owned()));
    }
    exchange.watch = Some(watch);
}

/// A filter wrote to a body; what it held had `before` bytes and has `now`.
pub fn wrote(exchange: &mut Exchange, index: usize, direction: Direction, before: usize, now: usize) {
    if let Some(watch) = &mut exchange.watch {
        watch.wrote(index, direction, (before, now));
    }
}

/// Before the request's head is sent to the upstream. Afterwards nobody changes it.
pub fn asking(env: &Rc<Env>, exchange: &mut Exchange) {
    if env.tap.is_on() {
        begin(env, exchange);
    }
    sending(exchange);
    if let Some(watch) = &mut exchange.watch {
        watch.asked = true;
    }
}

/// Before the answer's head is sent, with everything that is in it.
pub fn sending(exchange: &mut Exchange) {
    if let Some(mut watch) = exchange.watch.take() {
        if let Some(last) = watch.last {
            watch.look(exchange, last);
        }
        exchange.watch = Some(watch);
    }
}

/// When the stream is over.
pub fn report(env: &Rc<Env>, exchange: &mut Exchange) {
    if env.tap.is_on() {
        begin(env, exchange);
    }
    let Some(mut watch) = exchange.watch.take() else { return };
    if let Some(last) = watch.last {
        watch.look(exchange, last);
    }
    watch.note_reply(exchange);
    let took = exchange.ended.map_or(Duration::ZERO, |ended| ended.saturating_duration_since(exchange.started));
    let mut line = String::new();
    let status = exchange.response_head.as_ref().map(|response| response.status.as_u16());
    match (exchange.kind, status) {
        (Kind::Tcp, _) => line.push_str("a connection"),
        (Kind::Http, Some(status)) => drop(write!(line, "{} {} {status}", watch.method, watch.path)),
        (Kind::Http, None) => drop(write!(line, "{} {} (no answer)", watch.method, watch.path)),
    }
    let _ = write!(
        line,
        " in {:.1} ms, {} B in, {} B out",
        took.as_secs_f64() * 1000.0,
        exchange.request.bytes,
        exchange.response.passed
    );
    if !exchange.details.is_empty() {
        let _ = write!(line, " ({})", exchange.details);
    }
    let _ = write!(line, "; filters took {} us", watch.spent.as_micros());
    let mut notes: Vec<(String, Vec<String>)> =
        exchange.filters.iter().map(|filter| (filter.plugin.settings.name.clone(), Vec::new())).collect();
    for (index, note) in watch.take_notes(exchange.kind) {
        if let Some((_, notes)) = notes.get_mut(index) {
            notes.push(note);
        }
    }
    let name = |index: usize| exchange.filters.get(index).map(|filter| filter.plugin.settings.name.clone());
    let explained = std::mem::take(&mut watch.explained);
    let explained = explained.into_iter().filter_map(|(index, lines)| Some((name(index)?, lines))).collect();
    let outcome = Outcome {
        route: exchange.selection.as_ref().map(|selection| Arc::clone(&selection.route.action)),
        timeout: exchange.selection.as_ref().and_then(Selection::timeout),
        cluster: exchange.routed_to.as_ref().map(|cluster| cluster.name.to_string()),
        endpoint: exchange.upstream,
        details: exchange.details.to_string(),
        replied_by: exchange.replied.and_then(name),
    };
    let is_http = exchange.kind == Kind::Http;
    let report = Report {
        at: SystemTime::now(),
        kind: exchange.kind,
        line,
        notes,
        listener: exchange.connection.listener.to_string(),
        client: exchange.connection.client().map(|(client, _)| client.to_string()).unwrap_or_default(),
        method: if is_http { watch.method } else { String::new() },
        path: if is_http { watch.path } else { String::new() },
        headers: if is_http { watch.headers } else { Vec::new() },
        status,
        explained,
        outcome,
        duration: took,
        received: exchange.request.bytes,
        sent: exchange.response.passed,
        spent: watch.spent,
    };
    for watcher in &watch.watchers {
        watcher.tell(&report);
    }
}

/// Whether somebody wants filters to say what they are about to do to a stream.
pub fn asks(env: &Rc<Env>, exchange: &mut Exchange) -> bool {
    if !env.tap.is_on() {
        return false;
    }
    begin(env, exchange);
    exchange.watch.as_ref().is_some_and(|watch| watch.asks())
}

/// What a filter says of what it is about to do. `false`: nobody has asked.
pub fn explains(exchange: &mut Exchange, index: usize, text: &[u8]) -> bool {
    let Some(watch) = exchange.watch.as_mut().filter(|watch| watch.asks()) else { return false };
    let text = String::from_utf8_lossy(text.get(..EXPLANATION).unwrap_or(text));
    let lines: Vec<String> = text.lines().take(LINES).map(str::to_owned).collect();
    match watch.explained.iter_mut().find(|(known, _)| *known == index) {
        // What it says last it means.
        Some((_, before)) => *before = lines,
        None => watch.explained.push((index, lines)),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_looks_at_no_more_than_it_said() {
        let tap = Tap::default();
        assert!(!tap.is_on());
        let watching = tap.watch(Wish { rate: Some(3), ..Wish::default() });
        assert!(tap.is_on());
        let looked = (0..10).filter(|_| watching.watcher.looks()).count();
        // Unless a second ended meanwhile.
        assert!((3..=6).contains(&looked), "{looked}");
        assert_eq!(watching.missed().0, 10 - looked as u64);
        drop(watching);
        assert!(!tap.is_on() && tap.inner.watchers.load().is_empty());
    }
}
