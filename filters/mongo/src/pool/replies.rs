//! What a connection that is lent says: replies pass as they come, and the last byte of each once it is known what it says.

use fyke_sdk::tcp::{self, show_again, show_now};
use fyke_sdk::{Data, Result, Side, TcpFlow};

use super::directory;
use super::exchange::{Observed, ReplyHeader, Upstream};
use super::facts::Reply;
use super::failure::Breakage;
use super::fleet::ServerFacts;
use super::link::{Link, Stage};
use super::service::Service;
use crate::connection::{Connection, Place};
use crate::filter::Mongo;
use crate::wire::frames::{Event, Frames};
use crate::wire::{self, HEADER, Header, opcode};

/// The longest answer to the question what a server is, in bytes.
const LONGEST: usize = 64 << 10;

impl Mongo {
    /// What the server says.
    pub(crate) fn pooled_replies(
        &self,
        pool: &Service,
        link: &mut Link,
        cx: &mut Connection,
        data: &mut Data,
    ) -> Result<TcpFlow> {
        match &link.stage {
            Stage::Lent(_) => self.exchange_replies(pool, link, cx, data),
            Stage::Greeting(server, _) => {
                let server = server.clone();
                self.greeted(pool, link, cx, data, &server)
            }
            Stage::Idle | Stage::Probing(_) | Stage::Asking | Stage::Searching => {
                // Nobody asked for it.
                data.discard(data.len())?;
                Ok(TcpFlow::Continue)
            }
        }
    }

    /// A server says what it is.
    fn greeted(
        &self,
        pool: &Service,
        link: &mut Link,
        cx: &mut Connection,
        data: &mut Data,
        server: &str,
    ) -> Result<TcpFlow> {
        let header = data.read(0, HEADER).first_chunk::<HEADER>().map(Header::read);
        let length = match header {
            None => return Ok(TcpFlow::NeedMore),
            Some(Ok(header)) if header.length <= LONGEST => header.length,
            Some(_) => 0,
        };
        if length > data.len() {
            return Ok(TcpFlow::NeedMore);
        }
        let facts = if length == data.len() { wire::document(data.bytes()).and_then(ServerFacts::read) } else { None };
        data.discard(data.len())?;
        link.is_asked(server);
        // It is not waited for any more.
        show_now(Side::Downstream)?;
        match facts {
            Some(facts) => {
                link.release();
                pool.directory(link.to).borrow_mut().observe(server, facts, directory::now());
                self.ask_again(pool, link, cx)?;
            }
            None => {
                link.close("the server does not say what it is");
                self.unheard(pool, link, cx, server)?;
            }
        }
        Ok(TcpFlow::Continue)
    }

    fn exchange_replies(
        &self,
        pool: &Service,
        link: &mut Link,
        cx: &mut Connection,
        data: &mut Data,
    ) -> Result<TcpFlow> {
        let base = cx.upstream.base;
        let seen = base + data.len() as u64;
        loop {
            if let Some(is_readable) = link.read {
                let end = cx.replies.end();
                if seen < end {
                    break;
                }
                link.read = None;
                link.is_begun = false;
                match self.reply_ends(pool, link, cx, is_readable, seen == end) {
                    Upstream::Hold => continue,
                    upstream => return finish(link, cx, data, upstream),
                }
            }
            let mut inflater = self.inflater.borrow_mut();
            let event = cx.replies.advance(data, &mut cx.upstream.seen, base, &self.reach, &mut inflater);
            drop(inflater);
            match event {
                None => break,
                Some(Event::Known) => {
                    let header = cx.replies.header;
                    let header = ReplyHeader {
                        request_id: header.request_id,
                        response_to: header.response_to,
                        more_to_come: cx.replies.content.more_to_come(),
                    };
                    link.is_begun =
                        cx.replies.header.opcode == opcode::MSG && link.exchange.on_reply(header) == Upstream::Hold;
                    if !link.is_begun {
                        return self.violated(pool, link, cx, data);
                    }
                    // The server has all of the request, or it would not answer.
                    link.is_incomplete = false;
                }
                Some(Event::Read { .. }) => link.read = Some(true),
                Some(Event::Bad(unreadable)) => {
                    self.stats.unreadable(unreadable.word());
                    if !link.is_begun {
                        return self.violated(pool, link, cx, data);
                    }
                    link.read = Some(false);
                }
                Some(Event::Lost(_)) => {
                    self.stats.unreadable("length");
                    return self.violated(pool, link, cx, data);
                }
            }
        }
        pass_on(link, cx, data, seen)
    }

    /// A reply is here as a whole.
    fn reply_ends(
        &self,
        pool: &Service,
        link: &mut Link,
        cx: &mut Connection,
        is_readable: bool,
        is_clean: bool,
    ) -> Upstream {
        let reply = is_readable.then(|| Reply::of(&cx.replies.content));
        let end = pool.with(link.to, |environment| link.exchange.on_reply_end(reply.as_ref(), is_clean, environment));
        let version = reply.and_then(|reply| reply.version);
        if is_readable {
            self.reply(cx);
        } else {
            self.unreadable_reply(cx);
        }
        match (end.observed, &link.stage) {
            (Some(Observed::NotPrimary), Stage::Lent(server)) => {
                pool.directory(link.to).borrow_mut().not_primary(server, version, directory::now());
            }
            (Some(Observed::Neither), Stage::Lent(server)) => {
                pool.directory(link.to).borrow_mut().neither(server, version, directory::now());
            }
            (Some(Observed::ShuttingDown), Stage::Lent(server)) => pool.directory(link.to).borrow_mut().doubt(server),
            _ => {}
        }
        if end.upstream == Upstream::Close {
            pool.stats.broken(if is_readable { "unclean" } else { "unreadable" });
        }
        end.upstream
    }

    /// The server says what is no reply to what was asked.
    fn violated(&self, pool: &Service, link: &mut Link, cx: &mut Connection, data: &mut Data) -> Result<TcpFlow> {
        data.discard(data.len())?;
        if let Some(loan) = link.loan.take() {
            loan.token.close("the server broke the protocol");
        }
        self.broken(pool, link, cx, Breakage::Violation)?;
        Ok(TcpFlow::Continue)
    }
}

/// The last reply of an exchange goes to the client, and the connection to whoever is next.
fn finish(link: &mut Link, cx: &mut Connection, data: &mut Data, upstream: Upstream) -> Result<TcpFlow> {
    let count = usize::try_from(cx.replies.end().saturating_sub(cx.upstream.base)).unwrap_or(usize::MAX);
    if upstream == Upstream::Release {
        link.release();
    } else {
        // What is let go here would be dropped with the connection; what is written is not.
        tcp::write(Side::Downstream, data.read(0, count))?;
        data.discard(data.len())?;
        link.close("it is not fit for another exchange");
        cx.replies = Frames::default();
    }
    cx.upstream = Place::default();
    show_again(Side::Downstream)?;
    Ok(TcpFlow::Continue)
}

/// All goes on that belongs to a reply whose header is known.
fn pass_on(link: &Link, cx: &mut Connection, data: &mut Data, seen: u64) -> Result<TcpFlow> {
    let place = &mut cx.upstream;
    if !link.is_begun {
        let begins = cx.replies.begins(seen);
        let count = begins.saturating_sub(place.base);
        data.pass(count)?;
        place.base = begins;
        place.seen = place.seen.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        return Ok(TcpFlow::NeedMore);
    }
    *place = Place { base: seen, seen: 0 };
    // The last byte has to be shown.
    let left = cx.replies.end().saturating_sub(seen).saturating_sub(1);
    let unneeded = cx.replies.unneeded().min(left);
    if unneeded > 0 && data.skip(unneeded).is_ok() {
        cx.replies.passed(unneeded);
        place.base += unneeded;
    }
    Ok(TcpFlow::Continue)
}
