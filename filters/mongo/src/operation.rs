//! What is done about each request.

use std::rc::Rc;

use fyke_sdk::{Data, Result, Side, TcpFlow, abi, property};

use crate::config::Action;
use crate::connection::Connection;
use crate::filter::Mongo;
use crate::flight::Flight;
use crate::json;
use crate::log::{Origin, Outcome};
use crate::refusal::{self, Why};
use crate::series::Names;
use crate::wire::frames::Event;

/// Bytes of a request that are held until something can be decided about it, beyond those of compressed ones.
const HELD: u64 = 64 << 10;

/// Bytes that are shown, and what becomes of them.
#[derive(Debug, Default)]
pub struct Cuts {
    /// From where to where they do not go on, in order.
    cuts: Vec<(u64, u64)>,
}

impl Cuts {
    /// Those that are not over at this place.
    fn behind(mut self, place: u64) -> Vec<(u64, u64)> {
        self.cuts.retain(|(_, end)| *end > place);
        self.cuts
    }

    /// What is left of the first bytes.
    fn apply(&self, bytes: &[u8], base: u64) -> Vec<u8> {
        let mut kept = Vec::with_capacity(bytes.len());
        let place = |at: u64| usize::try_from(at.saturating_sub(base)).unwrap_or(usize::MAX).min(bytes.len());
        let mut from = 0;
        for (start, end) in &self.cuts {
            kept.extend_from_slice(bytes.get(from..place(*start)).unwrap_or_default());
            from = place(*end).max(from);
        }
        kept.extend_from_slice(bytes.get(from..).unwrap_or_default());
        kept
    }
}

impl Mongo {
    /// What the client says.
    pub(crate) fn requests(&self, cx: &mut Connection, data: &mut Data) -> Result<TcpFlow> {
        let base = cx.downstream.base;
        let seen = base + data.len() as u64;
        let mut cuts = Cuts { cuts: std::mem::take(&mut cx.dropped) };
        let mut operations = Vec::new();
        let mut at = cx.downstream.seen;
        loop {
            let mut inflater = self.inflater.borrow_mut();
            let event = cx.requests.advance(data, &mut at, base, &self.reach, &mut inflater);
            drop(inflater);
            match event {
                None => break,
                Some(Event::Known) => _ = self.decide(cx, data, &mut cuts, &mut operations, true),
                Some(Event::Read { whole: true }) => {}
                Some(Event::Read { whole: false }) => self.stats.forgotten("compressed"),
                Some(Event::Bad(unreadable)) => {
                    self.stats.unreadable(unreadable.word());
                    if self.decides {
                        self.decide(cx, data, &mut cuts, &mut operations, false);
                    }
                }
                Some(Event::Lost(length)) => {
                    let start = usize::try_from(cx.requests.begins(seen).saturating_sub(base)).unwrap_or_default();
                    let before = cuts.apply(&data.read(0, start), base);
                    if !before.is_empty() {
                        data.write(Side::Upstream, before)?;
                    }
                    return Ok(self.lost(cx, "client", length));
                }
            }
        }
        let begins = cx.requests.begins(seen);
        if self.decides
            && cx.requests.is_undecided()
            && cx.decided != Some(begins)
            && seen - begins > self.longest_held(cx)
        {
            self.decide(cx, data, &mut cuts, &mut operations, false);
        }
        self.announce(&operations);
        if self.decides && cx.requests.is_undecided() && cx.decided != Some(begins) {
            hold(cx, data, cuts, begins)?;
            return Ok(TcpFlow::NeedMore);
        }
        if !cuts.cuts.is_empty() {
            let kept = cuts.apply(data.bytes(), base);
            data.replace(kept)?;
        }
        cx.downstream.seen = 0;
        cx.downstream.base = seen;
        cx.dropped = cuts.behind(seen);
        let unneeded = cx.requests.unneeded();
        // What may be held or left out has to be shown: on other hosts bytes that are skipped are held with what is behind them.
        if unneeded > 0 && !self.decides && data.skip(unneeded).is_ok() {
            cx.requests.passed(unneeded);
            cx.downstream.base += unneeded;
        }
        Ok(TcpFlow::Continue)
    }

    pub(crate) fn longest_held(&self, cx: &Connection) -> u64 {
        if cx.requests.header.opcode == crate::wire::opcode::COMPRESSED {
            HELD + self.reach.compressed as u64
        } else {
            HELD
        }
    }

    /// All that will be known of a request is known; `is_clear`: that is enough. Whether it goes on.
    pub(crate) fn decide(
        &self,
        cx: &mut Connection,
        data: &mut Data,
        cuts: &mut Cuts,
        operations: &mut Vec<(String, &'static str)>,
        is_clear: bool,
    ) -> bool {
        let start = cx.requests.start;
        if cx.decided == Some(start) {
            return true;
        }
        cx.decided = Some(start);
        let bytes = u32::try_from(cx.requests.header.length).unwrap_or(u32::MAX);
        let request = &mut cx.requests.content;
        let command = request.command();
        if command.handshake && !request.application.is_empty() {
            cx.application = Some(self.table.borrow_mut().application(request.application.bytes()));
        }
        let names = Names {
            command,
            database: request.database.bytes(),
            collection: request.collection.bytes(),
            callsite: request.callsite.bytes(),
        };
        let series = self.table.borrow_mut().series(names, cx.application.as_ref());
        if is_clear {
            self.stats.request(request, &series, bytes);
        }
        let application = cx.application.as_ref().map_or("", |label| label.text());
        let why = if self.decides { self.why(request, application, is_clear) } else { None };
        let flight = Flight {
            series,
            began: abi::monotonic(),
            bytes,
            cursor: request.cursors.first().copied(),
            preference: request.preference,
            statement: self.log.as_ref().map(|_| Rc::from(request.raw.as_slice())),
        };
        if let Some(why) = why {
            self.stats.refused(&flight.series, why.reason(), why.name());
            self.write_log(cx, &flight, cx.requests.header.request_id, Outcome::Refused(why));
            cuts.cuts.push((start, cx.requests.end()));
            self.refuse(cx, data, why);
            return false;
        }
        if self.metadata {
            let place = format!("{}.{}", flight.series.database, flight.series.collection);
            operations.push((place, flight.series.command.name));
        }
        if command.name == "killCursors" {
            let mut cursors = self.cursors.borrow_mut();
            for id in &request.cursors {
                if let Some((open, by)) = cursors.close(*id, flight.began) {
                    self.stats.cursor_closed(&by, open);
                }
            }
        }
        let request_id = cx.requests.header.request_id;
        if cx.requests.content.expects_reply() {
            self.stats.active(1);
            if cx.flights.insert(request_id, flight, self.in_flight).is_some() {
                self.stats.active(-1);
                self.stats.forgotten("operation");
            }
        } else {
            self.write_log(cx, &flight, request_id, Outcome::Unanswered);
        }
        true
    }

    fn why(&self, request: &crate::message::request::Request, application: &str, is_clear: bool) -> Option<Why<'_>> {
        if !is_clear || !(self.rules.is_empty() || request.names_all_collections()) {
            return Some(Why::Unclear);
        }
        let decision = self.rules.judge(request, application);
        if decision.action == Action::Deny {
            return Some(Why::Rule(decision.by));
        }
        self.limits.reached(request, application).map(Why::Limit)
    }

    /// Answers in the server's place.
    fn refuse(&self, cx: &mut Connection, data: &mut Data, why: Why<'_>) {
        cx.number = cx.number.wrapping_add(1);
        let Some(reply) = refusal::reply(why, &cx.requests.header, &cx.requests.content, cx.number) else { return };
        if !cx.replies.is_between() {
            cx.late.extend_from_slice(&reply);
        } else if let Err(error) = data.write(Side::Downstream, reply) {
            // The client is gone, or reads nothing at all.
            fyke_sdk::log::write(abi::Level::Debug, &format!("mongo: a refusal was not answered: {error}"));
        }
    }

    /// Tells filters behind this one what the client does.
    pub(crate) fn announce(&self, operations: &[(String, &'static str)]) {
        if operations.is_empty() {
            return;
        }
        let mut places: Vec<(&str, Vec<&str>)> = Vec::new();
        for (place, command) in operations {
            match places.iter_mut().find(|(known, _)| known == place) {
                Some((_, commands)) => commands.push(command),
                None => places.push((place, vec![command])),
            }
        }
        let mut out = Vec::new();
        let mut object = json::Object::new(&mut out);
        for (place, commands) in places {
            let list = object.key(place);
            for (at, command) in commands.into_iter().enumerate() {
                list.push(if at == 0 { b'[' } else { b',' });
                json::text(list, command.as_bytes());
            }
            list.push(b']');
        }
        object.end();
        // A host that keeps no properties has nobody who would read them.
        let _ = property::set(&["mongo", "operations"], out);
    }

    pub(crate) fn write_log(&self, cx: &Connection, flight: &Flight, request_id: i32, outcome: Outcome<'_>) {
        let Some(log) = &self.log else { return };
        let origin = Origin {
            prefix: self.stats.prefix(),
            client: cx.client.as_deref().unwrap_or_default(),
            server: cx.server.as_ref().map_or("", |label| label.text()),
            request_id,
        };
        log.write(&origin, flight, outcome);
    }
}

/// Keeps a request that is not decided about, and lets go what is before it.
fn hold(cx: &mut Connection, data: &mut Data, cuts: Cuts, begins: u64) -> Result<()> {
    let base = cx.downstream.base;
    let before = usize::try_from(begins.saturating_sub(base)).unwrap_or_default();
    if before > 0 {
        let bytes = data.bytes();
        let (front, rest) = bytes.split_at_checked(before).unwrap_or((bytes, &[]));
        let (front, rest) = (cuts.apply(front, base), rest.to_vec());
        if !front.is_empty() {
            data.write(Side::Upstream, front)?;
        }
        data.replace(rest)?;
    }
    cx.dropped = cuts.behind(begins);
    cx.downstream.base = begins;
    cx.downstream.seen = data.len();
    Ok(())
}
