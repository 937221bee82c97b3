//! One connection for all requests, and making it again.
//!
//! A task owns the connection's life: it connects, puts the connection where requests find it, waits until one of them says that it is broken,
//! and begins again. Between two attempts it waits, ever longer and never equally long. Requests never connect: where there is no
//! connection they fail at once.
//!
//! A connection whose answers do not come is broken too, although nothing says so: when requests have waited in vain for [`PATIENCE`] timeouts,
//! and none was answered in between, it is given up, together with all that waits in it. So what waits in it is bounded, and a Redis that
//! hangs costs requests their timeout for moments only. One that has become a replica is given up too: its name may lead elsewhere by now.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ErrorKind, Script, ScriptInvocation, ServerErrorKind,
    TlsCertificates, Value,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::{StoreError, StoreStatus};
use crate::error::StartError;
use crate::settings::RedisSettings;

/// For how many timeouts a connection may answer nothing before it is given up; less than [`STALL`] is never enough.
const PATIENCE: u32 = 10;

/// How long Redis may stall, as it does when it forks, without being given up.
const STALL: Duration = Duration::from_millis(250);

/// How long making a connection may take, with all that is said on it first.
const CONNECT: Duration = Duration::from_secs(2);

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

#[derive(Debug)]
struct Shared {
    live: ArcSwapOption<Live>,
    /// Something may be broken.
    look: Notify,
    connects: AtomicU64,
    address: String,
}

#[derive(Debug)]
struct Live {
    connection: MultiplexedConnection,
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
    pub fn new(settings: &RedisSettings, script: Script) -> Result<Self, StartError> {
        let client = client(settings)?;
        let address = client.get_connection_info().addr().to_string();
        let shared = Arc::new(Shared {
            live: ArcSwapOption::empty(),
            look: Notify::new(),
            connects: AtomicU64::new(0),
            address,
        });
        let task = tokio::spawn(Arc::clone(&shared).keep(client, script));
        Ok(Self { shared, timeout: settings.timeout(), task })
    }

    /// Asks, and waits no longer than the timeout.
    pub async fn invoke(&self, call: &ScriptInvocation<'_>) -> Result<Value, StoreError> {
        let live = self.shared.live.load_full().filter(|live| !live.broken.load(Ordering::Acquire));
        let live = live.ok_or(StoreError::Unavailable)?;
        let _waits = live.waiting.try_acquire().map_err(|_| StoreError::Unavailable)?;
        let mut connection = live.connection.clone();
        match tokio::time::timeout(self.timeout, call.invoke_async(&mut connection)).await {
            Ok(Ok(answer)) => {
                live.answered();
                Ok(answer)
            }
            Ok(Err(error))
                if error.is_connection_dropped() || error.is_io_error() || error.is_unrecoverable_error() =>
            {
                self.shared.give_up(&live, &error.to_string());
                Err(StoreError::Unavailable)
            }
            Ok(Err(error)) => {
                // Redis answers, but not to the point: it is loading, out of memory, or not Redis.
                live.answered();
                tracing::debug!(target: "fyke::ratelimit", %error, "redis refused a charge");
                if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) {
                    self.shared.give_up(&live, "it is a replica");
                }
                Err(StoreError::Failed)
            }
            Err(_) => {
                if live.waited_in_vain() >= STALL.max(self.timeout * PATIENCE) {
                    self.shared.give_up(&live, "it does not answer");
                }
                Err(StoreError::Timeout)
            }
        }
    }

    pub fn status(&self) -> StoreStatus {
        let is_up = self.shared.live.load().is_some();
        let state = if is_up { "connected" } else { "not connected" };
        StoreStatus { is_up, text: format!("redis {} {state}", self.shared.address) }
    }

    pub fn connects(&self) -> u64 {
        self.shared.connects.load(Ordering::Relaxed)
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
    async fn keep(self: Arc<Self>, client: Client, script: Script) {
        let (shortest, longest) = BACKOFF;
        let mut backoff = shortest;
        let mut told = false;
        loop {
            match tokio::time::timeout(CONNECT, connect(&client, &script)).await {
                Ok(Ok(connection)) => {
                    tracing::info!(target: "fyke::ratelimit", redis = self.address, "connected to redis");
                    told = false;
                    self.connects.fetch_add(1, Ordering::Relaxed);
                    let live = Arc::new(Live {
                        connection,
                        begun: Instant::now(),
                        answers: AtomicU64::new(0),
                        in_vain: AtomicU64::new(0),
                        broken: AtomicBool::new(false),
                        waiting: tokio::sync::Semaphore::new(MOST_WAITING),
                    });
                    self.live.store(Some(Arc::clone(&live)));
                    self.watch(&live).await;
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
                        tracing::warn!(target: "fyke::ratelimit", redis = self.address, reason, "cannot connect to redis");
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

    fn give_up(&self, live: &Live, reason: &str) {
        if !live.broken.swap(true, Ordering::AcqRel) {
            tracing::warn!(target: "fyke::ratelimit", redis = self.address, reason, "lost redis");
            self.look.notify_one();
        }
    }
}

async fn connect(client: &Client, script: &Script) -> redis::RedisResult<MultiplexedConnection> {
    // Who asks has a timeout, and decides what it means.
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    script.load_async(&mut connection).await?;
    Ok(connection)
}

fn client(settings: &RedisSettings) -> Result<Client, StartError> {
    let wrong = |error: redis::RedisError| StartError::Redis(error.to_string());
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| StartError::Redis(format!("{} cannot be read: {error}", path.display())))
    };
    if settings.ca.is_none() && settings.certificate.is_none() && settings.key.is_none() {
        return Client::open(settings.url.as_str()).map_err(wrong);
    }
    if !settings.url.starts_with("rediss://") {
        return Err(StartError::Redis("ca, certificate and key belong to a url that begins with rediss://".to_owned()));
    }
    let client_tls = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => {
            Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
        }
        (None, None) => None,
        _ => return Err(StartError::Redis("certificate and key belong together".to_owned())),
    };
    let root_cert = settings.ca.as_deref().map(read).transpose()?;
    Client::build_with_tls(settings.url.as_str(), TlsCertificates { client_tls, root_cert }).map_err(wrong)
}
