//! One client whose requests go over connections that it borrows.
//!
//! Requests wait in the host until the exchange before them is over ([`TcpFlow::NeedMore`]); the one at hand is read as far as it takes to
//! know what it is, and then passes as a whole, whether all of it is here or not. What is answered here is discarded in front of what the host holds.

use fyke_sdk::tcp::{self, show_again};
use fyke_sdk::{Data, LeaseRefused, LeaseToken, Leased, Result, Side, TcpFlow, abi};

use super::errors::{Code, ErrorReply, Form};
use super::exchange::{Decision, Exchange, Failure, Lease, Request, Target, Upstream};
use super::facts::{Command, Labels};
use super::failure::{Breakage, LeaseFailure};
use super::operation::{Kind, Operation};
use super::service::{Service, failure};
use super::{directory, exchange};
use crate::connection::{Connection, Place};
use crate::filter::Mongo;
use crate::operation::Cuts;
use crate::wire::frames::{Event, Frames};
use crate::wire::{self, opcode};

/// A client of the pool.
#[derive(Debug, Default)]
pub struct Link {
    pub(super) exchange: Exchange,
    /// What is asked for, or lent.
    pub(super) token: Option<LeaseToken>,
    pub(super) stage: Stage,
    /// What the exchange wants, while it is asked for.
    wanted: Option<Lease>,
    /// So many bytes of the client come next that go nowhere.
    swallow: u64,
    /// Not all of the request was here when it was let go, and nobody knows how much of it is.
    pub(super) is_incomplete: bool,
    /// For this exchange the servers were asked anew already.
    has_doubted: bool,
    /// The reply's header went by.
    pub(super) is_begun: bool,
    /// The reply was read, and its last byte is not here: whether it could be read.
    pub(super) read: Option<bool>,
}

/// What a lease is for.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// There is none.
    #[default]
    Idle,
    /// Asked for, to ask this server what it is.
    Probing(String),
    /// Lent: this server was asked.
    Greeting(String),
    /// Asked for, for the request that waits.
    Asking,
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
        self.token.take().into_iter().for_each(LeaseToken::release);
    }

    pub(super) fn close(&mut self, why: &str) {
        self.stage = Stage::Idle;
        if let Some(token) = self.token.take() {
            token.close(why);
        }
    }
}

impl Mongo {
    /// What the client says.
    pub(crate) fn pooled_requests(
        &self,
        pool: &Service,
        link: &mut Link,
        cx: &mut Connection,
        data: &mut Data,
    ) -> Result<TcpFlow> {
        // The request before has passed as a whole: these come after it.
        link.is_incomplete &= data.is_empty();
        let mut operations = Vec::new();
        loop {
            let here = usize::try_from(link.swallow).unwrap_or(usize::MAX).min(data.len());
            data.discard(here)?;
            link.swallow -= here as u64;
            if data.is_empty() || !link.exchange.is_idle() {
                break;
            }
            let mut inflater = self.inflater.borrow_mut();
            let place = &mut cx.downstream;
            let event = cx.requests.advance(data, &mut place.seen, place.base, &self.reach, &mut inflater);
            drop(inflater);
            match event {
                None if data.len() as u64 <= self.longest_held(cx) => break,
                Some(Event::Read { .. }) => {}
                Some(Event::Lost(length)) => return Ok(self.lost(cx, "client", length)),
                Some(Event::Known) if is_served(cx) => {
                    if self.decide(cx, data, &mut Cuts::default(), &mut operations, true) {
                        self.begin(pool, link, cx, data)?;
                    } else {
                        drop_request(link, cx);
                    }
                }
                event @ (None | Some(Event::Known | Event::Bad(_))) => {
                    if let Some(Event::Bad(unreadable)) = event {
                        self.stats.unreadable(unreadable.word());
                    }
                    if !is_served(cx) {
                        return Ok(self.unserved(cx));
                    }
                    self.decide(cx, data, &mut Cuts::default(), &mut operations, false);
                    drop_request(link, cx);
                }
            }
        }
        self.announce(&operations);
        Ok(TcpFlow::NeedMore)
    }

    /// Clients that speak what is not offered to them cannot be told so.
    fn unserved(&self, cx: &mut Connection) -> TcpFlow {
        let text = format!(
            "mongo: a client sends messages of kind {}, which the pool does not take",
            cx.requests.header.opcode
        );
        fyke_sdk::log::write(abi::Level::Warn, &text);
        self.end(cx, crate::names::Base::DestroyLocal);
        TcpFlow::Close
    }

    /// A request is known, and nothing is against it.
    fn begin(&self, pool: &Service, link: &mut Link, cx: &mut Connection, data: &mut Data) -> Result<()> {
        let header = cx.requests.header;
        let content = &cx.requests.content;
        let command = Command::of(content);
        let form = match content.opcode {
            opcode::MSG => Form::Message,
            _ if content.is_query() => Form::QueryFind,
            _ => Form::QueryCommand,
        };
        let more_to_come = !content.expects_reply();
        if pool.denies_writes && Operation::of(&command).kind == Kind::Write {
            pool.stats.denied();
            let error = ErrorReply::new(Code::NOT_WRITABLE_PRIMARY, "writes are disabled at the proxy")
                .with(Labels::RETRYABLE_WRITE.and(Labels::NO_WRITES));
            if !more_to_come {
                cx.number = cx.number.wrapping_add(1);
                let reply = error.message(form, cx.number, header.request_id);
                self.answer(cx, reply)?;
            }
            drop_request(link, cx);
            return Ok(());
        }
        let message = if Exchange::wants_document(command.name) { data.read(0, header.length) } else { Vec::new() };
        let request = Request {
            request_id: header.request_id,
            form,
            more_to_come,
            exhaust_allowed: content.may_exhaust(),
            command: &command,
            document: wire::document(&message).unwrap_or_default(),
        };
        link.has_doubted = false;
        match pool.with(|environment| link.exchange.on_request(&request, environment)) {
            Decision::Answer(reply) => {
                pool.stats.answered();
                drop_request(link, cx);
                self.answer(cx, reply)
            }
            Decision::Discard(_) => {
                drop_request(link, cx);
                Ok(())
            }
            Decision::Lease(lease) => self.ask(pool, link, cx, lease),
            Decision::Wait => Ok(()),
        }
    }

    /// Asks for a connection, and before for one to a server of which nothing is known.
    fn ask(&self, pool: &Service, link: &mut Link, cx: &mut Connection, lease: Lease) -> Result<()> {
        let unseen = match lease.target {
            // Whoever has a cursor or transaction has it, whatever it is now.
            Target::Server(_) => None,
            Target::Any | Target::Label(_) => pool.directory.borrow().unseen(directory::now()),
        };
        let request = unseen.as_ref().map_or_else(|| pool.lease(&lease), |server| pool.probe(server));
        link.wanted = Some(lease);
        match request.ask() {
            Ok(token) => {
                link.token = Some(token);
                link.stage = unseen.map_or(Stage::Asking, Stage::Probing);
                Ok(())
            }
            Err(error) => {
                fyke_sdk::log::write(abi::Level::Warn, &format!("mongo: {error}"));
                self.not_leased(pool, link, cx, LeaseFailure::NoEndpoint)
            }
        }
    }

    /// Asks again for what the exchange wants.
    pub(super) fn ask_again(&self, pool: &Service, link: &mut Link, cx: &mut Connection) -> Result<()> {
        match link.wanted.take() {
            Some(lease) => self.ask(pool, link, cx, lease),
            None => Ok(()),
        }
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
        link.token = None;
        match (std::mem::take(&mut link.stage), lease) {
            (Stage::Probing(server), Ok(lease)) => {
                link.token = Some(lease.token);
                let now = directory::now();
                if pool.directory.borrow_mut().knows(&server, now) {
                    link.release();
                    return self.ask_again(pool, link, cx);
                }
                data.write(Side::Upstream, Service::question())?;
                link.stage = Stage::Greeting(server);
                Ok(())
            }
            (Stage::Probing(server), Err(refused)) => {
                if failure(&refused) != LeaseFailure::QueueFull {
                    pool.directory.borrow_mut().failed(&server, directory::now());
                }
                self.ask_again(pool, link, cx)
            }
            (Stage::Asking, Ok(lease)) => self.lent(pool, link, cx, lease, data),
            (Stage::Asking, Err(refused)) => self.not_leased(pool, link, cx, failure(&refused)),
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
        link.token = Some(lease.token);
        match pool.with(|environment| link.exchange.on_leased(&endpoint, environment)) {
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

    /// Nothing was lent.
    fn not_leased(&self, pool: &Service, link: &mut Link, cx: &mut Connection, why: LeaseFailure) -> Result<()> {
        link.stage = Stage::Idle;
        let by_role = matches!(link.wanted, Some(Lease { target: Target::Label(_), .. }));
        if why == LeaseFailure::NoEndpoint && by_role && !std::mem::replace(&mut link.has_doubted, true) {
            let now = directory::now();
            pool.directory.borrow_mut().doubt_all(now);
            if pool.directory.borrow().unseen(now).is_some() {
                return self.ask_again(pool, link, cx);
            }
        }
        pool.stats.refused(why);
        let failure = pool.with(|environment| link.exchange.on_lease_failed(why, environment));
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
        pool.stats.broken(if breakage == Breakage::Violation { "violation" } else { "lost" });
        if let Stage::Lent(server) = std::mem::take(&mut link.stage) {
            pool.directory.borrow_mut().doubt(&server);
        }
        cx.replies = Frames::default();
        cx.upstream = Place::default();
        let failure = pool.with(|environment| link.exchange.on_broken(breakage, environment));
        if std::mem::take(&mut link.is_incomplete) {
            // Where the next request begins is not known.
            self.end(cx, crate::names::Base::DestroyLocal);
            return tcp::close();
        }
        self.fail(cx, failure)
    }

    /// What was lent is lost.
    pub(crate) fn lease_lost(&self, pool: &Service, link: &mut Link, cx: &mut Connection) -> Result<()> {
        link.token = None;
        match &link.stage {
            Stage::Greeting(server) => {
                pool.directory.borrow_mut().failed(server, directory::now());
                link.stage = Stage::Idle;
                self.ask_again(pool, link, cx)
            }
            Stage::Lent(_) => self.broken(pool, link, cx, Breakage::Closed),
            Stage::Idle | Stage::Probing(_) | Stage::Asking => Ok(()),
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
    fn answer(&self, cx: &mut Connection, reply: Vec<u8>) -> Result<()> {
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

    /// The client is gone.
    pub(crate) fn client_gone(link: &mut Link) {
        let upstream = link.exchange.on_client_gone();
        if matches!(link.stage, Stage::Greeting(_)) || upstream == Upstream::Close {
            link.close("the client is gone");
        } else {
            link.release();
        }
    }
}

/// Whether a request is of a kind that the pool takes.
fn is_served(cx: &Connection) -> bool {
    matches!(cx.requests.header.opcode, opcode::MSG | opcode::QUERY)
}

/// The request at hand goes nowhere.
fn drop_request(link: &mut Link, cx: &mut Connection) {
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
