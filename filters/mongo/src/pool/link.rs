//! One client whose requests go over connections that it borrows: asking for one, using it, losing it, and what the client is told then.
//!
//! What requests are is `requests.rs`, what servers say is `replies.rs`.

use fyke_sdk::tcp::{self, show_again, show_now};
use fyke_sdk::{Data, LeaseRefused, LeaseToken, Leased, Result, Side, abi};

use super::directory::SETTLED;
use super::election::Search;
use super::exchange::{Exchange, Failure, Lease, Target, Upstream};
use super::facts::Command;
use super::failure::{Breakage, LeaseFailure};
use super::greeting::failure;
use super::operation::Operation;
use super::service::Service;
use super::stats::Counted;
use super::ways::Destination;
use super::{directory, exchange};
use crate::connection::{Connection, Place};
use crate::filter::Mongo;
use crate::wire::frames::{Event, Frames};

/// How long a server may take to say what it is, on a connection that it had. Milliseconds.
pub(super) const LONGEST_GREETING: u64 = 2_000;

/// A client of the pool.
#[derive(Debug, Default)]
pub struct Link {
    pub(super) exchange: Exchange,
    /// What is asked for, or lent.
    pub(super) loan: Option<Loan>,
    pub(super) stage: Stage,
    /// Where the exchange at hand goes, and as whom.
    pub(super) to: Destination,
    /// What the exchange wants, while it is asked for.
    wanted: Option<Lease>,
    /// While the operation at hand waits for a server that may serve it.
    pub(super) search: Option<Search>,
    /// Servers that are asked what they are before, whatever is known of them. The last one first.
    pub(super) to_ask: Vec<String>,
    /// Servers that were asked for the operation at hand since a connection for it was asked for.
    pub(super) asked: Vec<String>,
    /// Where operations go has changed while this one waited: it begins anew.
    pub(super) begins_anew: bool,
    /// So many bytes of the client come next that go nowhere.
    pub(super) swallow: u64,
    /// Not all of the request was here when it was let go, and nobody knows how much of it is.
    pub(super) is_incomplete: bool,
    /// For this exchange the servers were asked anew already.
    pub(super) has_doubted: bool,
    /// What this client is told of the servers, when none was heard yet.
    pub(super) introduction: Introduction,
    /// The reply's header went by.
    pub(super) is_begun: bool,
    /// The reply was read, and its last byte is not here: whether it could be read.
    pub(super) read: Option<bool>,
}

/// A `hello` that comes before any server was heard waits for one: a client that is told of abilities which its servers do not have would use them.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Introduction {
    /// Nobody had to wait.
    #[default]
    None,
    /// A connection is asked for; its server will have been heard before it is lent.
    Waits,
    /// One was lent, or there is none: the request at hand begins anew.
    Over,
    /// It is not tried twice for one client.
    Done,
}

/// A connection that is asked for, or lent.
#[derive(Debug)]
pub struct Loan {
    pub(super) token: LeaseToken,
    _counted: Counted,
}

/// What a lease is for.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// There is none.
    #[default]
    Idle,
    /// Asked for, to ask this server what it is.
    Probing(String),
    /// Lent: this server was asked, and answers until then. Milliseconds; zero: there is no clock.
    Greeting(String, u64),
    /// Asked for, for the request that waits.
    Asking,
    /// Nobody can serve the request; it is tried again now and then.
    Searching,
    /// Lent: the request is on its way or answered in part.
    Lent(String),
}

impl Link {
    /// A client's connection with this number.
    pub fn new(number: i32) -> Self {
        Self { exchange: Exchange::new(number), ..Self::default() }
    }

    /// Gives back what is borrowed, fit for others.
    pub(super) fn release(&mut self) {
        self.stage = Stage::Idle;
        if let Some(loan) = self.loan.take() {
            loan.token.release();
        }
    }

    /// A server has said what it is, or will not.
    pub(super) fn is_asked(&mut self, server: &str) {
        self.to_ask.retain(|other| other != server);
    }

    /// The request at hand, which waits for a connection, is looked at anew.
    pub(super) fn begin_anew(&mut self) -> Result<()> {
        self.exchange.withdraw();
        self.begins_anew = true;
        show_now(Side::Downstream)
    }

    pub(super) fn close(&mut self, why: &str) {
        self.stage = Stage::Idle;
        if let Some(loan) = self.loan.take() {
            loan.token.close(why);
        }
    }
}

impl Mongo {
    /// Asks for a connection, and before for one to a server of which nothing is known.
    pub(super) fn ask(&self, pool: &Service, link: &mut Link, cx: &mut Connection, lease: Lease) -> Result<()> {
        let now = directory::now();
        let mut directory = pool.directory(link.to).borrow_mut();
        directory.catch_up(now);
        let is_late = link.search.as_ref().is_some_and(|search| search.is_over(now));
        if is_late || directory.may_serve(lease.role(), None) {
            // What was asked for is known, or comes too late.
            link.to_ask.clear();
        }
        let unseen = match lease.target {
            // Whoever has a cursor or transaction has it, whatever it is now.
            Target::Server(_) => None,
            // Once more, and no more, where there is no time left.
            Target::Any | Target::Label(_) if is_late && link.has_doubted => None,
            Target::Any | Target::Label(_) => {
                link.to_ask.last().cloned().or_else(|| directory.unseen(now, &link.asked))
            }
        };
        drop(directory);
        match &unseen {
            // From now on it waits for a server, where it may.
            Some(server) => {
                link.asked.push(server.clone());
                if !pool.selection_timeout.is_zero() {
                    link.begin_search(pool, &cx.requests.content, now);
                }
            }
            None => link.asked.clear(),
        }
        let request = unseen.as_ref().map_or_else(|| pool.lease(link.to, &lease), |server| pool.probe(link.to, server));
        link.wanted = Some(lease);
        match request.ask() {
            Ok(token) => {
                link.loan = Some(Loan { token, _counted: pool.stats.waits() });
                link.stage = unseen.map_or(Stage::Asking, Stage::Probing);
                Ok(())
            }
            Err(error) => {
                fyke_sdk::log::write(abi::Level::Warn, &format!("mongo: {error}"));
                // A cluster that was not there when this client connected; its next connection knows it.
                let is_switched = link.to.way > 0;
                let why = if is_switched { LeaseFailure::Draining } else { LeaseFailure::NoEndpoint };
                self.refused(pool, link, cx, why)
            }
        }
    }

    /// Asks again for what the exchange wants.
    pub(super) fn ask_again(&self, pool: &Service, link: &mut Link, cx: &mut Connection) -> Result<()> {
        if link.introduction == Introduction::Waits && pool.has_heard(link.to) {
            return introduced(link);
        }
        match link.wanted.take() {
            Some(lease) => self.ask(pool, link, cx, lease),
            None => Ok(()),
        }
    }

    /// A server that was asked what it is has not said so: the next one is asked, or what the exchange wants.
    pub(super) fn unheard(&self, pool: &Service, link: &mut Link, cx: &mut Connection, server: &str) -> Result<()> {
        pool.directory(link.to).borrow_mut().failed(server, directory::now());
        link.is_asked(server);
        self.ask_again(pool, link, cx)
    }

    /// What was asked for is lent, or it is not.
    pub(crate) fn leased(
        &self,
        pool: &Service,
        link: &mut Link,
        cx: &mut Connection,
        lease: Result<Leased, LeaseRefused>,
        data: &mut Data,
    ) -> Result<()> {
        link.loan = None;
        match (std::mem::take(&mut link.stage), lease) {
            (Stage::Probing(server), Ok(lease)) => {
                link.loan = Some(Loan { token: lease.token, _counted: pool.stats.has() });
                let now = directory::now();
                let is_asked_anew = link.to_ask.last() == Some(&server);
                // A new connection has told while it was made; who is asked anew is asked.
                if !is_asked_anew && pool.directory(link.to).borrow_mut().knows(&server, now) {
                    link.release();
                    link.is_asked(&server);
                    return self.ask_again(pool, link, cx);
                }
                data.write(Side::Upstream, Service::question())?;
                let until = if now == 0 { 0 } else { now.saturating_add(LONGEST_GREETING) };
                link.stage = Stage::Greeting(server, until);
                // So that it is not waited for without end.
                show_now(Side::Downstream)
            }
            (Stage::Probing(server), Err(refused)) => {
                let why = failure(&refused);
                if why == LeaseFailure::QueueFull {
                    return self.not_leased(pool, link, cx, why, &refused.text);
                }
                let mut directory = pool.directory(link.to).borrow_mut();
                // Where all connections are busy, nothing is wrong with the server.
                if why != LeaseFailure::QueueTimeout || directory.fleet().role(&server).is_none() {
                    directory.failed(&server, directory::now());
                }
                drop(directory);
                link.is_asked(&server);
                self.ask_again(pool, link, cx)
            }
            (Stage::Asking, Ok(lease)) => self.lent(pool, link, cx, lease, data),
            (Stage::Asking, Err(refused)) => self.not_leased(pool, link, cx, failure(&refused), &refused.text),
            (_, Ok(lease)) => {
                lease.token.release();
                Ok(())
            }
            (_, Err(_)) => Ok(()),
        }
    }

    fn lent(&self, pool: &Service, link: &mut Link, cx: &mut Connection, lease: Leased, data: &mut Data) -> Result<()> {
        let server = self.servers.borrow_mut().get(lease.endpoint.as_bytes());
        let pinned = link.wanted.as_ref().and_then(|wanted| wanted.pinned);
        pool.stats.checkout(&lease, server.text(), pinned);
        let endpoint = lease.endpoint;
        link.loan = Some(Loan { token: lease.token, _counted: pool.stats.has() });
        if link.introduction == Introduction::Waits {
            link.release();
            return introduced(link);
        }
        if is_elsewhere(pool, link, cx) {
            link.release();
            return link.begin_anew();
        }
        match pool.with(link.to, |environment| link.exchange.on_leased(&endpoint, environment)) {
            exchange::Leased::Forward => {
                cx.server = Some(server);
                let length = cx.requests.header.length;
                data.pass(length as u64)?;
                link.is_incomplete = length > data.len();
                step_over(cx, length);
                link.stage = Stage::Lent(endpoint);
                (link.is_begun, link.read) = (false, None);
                if link.exchange.on_sent() != Upstream::Hold {
                    // Nothing is answered: it is free once the last byte has passed.
                    link.release();
                    show_again(Side::Downstream)?;
                }
                Ok(())
            }
            exchange::Leased::Again(lease) => {
                link.release();
                self.ask(pool, link, cx, lease)
            }
            exchange::Leased::Unwanted => {
                link.release();
                Ok(())
            }
        }
    }

    /// Nothing was lent. `text` names the server that could not be reached, if that is why.
    fn not_leased(
        &self,
        pool: &Service,
        link: &mut Link,
        cx: &mut Connection,
        why: LeaseFailure,
        text: &str,
    ) -> Result<()> {
        if link.introduction == Introduction::Waits {
            return introduced(link);
        }
        let is_role_moved = matches!(why, LeaseFailure::NoEndpoint | LeaseFailure::Connect);
        if let Some(wanted) = &link.wanted
            && link.exchange.is_free()
            && is_role_moved
        {
            let now = directory::now();
            let mut directory = pool.directory(link.to).borrow_mut();
            let unreachable = directory.named_in(text).map(str::to_owned);
            let doubts = wanted.role().is_some() && !std::mem::replace(&mut link.has_doubted, true);
            if doubts && directory.may_serve(wanted.role(), None) {
                directory.doubt_all(now);
            } else if doubts {
                link.to_ask = directory.ask_anew(now, SETTLED);
            }
            // Whoever had the role and cannot be reached is not waited for again before the others were asked.
            if let Some(server) = unreachable {
                directory.failed(&server, now);
            }
            let asks = doubts && (directory.unseen(now, &link.asked).is_some() || !link.to_ask.is_empty());
            drop(directory);
            if asks {
                return self.ask_again(pool, link, cx);
            }
        }
        let has_another = link.wanted.as_ref().is_some_and(|wanted| wanted.or.is_some());
        if !has_another && Self::searches(pool, link, cx, why)? {
            return Ok(());
        }
        self.refused(pool, link, cx, why)
    }

    /// Nothing is lent, and nothing is tried any more, but what the exchange itself knows.
    fn refused(&self, pool: &Service, link: &mut Link, cx: &mut Connection, why: LeaseFailure) -> Result<()> {
        link.stage = Stage::Idle;
        if link.introduction == Introduction::Waits {
            return introduced(link);
        }
        pool.stats.refused(why);
        let failure = pool.with(link.to, |environment| link.exchange.on_lease_failed(why, environment));
        match failure {
            Failure::Again(lease) => return self.ask(pool, link, cx, lease),
            // The request is still in front of what the host holds.
            Failure::Answer(_) | Failure::Discard => drop_request(link, cx),
            Failure::CloseClient | Failure::Nothing => {}
        }
        self.fail(cx, failure)
    }

    /// The connection that was lent is of no use any more.
    pub(super) fn broken(
        &self,
        pool: &Service,
        link: &mut Link,
        cx: &mut Connection,
        breakage: Breakage,
    ) -> Result<()> {
        pool.stats.broken(match breakage {
            Breakage::Violation => "violation",
            Breakage::TimedOut => "timeout",
            Breakage::Closed => "lost",
        });
        // A client that stopped, in its request or in reading the reply, says nothing of the server.
        let is_clients = breakage == Breakage::TimedOut && (link.is_incomplete || link.is_begun);
        if let Stage::Lent(server) = std::mem::take(&mut link.stage)
            && !is_clients
        {
            pool.directory(link.to).borrow_mut().doubt(&server);
        }
        cx.replies = Frames::default();
        cx.upstream = Place::default();
        let failure = pool.with(link.to, |environment| link.exchange.on_broken(breakage, environment));
        if std::mem::take(&mut link.is_incomplete) {
            // Where the next request begins is not known.
            self.end(cx, crate::names::Base::DestroyLocal);
            return tcp::close();
        }
        self.fail(cx, failure)
    }

    /// What was lent is lost.
    pub(crate) fn lease_lost(&self, pool: &Service, link: &mut Link, cx: &mut Connection) -> Result<()> {
        link.loan = None;
        match &link.stage {
            Stage::Greeting(server, _) => {
                let server = server.clone();
                link.stage = Stage::Idle;
                show_now(Side::Downstream)?;
                self.unheard(pool, link, cx, &server)
            }
            Stage::Lent(_) if tcp::taken_back() => self.broken(pool, link, cx, Breakage::TimedOut),
            Stage::Lent(_) => self.broken(pool, link, cx, Breakage::Closed),
            Stage::Idle | Stage::Probing(_) | Stage::Asking | Stage::Searching => Ok(()),
        }
    }

    /// Tells the client what became of its request.
    fn fail(&self, cx: &mut Connection, failure: Failure) -> Result<()> {
        match failure {
            Failure::Answer(reply) => self.answer(cx, reply)?,
            Failure::CloseClient => {
                self.end(cx, crate::names::Base::DestroyLocal);
                return tcp::close();
            }
            Failure::Discard | Failure::Again(_) | Failure::Nothing => {}
        }
        show_again(Side::Downstream)
    }

    /// Answers in a server's place; it is counted as a reply is.
    pub(super) fn answer(&self, cx: &mut Connection, reply: Vec<u8>) -> Result<()> {
        tcp::write(Side::Downstream, &reply)?;
        cx.server = None;
        let mut at = 0;
        loop {
            let event = cx.replies.advance(&reply, &mut at, 0, &self.reach, &mut self.inflater.borrow_mut());
            match event {
                None => break,
                Some(Event::Read { .. }) => self.reply(cx),
                Some(Event::Bad(_)) => self.unreadable_reply(cx),
                Some(Event::Known | Event::Lost(_)) => {}
            }
        }
        cx.upstream = Place::default();
        Ok(())
    }

    /// A client that says nothing more while an answer is due is gone: drivers close both sides at once, and a server that is frozen would have its
    /// connection, or its place among those who wait, kept for nobody.
    pub(super) fn has_left(link: &Link, data: &Data) -> bool {
        data.end_of_stream() && (link.exchange.owes_reply() || link.introduction == Introduction::Waits)
    }

    /// The client is gone.
    pub(crate) fn client_gone(link: &mut Link) {
        let upstream = link.exchange.on_client_gone();
        if matches!(link.stage, Stage::Greeting(..)) || upstream == Upstream::Close {
            link.close("the client is gone");
        } else {
            link.release();
        }
    }
}

/// Whether an operation that has waited may not go where it would have gone before.
pub(super) fn is_elsewhere(pool: &Service, link: &Link, cx: &Connection) -> bool {
    let is_left = pool.is_left(link.to);
    if !is_left && !pool.denies_writes() {
        return false;
    }
    let command = Command::of(&cx.requests.content);
    is_left && link.exchange.is_free() || Operation::of(&command).may_write(command.name)
}

/// As much as can be known of the servers is known.
fn introduced(link: &mut Link) -> Result<()> {
    link.introduction = Introduction::Over;
    show_again(Side::Downstream)
}

/// The request at hand goes nowhere.
pub(super) fn drop_request(link: &mut Link, cx: &mut Connection) {
    let length = cx.requests.header.length;
    step_over(cx, length);
    link.swallow = length as u64;
}

/// The reader goes to the end of the request at hand, of which it is shown nothing any more.
fn step_over(cx: &mut Connection, length: usize) {
    cx.requests.leave();
    cx.requests.passed(length.saturating_sub(cx.downstream.seen) as u64);
    cx.downstream.seen = cx.downstream.seen.saturating_sub(length);
    cx.downstream.base += length as u64;
}
