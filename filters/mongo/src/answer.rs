//! What is done about each reply.

use fyke_sdk::abi;

use crate::connection::Connection;
use crate::filter::Mongo;
use crate::flight::Flight;
use crate::log::Outcome;
use crate::message::reply::Reply;
use crate::stats::CURSOR_NOT_FOUND;

impl Mongo {
    /// A reply was read.
    pub(crate) fn reply(&self, cx: &mut Connection) {
        let header = cx.replies.header;
        let bytes = u32::try_from(header.length).unwrap_or(u32::MAX);
        let flight = cx.flights.remove(header.response_to);
        let now = abi::monotonic();
        let nanoseconds = flight.as_ref().map_or(0, |flight| now.saturating_sub(flight.began));
        let server = cx.server.as_ref().map_or("", |label| label.text());
        let reply = &cx.replies.content;
        self.stats.reply(reply, flight.as_ref(), server, bytes, nanoseconds);
        let Some(mut flight) = flight else { return };
        if let Some(step) = flight.login.take() {
            cx.identity.answered(step, &cx.replies.content);
        }
        let reply = &cx.replies.content;
        let is_slow = self.slow.is_some_and(|slow| u128::from(nanoseconds) >= slow.as_nanos());
        if is_slow {
            self.stats.slow(&flight.series);
        }
        self.note_cursor(reply, &flight, now);
        self.write_log(cx, &flight, header.response_to, Outcome::Answered { reply, bytes, nanoseconds, is_slow });
        if reply.more_to_come() {
            // The next one answers this one.
            let next = Flight { began: now, ..flight };
            if cx.flights.insert(header.request_id, next, self.most(&cx.flights)).is_some() {
                self.stats.active(-1);
                self.stats.forgotten("operation");
            }
        } else {
            self.stats.active(-1);
        }
    }

    /// A reply came that cannot be read: nobody else answers that operation.
    pub(crate) fn unreadable_reply(&self, cx: &mut Connection) {
        if cx.flights.remove(cx.replies.header.response_to).is_some() {
            self.stats.active(-1);
        }
    }

    fn note_cursor(&self, reply: &Reply, flight: &Flight, now: u64) {
        let asks = flight.series.command.name == "getMore";
        match (reply.cursor, flight.cursor) {
            (Some(0), Some(id)) if asks => self.cursor_closed(id, now),
            (None, Some(id)) if asks && reply.code == CURSOR_NOT_FOUND => self.cursor_closed(id, now),
            (Some(id), _) if !asks && id != 0 && self.cursors.borrow_mut().open(id, now, &flight.series) => {
                self.stats.forgotten("cursor");
            }
            _ => {}
        }
    }

    fn cursor_closed(&self, id: i64, now: u64) {
        if let Some((open, by)) = self.cursors.borrow_mut().close(id, now) {
            self.stats.cursor_closed(&by, open);
        }
    }
}
