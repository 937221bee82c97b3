//! Requests of one client whose connections are borrowed: what each of them is, whether it may go on, and where to.
//!
//! Requests wait in the host until the exchange before them is over ([`TcpFlow::NeedMore`]); the one at hand is read as far as it takes to
//! know what it is, and then passes as a whole, whether all of it is here or not. What is answered here is discarded in front of what the host holds.

use fyke_sdk::{Data, Result, TcpFlow, abi};

use super::errors::{Code, ErrorReply, Form};
use super::exchange::{Decision, Exchange, Lease, Request};
use super::facts::Command;
use super::failure::{LeaseFailure, left_behind, not_sent};
use super::hello::HelloName;
use super::link::{Introduction, Link, drop_request};
use super::operation::Operation;
use super::service::Service;
use super::ways::Destination;
use crate::connection::Connection;
use crate::filter::Mongo;
use crate::names::Base;
use crate::operation::Cuts;
use crate::patience::Patience;
use crate::wire::frames::Event;
use crate::wire::{self, opcode};

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
        let mut waits = None;
        let mut patience = Patience::default();
        // First, for it may have the request at hand begin anew.
        self.search(pool, link, cx)?;
        loop {
            let here = usize::try_from(link.swallow).unwrap_or(usize::MAX).min(data.len());
            data.discard(here)?;
            link.swallow -= here as u64;
            if data.is_empty() || !link.exchange.is_idle() || link.introduction == Introduction::Waits {
                break;
            }
            if link.introduction == Introduction::Over {
                link.introduction = Introduction::Done;
                self.begin(pool, link, cx, data)?;
                continue;
            }
            if std::mem::take(&mut link.begins_anew) {
                self.begin(pool, link, cx, data)?;
                continue;
            }
            if patience.is_over() {
                waits = Some(Patience::PAUSE);
                break;
            }
            if std::mem::take(&mut cx.is_delayed) {
                self.known(pool, link, cx, data, &mut operations)?;
                continue;
            }
            let mut place = cx.downstream;
            let event = self.next(&mut cx.requests, (data, &mut place.seen, place.base), &mut patience);
            cx.downstream = place;
            match event {
                None if data.len() as u64 <= self.longest_held(cx) => break,
                Some(Event::Read { .. }) => {}
                Some(Event::Lost(length)) => return Ok(self.lost(cx, "client", length)),
                Some(Event::Known) if is_served(cx) => {
                    waits = self.delay(cx);
                    if waits.is_some() {
                        break;
                    }
                    self.known(pool, link, cx, data, &mut operations)?;
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
        waits = link.rest().or(waits);
        self.announce(&operations);
        if Self::has_left(link, data) {
            self.end(cx, Base::DestroyRemote);
            Self::client_gone(link);
            return Ok(TcpFlow::Close);
        }
        Ok(waits.map_or(TcpFlow::NeedMore, TcpFlow::Wait))
    }

    /// A request is known, and has waited where it had to.
    fn known(
        &self,
        pool: &Service,
        link: &mut Link,
        cx: &mut Connection,
        data: &mut Data,
        operations: &mut Vec<(String, &'static str)>,
    ) -> Result<()> {
        if self.decide(cx, data, &mut Cuts::default(), operations, true) {
            return self.begin(pool, link, cx, data);
        }
        drop_request(link, cx);
        Ok(())
    }

    /// Clients that speak what is not offered to them cannot be told so.
    fn unserved(&self, cx: &mut Connection) -> TcpFlow {
        let text = format!(
            "mongo: a client sends messages of kind {}, which the pool does not take",
            cx.requests.header.opcode
        );
        fyke_sdk::log::write(abi::Level::Warn, &text);
        self.end(cx, Base::DestroyLocal);
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
        let is_local = Exchange::wants_document(command.name);
        let operation = Operation::of(&command);
        if !is_local && let Some(error) = pool.refuses(&operation, content, link.exchange.identity()) {
            pool.stats.denied(if error.code == Code::UNAUTHORIZED { "database" } else { "writes_denied" });
            return self.tell(link, cx, &error, form);
        }
        link.to = match pool.destination(&operation, link.exchange.identity()) {
            Some(to) => to,
            None if is_local => Destination::default(),
            None => {
                pool.stats.refused(LeaseFailure::Draining);
                return self.tell(link, cx, &not_sent(&operation, LeaseFailure::Draining), form);
            }
        };
        if !is_local && operation.may_write(command.name) && pool.is_left(link.to) {
            pool.stats.denied("left_behind");
            return self.tell(link, cx, &left_behind(), form);
        }
        if link.introduction == Introduction::None
            && HelloName::of_command(command.name).is_some()
            && !pool.has_heard(link.to)
        {
            link.introduction = Introduction::Waits;
            return self.ask(pool, link, cx, Lease::any());
        }
        let message = if is_local { data.read(0, header.length) } else { Vec::new() };
        let request = Request {
            request_id: header.request_id,
            form,
            more_to_come,
            exhaust_allowed: content.may_exhaust(),
            command: &command,
            document: wire::document(&message).unwrap_or_default(),
        };
        (link.has_doubted, link.search) = (false, None);
        (link.to_ask, link.asked) = Default::default();
        match pool.with(link.to, |environment| link.exchange.on_request(&request, environment)) {
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

    /// Answers the request at hand with an error, if it asks for an answer; it goes nowhere.
    fn tell(&self, link: &mut Link, cx: &mut Connection, error: &ErrorReply, form: Form) -> Result<()> {
        let (request_id, expects_reply) = (cx.requests.header.request_id, cx.requests.content.expects_reply());
        drop_request(link, cx);
        if !expects_reply {
            return Ok(());
        }
        cx.number = cx.number.wrapping_add(1);
        let reply = error.message(form, cx.number, request_id);
        self.answer(cx, reply)
    }
}

/// Whether a request is of a kind that the pool takes.
fn is_served(cx: &Connection) -> bool {
    matches!(cx.requests.header.opcode, opcode::MSG | opcode::QUERY)
}
