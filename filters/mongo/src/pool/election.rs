//! Operations that no server can serve yet: nobody is primary while a replica set elects one, or nobody can be reached. They wait, as they would
//! at a mongos and in a driver, and are asked for again.
//!
//! However many wait, one of a worker asks the servers now and then, and the others look at what it has learned.

use std::time::Duration;

use fyke_sdk::tcp::show_now;
use fyke_sdk::{Result, Side};

use super::directory;
use super::facts::Command;
use super::failure::LeaseFailure;
use super::link::{Link, Stage, is_elsewhere};
use super::operation::{Kind, Operation};
use super::service::Service;
use super::stats::Counted;
use crate::connection::Connection;
use crate::filter::Mongo;
use crate::message::request::Request;

/// After this time it is tried for the first time. Each time after is twice as long, up to [`LONGEST`]. Milliseconds.
const SHORTEST: u64 = 50;
/// What drivers wait between two looks at a server (`minHeartbeatFrequencyMS`). Milliseconds.
const LONGEST: u64 = 500;

/// An operation's time to find its server in.
#[derive(Debug)]
pub struct Search {
    /// When it is over.
    ends: u64,
    /// When it is tried again.
    next: u64,
    pause: u64,
    /// While nothing is asked for.
    counted: Option<Counted>,
}

impl Search {
    fn new(now: u64, limit: Duration) -> Self {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Self { ends: now.saturating_add(limit), next: now, pause: SHORTEST, counted: None }
    }

    /// Whether there is no time left.
    pub fn is_over(&self, now: u64) -> bool {
        now >= self.ends
    }

    /// Whether there is time for one more.
    fn goes_on(&mut self, now: u64) -> bool {
        if self.is_over(now) {
            return false;
        }
        self.next = now.saturating_add(self.pause).min(self.ends);
        self.pause = (self.pause * 2).min(LONGEST);
        true
    }
}

/// Whether a command is worth waiting: not where it only tidies up, or asks whether somebody is there.
fn is_worth_it(request: &Request) -> bool {
    let command = Command::of(request);
    !matches!(Operation::of(&command).kind, Kind::KillCursors | Kind::EndSessions | Kind::Abort)
        && command.name != "ping"
}

/// How long it may wait: not longer than it says that it may take (`maxTimeMS`).
fn limit(pool: &Service, request: &Request) -> Duration {
    match u64::try_from(request.max_time) {
        Ok(most) if most > 0 => pool.selection_timeout.min(Duration::from_millis(most)),
        _ => pool.selection_timeout,
    }
}

impl Link {
    /// From now on, at the latest, the operation at hand looks for its server.
    pub(super) fn begin_search(&mut self, pool: &Service, request: &Request, now: u64) -> &mut Search {
        self.search.get_or_insert_with(|| Search::new(now, limit(pool, request)))
    }

    /// When something has to be done for what waits. Milliseconds.
    fn due(&self) -> Option<u64> {
        match &self.stage {
            Stage::Searching => self.search.as_ref().map(|search| search.next),
            Stage::Greeting(_, until) if *until > 0 => {
                Some(self.search.as_ref().map_or(*until, |search| search.ends.min(*until)))
            }
            _ => None,
        }
    }

    /// How long until then.
    pub(super) fn rest(&self) -> Option<Duration> {
        self.due().map(|due| Duration::from_millis(due.saturating_sub(directory::now()).max(1)))
    }
}

impl Mongo {
    /// Whether an operation for which nothing was lent waits for a server.
    pub(super) fn searches(pool: &Service, link: &mut Link, cx: &Connection, why: LeaseFailure) -> Result<bool> {
        let may_come = matches!(why, LeaseFailure::NoEndpoint | LeaseFailure::Connect);
        let now = directory::now();
        // What one server has is not to be had from another. Without a clock nobody could wait for so long and no longer.
        if !may_come || !link.exchange.is_free() || now == 0 || !is_worth_it(&cx.requests.content) {
            return Ok(false);
        }
        let search = link.begin_search(pool, &cx.requests.content, now);
        if !search.goes_on(now) {
            return Ok(false);
        }
        search.counted = Some(pool.stats.searches());
        link.stage = Stage::Searching;
        show_now(Side::Downstream)?;
        Ok(true)
    }

    /// Does what is due for an operation that waits for a server: it is tried again, or a server is not waited for any more that does not
    /// say what it is.
    pub(super) fn search(&self, pool: &Service, link: &mut Link, cx: &mut Connection) -> Result<()> {
        let now = directory::now();
        if link.due().is_none_or(|due| now < due) {
            return Ok(());
        }
        if let Stage::Greeting(server, until) = &link.stage {
            let (server, is_unheard) = (server.clone(), now >= *until);
            link.close("the server has not said what it is");
            if is_unheard {
                return self.unheard(pool, link, cx, &server);
            }
            // The operation's own time is over.
            link.is_asked(&server);
            return self.ask_again(pool, link, cx);
        }
        if is_elsewhere(pool, link, cx) {
            link.stage = Stage::Idle;
            return link.begin_anew();
        }
        let mut directory = pool.directory(link.to).borrow_mut();
        directory.catch_up(now);
        let Some(lease) = link.exchange.lease_anew(directory.fleet().topology()) else { return Ok(()) };
        let is_known = directory.may_serve(lease.role(), lease.or);
        if !is_known {
            link.to_ask = directory.ask_anew(now, LONGEST);
        }
        drop(directory);
        let Some(search) = &mut link.search else { return Ok(()) };
        if !is_known && link.to_ask.is_empty() && search.goes_on(now) {
            return Ok(());
        }
        search.counted = None;
        link.stage = Stage::Idle;
        self.ask(pool, link, cx, lease)
    }
}
