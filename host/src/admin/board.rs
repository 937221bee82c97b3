//! What the dashboard keeps between two looks: the last hour, who looks, and who has signed in.
//!
//! Once a second, on a thread that may block, counters are read and then everybody who looks at an open page is sent what
//! has changed on it. Where nobody looks only the first costs anything, and what it costs is bounded by the number of
//! services that the history has room for, not by the number of clusters.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use rustix::rand::GetRandomFlags;
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{self, Receiver, Sender},
};

use super::{
    Admin,
    access::Peer,
    dashboard::{
        live::{FEEDS, Feed, PERIOD},
        model::{Time, Viewer},
        session::Sessions,
    },
    dashboard_source::{Host, Kept},
};

/// What may wait for a browser to be read. One that is further behind is cut off, and comes back.
const BEHIND: usize = 4;

/// See the module.
pub struct Board {
    kept: Mutex<Kept>,
    feeds: Mutex<Vec<Open>>,
    room: Arc<Semaphore>,
    /// Browsers that have given the token.
    pub(super) sessions: Sessions,
    /// What forms of those bring back who may open the unix socket.
    secret: String,
}

/// An open page.
struct Open {
    feed: Feed,
    sender: Sender<Bytes>,
    _room: OwnedSemaphorePermit,
}

impl Board {
    /// For an endpoint at this port; `None`: it is a socket in the file system.
    ///
    /// # Errors
    /// The system has no entropy.
    pub fn new(port: Option<u16>) -> io::Result<Self> {
        let secret = entropy()?.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            kept: Mutex::default(),
            feeds: Mutex::default(),
            room: Arc::new(Semaphore::new(FEEDS)),
            sessions: Sessions::new(port.unwrap_or(0)),
            secret,
        })
    }

    /// What is kept of the past.
    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }

    /// Who asks, with these cookies.
    pub(super) fn viewer(&self, peer: Peer, cookies: &str) -> Viewer {
        match peer {
            Peer::Socket => Viewer { csrf: Some(self.secret.clone()), signs_in: false },
            Peer::Address(_) => self.sessions.viewer(now(), cookies),
        }
    }

    /// Opens a session. Returns the value of `Set-Cookie`.
    ///
    /// # Errors
    /// The system has no entropy.
    pub(super) fn sign_in(&self) -> io::Result<String> {
        Ok(self.sessions.open(now(), entropy()?))
    }

    /// Keeps a page up to date from now on; `None`: too many are open already.
    pub(super) fn follow(&self, mut feed: Feed, host: &Host<'_>) -> Option<Receiver<Bytes>> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        let (sender, receiver) = mpsc::channel(BEHIND);
        sender.try_send(feed.poll(host).into()).ok()?;
        lock(&self.feeds).push(Open { feed, sender, _room: room });
        Some(receiver)
    }

    fn tick(&self, admin: &Admin) {
        let host = Host::new(admin);
        self.kept().sample(host.now, &host.snapshot, admin.keeper.proxy.registry());
        let mut feeds = std::mem::take(&mut *lock(&self.feeds));
        feeds.retain_mut(|open| !open.sender.is_closed() && open.sender.try_send(open.feed.poll(&host).into()).is_ok());
        lock(&self.feeds).append(&mut feeds);
    }
}

/// Ticks until it is aborted.
pub(super) async fn run(admin: Arc<Admin>) {
    let mut timer = tokio::time::interval(Duration::from_millis(PERIOD));
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let admin = Arc::clone(&admin);
        if let Err(error) = tokio::task::spawn_blocking(move || admin.board.tick(&admin)).await {
            tracing::error!("the dashboard cannot be brought up to date: {error}");
        }
    }
}

/// What time it is.
pub(super) fn now() -> Time {
    time(SystemTime::now())
}

/// A moment as the pages have it.
pub(super) fn time(moment: SystemTime) -> Time {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn entropy() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
