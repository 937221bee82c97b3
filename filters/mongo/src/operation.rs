//! What is done about each request.

use std::rc::Rc;
use std::time::Duration;

use fyke_sdk::{Data, Error, Result, Side, TcpFlow, abi, property, tcp};

use crate::config::Action;
use crate::connection::{Connection, Place};
use crate::filter::{Mongo, let_go};
use crate::flight::Flight;
use crate::json;
use crate::limiter::{Asker, Passage};
use crate::log::{Origin, Outcome};
use crate::names::Base;
use crate::patience::Patience;
use crate::pool::service::Service;
use crate::refusal::{self, Why};
use crate::series::Names;
use crate::wire::frames::Event;

/// Bytes of a request that are held until something can be decided about it, beyond those of compressed ones.
const HELD: u64 = 64 << 10;

/// Bytes of replies of our own that wait for the end of one of the server's.
const LATE: usize = 256 << 10;

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
        if std::mem::take(&mut cx.is_delayed) {
            self.decide(cx, data, &mut cuts, &mut operations, true);
        }
        let mut patience = Patience::default();
        loop {
            if patience.is_over() {
                let seen = base + at as u64;
                let reached = cx.requests.reached(seen);
                if self.decides {
                    self.announce(&operations);
                    // Of a request about which something was decided, what was looked at goes on.
                    let from = if is_decided(cx, seen) { reached } else { cx.requests.begins(seen) };
                    hold(cx, data, cuts, from, at)?;
                    return Ok(TcpFlow::Wait(Patience::PAUSE));
                }
                if let Some(count) = let_go(data, base, reached) {
                    self.announce(&operations);
                    cx.downstream = Place { base: base + count as u64, seen: at - count };
                    return Ok(TcpFlow::Wait(Patience::PAUSE));
                }
                patience = Patience::default();
            }
            match self.next(&mut cx.requests, (data, &mut at, base), &mut patience) {
                None => break,
                Some(Event::Known) => {
                    if let Some(time) = self.delay(cx) {
                        self.announce(&operations);
                        let begins = cx.requests.start;
                        hold(cx, data, cuts, begins, at)?;
                        return Ok(TcpFlow::Wait(time));
                    }
                    self.decide(cx, data, &mut cuts, &mut operations, true);
                }
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
        if self.decides && !is_decided(cx, seen) && seen - begins > self.longest_held(cx) {
            self.decide(cx, data, &mut cuts, &mut operations, false);
        }
        self.announce(&operations);
        if self.decides && !is_decided(cx, seen) {
            hold(cx, data, cuts, begins, at)?;
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
            cx.application_name.set(request.application.bytes());
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
        // Where nobody checks who it is, nobody has proved to be it.
        let proves = self.pool.as_ref().is_none_or(Service::checks_logins);
        let login = if proves { cx.identity.asks(command, request) } else { None };
        if !is_clear && !self.refuses_unclear {
            return true;
        }
        // Of a compressed message not all of the command may have been seen.
        let is_judged = is_clear && (request.is_read() || !self.refuses_unclear);
        let fate = if self.decides { self.judge(cx, is_judged) } else { Ok(Passage::default()) };
        let request = &cx.requests.content;
        let (why, passage) = fate.map_or_else(|why| (Some(why), Passage::default()), |passage| (None, passage));
        let flight = Flight {
            series,
            began: abi::monotonic(),
            bytes,
            cursor: request.cursors.first().copied(),
            preference: request.preference,
            statement: self.log.as_ref().map(|_| Rc::from(request.raw.as_slice())),
            login,
            passage,
        };
        if let Some(why) = why {
            self.stats.refused(&flight.series, why.reason(), why.name());
            if !request.expects_reply() {
                self.stats.dropped(&flight.series, why.reason());
            }
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
            if cx.flights.insert(request_id, flight, self.most(&cx.flights)).is_some() {
                self.stats.active(-1);
                self.stats.forgotten("operation");
            }
        } else {
            self.write_log(cx, &flight, request_id, Outcome::Unanswered);
        }
        true
    }

    /// How long a request waits that is known, if it does.
    pub(crate) fn delay(&self, cx: &mut Connection) -> Option<Duration> {
        let faults = self.faults.as_ref()?;
        if cx.decided == Some(cx.requests.start) {
            // Its beginning has gone on before it was known.
            return None;
        }
        let time = faults.delay(&cx.requests.content, cx.application_name.bytes(), cx.user())?;
        self.stats.count(Base::DelaysInjected);
        cx.is_delayed = true;
        Some(time)
    }

    /// Whether a request goes on.
    fn judge(&self, cx: &Connection, is_clear: bool) -> Result<Passage, Why<'_>> {
        let request = &cx.requests.content;
        let is_judged = !self.rules.is_empty() || self.limits.is_enforcing();
        if !is_clear || (is_judged && !request.names_all_collections()) {
            return Err(Why::Unclear);
        }
        let application = cx.application_name.bytes();
        let decision = self.rules.judge(request, application);
        if decision.action == Action::Deny {
            return Err(Why::Rule(decision.by));
        }
        let fault = self.faults.as_ref().and_then(|faults| faults.abort(request, application, cx.user()));
        if let Some(failure) = fault {
            return Err(Why::Fault(failure));
        }
        let asker = Asker { request, application, user: cx.user(), address: cx.address() };
        self.limits.take(&asker).map_err(Why::Limit)
    }

    /// Answers in the server's place.
    fn refuse(&self, cx: &mut Connection, data: &mut Data, why: Why<'_>) {
        cx.number = cx.number.wrapping_add(1);
        let Some(reply) = refusal::reply(why, &cx.requests.header, &cx.requests.content, cx.number) else { return };
        let outcome = if cx.replies.is_between() {
            data.write(Side::Downstream, reply)
        } else if cx.late.len() + reply.len() <= self.memory.most(LATE) {
            cx.late.extend_from_slice(&reply);
            Ok(())
        } else {
            Err(Error::new("its client asks on and reads no replies"))
        };
        if let Err(error) = outcome {
            // Who waits for an answer that cannot be given would wait for ever.
            fyke_sdk::log::write(abi::Level::Debug, &format!("mongo: a connection is closed: {error}"));
            self.end(cx, Base::DestroyLocal);
            let _ = tcp::close();
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
            object.texts(place, commands);
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
            user: cx.user(),
            request_id,
        };
        log.write(&origin, flight, outcome);
    }
}

/// Whether nothing waits for a decision, of what was looked at up to there.
fn is_decided(cx: &Connection, seen: u64) -> bool {
    !cx.requests.is_undecided() || cx.decided == Some(cx.requests.begins(seen))
}

/// Keeps a request that is not decided about, which was read up to `at`, and lets go what is before it.
fn hold(cx: &mut Connection, data: &mut Data, cuts: Cuts, begins: u64, at: usize) -> Result<()> {
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
    cx.downstream.seen = at.saturating_sub(before);
    Ok(())
}
