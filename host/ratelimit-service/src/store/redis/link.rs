//! One connection for all requests, and making it again.
//!
//! A task owns the connection's life: it connects, puts the connection where requests find it, waits until one of them says that it is broken,
//! and begins again. Between two attempts it waits, ever longer and never equally long. Requests never connect: where there is no
//! connection they fail at once.
//!
//! A connection whose answers do not come is broken too, although nothing says so: when requests have waited in vain for [`PATIENCE`] timeouts,
//! and none was answered in between, it is given up, together with all that waits in it. So what waits in it is bounded, and a Redis that
//! hangs costs requests their timeout for moments only. One that has become a replica is given up too: its name may lead elsewhere by now.
//!
//! Where a name may lead elsewhere while the connection lives, which sentinels know, they are asked again and again ([`AGAIN`]); requests go on, and go
//! over to the new connection when that is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{Cmd, ErrorKind, RedisError, RedisResult, Script, ServerErrorKind, Value};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::StoreError;
use super::call::Call;
use super::target::Target;
use crate::settings::Address;

/// For how many timeouts a connection may answer nothing before it is given up; less than [`STALL`] is never enough.
const PATIENCE: u32 = 10;

/// How long Redis may stall, as it does when it forks, without being given up.
const STALL: Duration = Duration::from_millis(250);

/// How long making a connection may take, with all that is said on it first.
pub(super) const CONNECT: Duration = Duration::from_secs(2);

/// The shortest and the longest time between two times that it is asked whether the name leads elsewhere. It is the shortest where a server says
/// that it has lost its replicas.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// How often an idle connection is tried.
const IDLE: Duration = Duration::from_secs(1);

/// The shortest and the longest time between two attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Waits of requests in one connection that is slow, beyond which more fail at once.
const MOST_WAITING: usize = 10_000;

#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    timeout: Duration,
    task: JoinHandle<()>,
}

/// What all links of a store have together.
#[derive(Debug)]
pub(super) struct Common {
    pub script: Script,
    /// How long a request waits.
    pub timeout: Duration,
    pub connects: AtomicU64,
    /// A connection was made.
    pub connected: Notify,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask<'a> {
    /// Charges.
    Charge(&'a Call<'a>),
    /// Charges, of a server to which their slot is just being moved.
    ChargeMoving(&'a Call<'a>),
    /// Something else.
    Command(&'a Cmd),
}

/// Why a server does not say what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It cannot.
    Store(StoreError),
    /// A node of a cluster knows who can: where, as it says so.
    Elsewhere(Elsewhere),
}

/// Who can say what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// From now on (`MOVED`).
    Moved(String),
    /// This time (`ASK`).
    Moving(String),
}

/// A connection, and whom it leads to where the target's name does not say it.
type Connected = (MultiplexedConnection, Option<Address>);

#[derive(Debug)]
struct Shared {
    live: ArcSwapOption<Live>,
    /// Something may be broken.
    look: Notify,
    /// The name may lead elsewhere.
    doubt: Notify,
    common: Arc<Common>,
    /// Whom it connects to, for people.
    name: String,
}

#[derive(Debug)]
struct Live {
    connection: MultiplexedConnection,
    /// Where the name does not say it.
    address: Option<Address>,
    begun: Instant,
    answers: AtomicU64,
    /// When a request first waited in vain after the last answer, in milliseconds since the beginning; zero: none has.
    in_vain: AtomicU64,
    /// Never used again.
    broken: AtomicBool,
    waiting: tokio::sync::Semaphore,
}

impl Link {
    /// Begins to connect.
    pub fn new(target: Target, common: Arc<Common>) -> Self {
        let timeout = common.timeout;
        let (live, look, doubt) = (ArcSwapOption::empty(), Notify::new(), Notify::new());
        let shared = Arc::new(Shared { live, look, doubt, common, name: target.name() });
        let task = tokio::spawn(Arc::clone(&shared).keep(target));
        Self { shared, timeout, task }
    }

    /// Asks, and waits no longer than until then.
    pub async fn ask(&self, what: Ask<'_>, until: Instant) -> Result<Value, Fault> {
        let live = self.shared.live.load_full().filter(|live| !live.broken.load(Ordering::Acquire));
        let live = live.ok_or(StoreError::Unavailable)?;
        let _waits = live.waiting.try_acquire().map_err(|_| StoreError::Unavailable)?;
        let hash = self.shared.common.script.get_hash();
        match tokio::time::timeout_at(until, say(live.connection.clone(), what, hash)).await {
            Ok(Ok(answer)) => {
                live.answered();
                Ok(answer)
            }
            Ok(Err(error))
                if error.is_connection_dropped() || error.is_io_error() || error.is_unrecoverable_error() =>
            {
                self.shared.give_up(&live, &error.to_string());
                Err(StoreError::Unavailable.into())
            }
            Ok(Err(error)) => {
                // Redis answers, but not to the point: it is loading, out of memory, or not Redis.
                live.answered();
                if let Some((address, _)) = error.redirect_node() {
                    let moved = error.kind() == ErrorKind::Server(ServerErrorKind::Moved);
                    let elsewhere = if moved { Elsewhere::Moved } else { Elsewhere::Moving };
                    return Err(Fault::Elsewhere(elsewhere(address.to_owned())));
                }
                tracing::debug!(target: "fyke::ratelimit", %error, "redis refused what it was asked");
                if has_code(&error, "READONLY") || has_code(&error, "MASTERDOWN") {
                    self.shared.give_up(&live, "it is a replica");
                } else if has_code(&error, "NOREPLICAS") {
                    // The others may have another primary by now.
                    self.shared.doubt.notify_one();
                }
                Err(StoreError::Failed.into())
            }
            Err(_) => {
                if live.waited_in_vain() >= STALL.max(self.timeout * PATIENCE) {
                    self.shared.give_up(&live, "it does not answer");
                }
                Err(StoreError::Timeout.into())
            }
        }
    }

    /// Whether it is connected.
    pub fn is_up(&self) -> bool {
        self.shared.live.load().is_some()
    }

    /// Whom it is connected to or not, in words.
    pub fn status(&self) -> String {
        let name = &self.shared.name;
        match self.shared.live.load().as_ref().map(|live| &live.address) {
            Some(Some(address)) => format!("redis {name} at {address} connected"),
            Some(None) => format!("redis {name} connected"),
            None => format!("redis {name} not connected"),
        }
    }
}

/// Whether it is this error of Redis. Before Redis 7 one within a script is told in the script's own.
fn has_code(error: &RedisError, code: &str) -> bool {
    let within = || error.detail().is_some_and(|detail| detail.contains(&format!("-{code} ")));
    error.code() == Some(code) || within()
}

/// What is cancelled here is answered to nobody.
async fn say(mut connection: MultiplexedConnection, what: Ask<'_>, hash: &str) -> RedisResult<Value> {
    match what {
        Ask::Charge(call) => match call.by_hash(hash).query_async(&mut connection).await {
            // It was flushed, or the server begun anew. Nothing was counted.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                call.by_text().query_async(&mut connection).await
            }
            outcome => outcome,
        },
        Ask::ChargeMoving(call) => {
            // The two have to follow each other on the connection, and others share it.
            let mut both = redis::pipe();
            both.cmd("ASKING").add_command(call.by_text());
            let answers = connection.req_packed_commands(&both, 0, 2).await?;
            answers.into_iter().next_back().unwrap_or(Value::Nil).extract_error()
        }
        Ask::Command(command) => command.query_async(&mut connection).await,
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(error) => error,
            // It is a node of a cluster, and nobody has said so.
            Fault::Elsewhere(_) => Self::Failed,
        }
    }
}

impl Live {
    fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.in_vain.store(0, Ordering::Relaxed);
    }

    /// A request has waited in vain. For how long that has been so.
    fn waited_in_vain(&self) -> Duration {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let first = self.in_vain.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        Duration::from_millis(now.saturating_sub(first.err().unwrap_or(now)))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn keep(self: Arc<Self>, target: Target) {
        let (shortest, longest) = BACKOFF;
        let mut backoff = shortest;
        let mut told = false;
        let mut other = None;
        loop {
            let outcome = match other.take() {
                Some(other) => Ok(Ok(other)),
                None => tokio::time::timeout(CONNECT, connect(&target, &self.common.script)).await,
            };
            match outcome {
                Ok(Ok((connection, address))) => {
                    let at = address.as_ref().map(tracing::field::display);
                    tracing::info!(target: "fyke::ratelimit", redis = self.name, at, "connected to redis");
                    told = false;
                    self.common.connects.fetch_add(1, Ordering::Relaxed);
                    let live = Arc::new(Live {
                        connection,
                        address,
                        begun: Instant::now(),
                        answers: AtomicU64::new(0),
                        in_vain: AtomicU64::new(0),
                        broken: AtomicBool::new(false),
                        waiting: tokio::sync::Semaphore::new(MOST_WAITING),
                    });
                    self.live.store(Some(Arc::clone(&live)));
                    self.common.connected.notify_one();
                    other = tokio::select! {
                        () = self.watch(&live) => None,
                        other = self.elsewhere(&target, &live) => Some(other),
                    };
                    if other.is_some() {
                        tracing::warn!(target: "fyke::ratelimit", redis = self.name, "sentinels name another primary");
                        continue;
                    }
                    self.live.store(None);
                    // One that can be connected to and does not work is not connected to all the time.
                    let lasted = live.begun.elapsed() > longest;
                    backoff = if lasted { shortest } else { (backoff * 2).min(longest) };
                }
                outcome => {
                    let reason = match outcome {
                        Ok(Err(error)) => error.to_string(),
                        _ => "it does not answer".to_owned(),
                    };
                    // Once for each time that it is away; what follows is the same again.
                    if !told {
                        tracing::warn!(target: "fyke::ratelimit", redis = self.name, reason, "cannot connect to redis");
                    }
                    told = true;
                    backoff = (backoff * 2).min(longest);
                }
            }
            tokio::time::sleep(backoff.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }

    /// Waits until a connection is broken. Where nothing is asked, it asks itself.
    async fn watch(&self, live: &Arc<Live>) {
        let mut answers = 0;
        while !live.broken.load(Ordering::Acquire) {
            if tokio::time::timeout(IDLE, self.look.notified()).await.is_ok() {
                continue;
            }
            let known = std::mem::replace(&mut answers, live.answers.load(Ordering::Relaxed));
            if known != answers {
                continue;
            }
            let mut connection = live.connection.clone();
            match tokio::time::timeout(CONNECT, redis::cmd("PING").query_async::<Value>(&mut connection)).await {
                Ok(Err(error)) if error.is_connection_dropped() || error.is_io_error() => {
                    self.give_up(live, &error.to_string());
                }
                // It answers, though it may refuse: requests will see.
                Ok(_) => {}
                Err(_) if live.answers.load(Ordering::Relaxed) != answers => {}
                Err(_) => self.give_up(live, "it does not answer"),
            }
        }
    }

    /// Waits until the name leads elsewhere, and connects to there.
    async fn elsewhere(&self, target: &Target, live: &Live) -> Connected {
        let Some(present) = &live.address else { return std::future::pending().await };
        let (at_least, at_most) = AGAIN;
        loop {
            tokio::time::sleep(at_least).await;
            let at_most = at_most.mul_f64(0.5 + fastrand::f64() / 2.0);
            // Doubted or not, it is time.
            let _ = tokio::time::timeout(at_most - at_least, self.doubt.notified()).await;
            let other = async {
                let (mut connection, address) = target.other(present).await?;
                let is_ready = self.common.script.load_async(&mut connection).await.is_ok();
                is_ready.then_some((connection, Some(address)))
            };
            if let Ok(Some(other)) = tokio::time::timeout(CONNECT, other).await {
                return other;
            }
        }
    }

    fn give_up(&self, live: &Live, reason: &str) {
        if !live.broken.swap(true, Ordering::AcqRel) {
            tracing::warn!(target: "fyke::ratelimit", redis = self.name, reason, "lost redis");
            self.look.notify_one();
        }
    }
}

async fn connect(target: &Target, script: &Script) -> RedisResult<Connected> {
    let (mut connection, address) = target.connect().await?;
    script.load_async(&mut connection).await?;
    Ok((connection, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_ran_into_is_recognised_in_every_version_of_redis() {
        let error = |text: &str| {
            let answer = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap();
            answer.extract_error().unwrap_err()
        };
        let old = "ERR Error running script (call to f_0): @user_script:77: @user_script: 77: -READONLY You can't write \
            against a read only replica.";
        assert!(has_code(&error(old), "READONLY"));
        assert!(!has_code(&error(old), "NOREPLICAS"));
        assert!(has_code(&error("READONLY You can't write against a read only replica. script: 0"), "READONLY"));
        assert!(has_code(&error("NOREPLICAS Not enough good replicas to write. script: 0"), "NOREPLICAS"));
        assert!(has_code(&error("MASTERDOWN Link with MASTER is down"), "MASTERDOWN"));
        assert!(!has_code(&error("ERR unknown command"), "READONLY"));
    }
}
