//! A connection, and those who wait for answers on it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout},
};

use super::{CallError, Commands, replies::Cutter};
use crate::cluster::{
    Choice,
    balance::Health,
    connect::Asks,
    dial::{self, Line},
    endpoint::SharedEndpoint,
    local::LocalCluster,
};

/// Calls that may wait on a connection.
const MOST_WAITING: usize = 16 * 1024;
/// Bytes that may wait to be sent.
const MOST_UNSENT: usize = 16 * 1024 * 1024;
/// Endpoints that are tried for one connection.
const ATTEMPTS: usize = 3;
/// A connection is given up when its first answer is overdue by as much again, at least so long.
const STALLED: Duration = Duration::from_secs(1);
/// How often that is looked at.
const TICK: Duration = Duration::from_millis(100);
/// A connection that nobody has used for so long is closed.
const IDLE: Duration = Duration::from_mins(1);
/// The longest time for which nobody connects after the first failure, and after many: drawn between half of it and all, so that workers
/// and proxies do not come at once.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// A connection.
#[derive(Debug)]
pub struct Pipe {
    cluster: Rc<LocalCluster>,
    endpoint: Option<SocketAddr>,
    greeting: Commands,
    state: RefCell<State>,
    unsent: RefCell<Unsent>,
    waiting: RefCell<VecDeque<Waiting>>,
    /// There is something to send.
    sends: Notify,
    used: Cell<Instant>,
    failures: Cell<u32>,
    /// Its endpoint drains, or is none of the cluster's any more.
    leaves: Cell<bool>,
}

#[derive(Debug)]
enum State {
    /// It is being made, or there.
    Running,
    /// It was closed in peace.
    Idle,
    /// It failed. Nobody tries again before.
    Failed { error: CallError, until: Instant },
}

/// Calls that have not been sent yet.
#[derive(Debug, Default)]
struct Unsent {
    calls: Vec<(Bytes, Waiting)>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    commands: u32,
    overdue: Instant,
    answer: oneshot::Sender<Result<Bytes, CallError>>,
}

/// What a call waits for.
pub type Answer = oneshot::Receiver<Result<Bytes, CallError>>;

impl Pipe {
    /// Begins to connect.
    pub fn open(cluster: Rc<LocalCluster>, endpoint: Option<SocketAddr>, greeting: Commands) -> Rc<Self> {
        let pipe = Rc::new(Self {
            cluster,
            endpoint,
            greeting,
            state: RefCell::new(State::Running),
            unsent: RefCell::default(),
            waiting: RefCell::default(),
            sends: Notify::new(),
            used: Cell::new(Instant::now()),
            failures: Cell::new(0),
            leaves: Cell::new(false),
        });
        pipe.start();
        pipe
    }

    /// Whether it takes no calls any more: it ends when those that have come are answered.
    pub fn leaves(&self) -> bool {
        self.leaves.get()
    }

    /// Whether it has ended in peace.
    pub fn is_idle(&self) -> bool {
        matches!(&*self.state.borrow(), State::Idle)
    }

    /// Whether nothing would be lost with it.
    pub fn is_over(&self) -> bool {
        match &*self.state.borrow() {
            State::Running => false,
            State::Idle => true,
            State::Failed { until, .. } => *until <= Instant::now(),
        }
    }

    /// Sends commands, as soon as there is a connection, unless nobody waits any more by then.
    pub fn send(self: &Rc<Self>, commands: &Commands, limit: Duration) -> Result<Answer, CallError> {
        let now = Instant::now();
        let runs = match &*self.state.borrow() {
            State::Failed { error, until } if now < *until => return Err(error.clone()),
            state => matches!(state, State::Running),
        };
        if !runs {
            self.state.replace(State::Running);
            self.start();
        }
        let mut unsent = self.unsent.borrow_mut();
        let waiting = self.waiting.borrow().len() + unsent.calls.len();
        if waiting >= MOST_WAITING || unsent.bytes + commands.bytes.len() > MOST_UNSENT {
            return Err(CallError::Overloaded);
        }
        let (answer, answered) = oneshot::channel();
        let overdue = now + limit + limit.max(STALLED);
        unsent.bytes += commands.bytes.len();
        unsent.calls.push((commands.bytes.clone(), Waiting { commands: commands.count, overdue, answer }));
        self.used.set(now);
        self.sends.notify_one();
        Ok(answered)
    }

    fn start(self: &Rc<Self>) {
        let pipe = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let ended = pipe.run().await;
            pipe.end(ended);
        });
    }

    /// Runs a connection until it ends.
    async fn run(&self) -> Result<(), CallError> {
        let choice = Choice { endpoint: self.endpoint, ..Choice::default() };
        let mut line = dial::dial(&self.cluster, choice, Asks::default(), ATTEMPTS).await?;
        if self.endpoint.is_some_and(|asked| asked != line.address) {
            return Err(CallError::Connect("the endpoint is not one of the cluster's, or not healthy".into()));
        }
        self.greet(&mut line).await?;
        let address = line.address;
        let (mut from, mut to) = tokio::io::split(&mut line.transport);
        let closed = |error: &dyn std::fmt::Display| CallError::Closed(error.to_string().into());
        tokio::select! {
            ended = self.read(&mut from) => ended,
            ended = self.write(&mut to) => ended.map_err(|error| closed(&error)),
            ended = self.watch(address) => ended,
        }
    }

    async fn greet(&self, line: &mut Line) -> Result<(), CallError> {
        if self.greeting.count == 0 {
            return Ok(());
        }
        let limit = self.cluster.shared.settings.connect_timeout;
        let transport = &mut line.transport;
        let exchange = async {
            transport.write_all(&self.greeting.bytes).await?;
            transport.flush().await?;
            let mut cutter = Cutter::default();
            loop {
                if let Some(answer) = cutter.next(self.greeting.count).map_err(io::Error::other)? {
                    return Ok::<_, io::Error>(answer.error);
                }
                if transport.read_buf(&mut cutter.raw).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        };
        match timeout(limit, exchange).await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(refused))) => Err(CallError::Greeting(refused.into())),
            Ok(Err(error)) => Err(CallError::Connect(format!("the greeting is not answered: {error}").into())),
            Err(_) => Err(CallError::Connect(format!("the greeting is not answered within {limit:?}").into())),
        }
    }

    async fn write(&self, to: &mut (impl AsyncWriteExt + Unpin)) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        loop {
            let Unsent { calls, .. } = std::mem::take(&mut *self.unsent.borrow_mut());
            for (commands, waiting) in calls {
                if !waiting.answer.is_closed() {
                    bytes.extend_from_slice(&commands);
                    self.waiting.borrow_mut().push_back(waiting);
                }
            }
            if bytes.is_empty() {
                self.sends.notified().await;
                continue;
            }
            to.write_all(&bytes).await?;
            to.flush().await?;
            bytes.clear();
        }
    }

    async fn read(&self, from: &mut (impl AsyncReadExt + Unpin)) -> Result<(), CallError> {
        let closed = |error: &dyn std::fmt::Display| CallError::Closed(error.to_string().into());
        let mut cutter = Cutter::default();
        loop {
            let wanted = self.waiting.borrow().front().map(|first| first.commands);
            let answer = match wanted {
                Some(wanted) => cutter.next(wanted).map_err(|error| closed(&error))?,
                // Pushes may come at any time, answers may not.
                None => match cutter.next(1).map_err(|error| closed(&error))? {
                    Some(_) => return Err(closed(&"an answer came that nobody had asked for")),
                    None => None,
                },
            };
            if let Some(answer) = answer {
                // Not before: one that is full accepts, and closes.
                self.failures.set(0);
                if let Some(first) = self.waiting.borrow_mut().pop_front() {
                    // Whoever has stopped waiting is gone.
                    let _ = first.answer.send(Ok(answer.bytes));
                }
                continue;
            }
            match from.read_buf(&mut cutter.raw).await {
                // As servers do with those that say nothing for long.
                Ok(0) if self.waiting.borrow().is_empty() && cutter.is_empty() => return Ok(()),
                Ok(0) => return Err(closed(&"by the server")),
                Ok(_) => {}
                Err(error) => return Err(closed(&error)),
            }
        }
    }

    /// Ends a connection that stalls, that nobody uses, or whose endpoint is to be left.
    async fn watch(&self, address: SocketAddr) -> Result<(), CallError> {
        let shared = &self.cluster.shared;
        let mut version = None;
        loop {
            sleep(TICK).await;
            let now = Instant::now();
            if version.replace(shared.version()) != Some(shared.version()) {
                self.leaves.set(self.is_to_leave(address));
            }
            let is_asked = !self.unsent.borrow().calls.is_empty();
            match self.waiting.borrow().front() {
                Some(first) if first.overdue <= now => {
                    return Err(CallError::Closed("its answers were overdue".into()));
                }
                None if !is_asked && self.leaves.get() => return Ok(()),
                None if now.duration_since(self.used.get()) >= IDLE => return Ok(()),
                _ => {}
            }
        }
    }

    /// Whether its endpoint is none of the cluster's any more, or drains and another one would be picked.
    fn is_to_leave(&self, address: SocketAddr) -> bool {
        let membership = self.cluster.shared.membership();
        let drains = |endpoint: &SharedEndpoint| endpoint.status.health() == Health::Draining;
        let Some(own) = membership.endpoint(address) else { return true };
        drains(own) && self.endpoint.is_none() && !membership.endpoints.iter().all(|endpoint| drains(endpoint))
    }

    /// Tells everybody who waits.
    fn end(self: &Rc<Self>, ended: Result<(), CallError>) {
        let mut waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        let Unsent { calls, .. } = std::mem::take(&mut *self.unsent.borrow_mut());
        waiting.extend(calls.into_iter().map(|(_, waiting)| waiting));
        let error = match ended {
            Ok(()) if waiting.is_empty() => {
                self.state.replace(State::Idle);
                return;
            }
            Ok(()) => CallError::Closed("by the server".into()),
            Err(error) => error,
        };
        tracing::debug!(cluster = &*self.cluster.name, "connection for callouts to Redis: {error}");
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        let longest = BACKOFF.0.saturating_mul(1 << failures.min(10)).min(BACKOFF.1);
        let until = Instant::now() + longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.state.replace(State::Failed { error: error.clone(), until });
        for waiting in waiting {
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }
}
