//! Time that passes while a filter waits: [`sleep`] and [`timeout`], on the host's timer.
//!
//! A module has one timer for each of its plugin contexts (`proxy_set_tick_period_milliseconds`). It runs only while somebody
//! waits, and is set for whoever is due first; a host's timers are as exact as its milliseconds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use crate::abi;
use crate::future::{Either, select};
use crate::mailbox::Mailbox;
use crate::owner::{self, Owner};

/// Waits.
///
/// Outside of a stream and of a task there is nobody to wake: it then never ends.
pub async fn sleep(duration: Duration) {
    let Some(owner) = owner::current() else { return std::future::pending().await };
    let alarm = Alarm::after(owner, duration);
    poll_fn(|cx| alarm.bell.poll(cx)).await;
}

/// Waits for `future`, but no longer than `limit`; then it is dropped, which cancels what it had begun.
///
/// ```no_run
/// # use fyke_sdk::{Cluster, HttpRequest, Result, timeout};
/// # use std::time::Duration;
/// # async fn example(authz: &Cluster) -> Result<()> {
/// let both = async {
///     let user = authz.call(HttpRequest::get("/user")).await?;
///     authz.call(HttpRequest::get("/rights").header("x-user", user.body())).await
/// };
/// let rights = timeout(Duration::from_millis(300), both).await??;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Elapsed`] when the time was up.
pub async fn timeout<T: IntoFuture>(limit: Duration, future: T) -> Result<T::Output, Elapsed> {
    match select(future, sleep(limit)).await {
        Either::Left(output) => Ok(output),
        Either::Right(()) => Err(Elapsed),
    }
}

/// The time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was up")
    }
}

impl std::error::Error for Elapsed {}

type Bell = Mailbox<()>;

/// By deadline, and by number where two have the same.
type Key = (u64, u64);

/// Wakes its owner once, when its time has come. Dropped, it wakes nobody.
#[derive(Debug)]
pub(crate) struct Alarm {
    key: Key,
    bell: Rc<Bell>,
}

#[derive(Default)]
struct Alarms {
    waiting: BTreeMap<Key, Rc<Bell>>,
    next: u64,
}

thread_local! {
    static ALARMS: RefCell<Alarms> = const { RefCell::new(Alarms { waiting: BTreeMap::new(), next: 0 }) };
}

impl Alarm {
    /// One that is due in a while.
    pub(crate) fn after(owner: Owner, duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self::set(owner, abi::monotonic().saturating_add(nanoseconds))
    }

    /// Whether its time has come, and its owner was woken.
    pub(crate) fn has_rung(&self) -> bool {
        self.bell.is_full()
    }

    fn set(owner: Owner, deadline: u64) -> Self {
        let bell = Bell::new(owner);
        let key = ALARMS.with_borrow_mut(|alarms| {
            alarms.next += 1;
            let key = (deadline, alarms.next);
            alarms.waiting.insert(key, bell.clone());
            key
        });
        wind();
        Self { key, bell }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        ALARMS.with_borrow_mut(|alarms| alarms.waiting.remove(&self.key));
    }
}

/// Sets the timer of the plugin context at hand for whoever is due first; nobody: switches it off.
fn wind() {
    let first = ALARMS.with_borrow(|alarms| alarms.waiting.keys().next().map(|(deadline, _)| *deadline));
    let period = first.map_or(0, |deadline| {
        let milliseconds = deadline.saturating_sub(abi::monotonic()).div_ceil(1_000_000);
        u32::try_from(milliseconds).unwrap_or(u32::MAX).clamp(1, i32::MAX.unsigned_abs())
    });
    abi::set_tick_period(period);
}

/// `proxy_on_tick`: takes out everyone whose time has come, `wake`s each, and sets the timer for the next.
pub(crate) fn tick(mut wake: impl FnMut(Owner)) {
    let now = abi::monotonic();
    let due = ALARMS.with_borrow_mut(|alarms| {
        let later = alarms.waiting.split_off(&(now.saturating_add(1), 0));
        std::mem::replace(&mut alarms.waiting, later)
    });
    for bell in due.into_values() {
        wake(bell.put(()));
    }
    wind();
}

/// The tasks of [`Env::every`](crate::Env::every): again and again, the first time at once.
pub(crate) async fn every<F, R>(period: Duration, mut task: impl FnMut() -> F, mut failed: impl FnMut(R))
where
    F: Future<Output = Result<(), R>>,
{
    // A moment later, when the plugin serves.
    sleep(Duration::ZERO).await;
    loop {
        let started = abi::monotonic();
        {
            let run = pin!(task());
            if let Err(error) = run.await {
                failed(error);
            }
        }
        let taken = Duration::from_nanos(abi::monotonic().saturating_sub(started));
        sleep(period.saturating_sub(taken).max(Duration::from_millis(1))).await;
    }
}
