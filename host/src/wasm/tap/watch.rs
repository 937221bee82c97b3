//! What is known of one stream that somebody watches, and what has changed in it since.

use std::time::Duration;

use fyke_engine::Map;
use http::StatusCode;
use smallvec::SmallVec;

use super::{Interested, wish};
use crate::wasm::exchange::{Direction, Exchange, Kind};

type Head = Vec<(String, String)>;

/// What is known of a stream's heads, and what filters did to its bodies.
#[derive(Debug, Default)]
pub struct Watch {
    /// Who watches.
    pub(super) watchers: Interested,
    /// What the client asked for.
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Head,
    pub(super) request: Head,
    pub(super) response: Option<Head>,
    pub(super) replied: bool,
    /// The upstream has the request.
    pub(super) asked: bool,
    pub(super) last: Option<usize>,
    pub(super) notes: Vec<(usize, String)>,
    pub(super) explained: Vec<(usize, Vec<String>)>,
    /// Time in filters.
    pub(super) spent: Duration,
    /// By filter and direction.
    pub(super) edits: SmallVec<[Edit; 1]>,
}

/// A body that a filter wrote to.
#[derive(Debug)]
pub(super) struct Edit {
    index: usize,
    direction: Direction,
    /// Bytes that it has more, or less, than before.
    more: i64,
}

/// What the note of a reply begins with.
const REPLIED: &str = "replied ";

fn replied(status: StatusCode, details: &str) -> String {
    let details = if details.is_empty() { String::new() } else { format!(" ({details})") };
    format!("{REPLIED}{}{details}", status.as_u16())
}

pub(super) fn head(map: &dyn Map) -> Head {
    let mut head = Vec::with_capacity(map.len());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    map.for_each(&mut |name, value| head.push((text(name), text(value))));
    head
}

impl Watch {
    /// Whether filters are asked what they are about to do.
    pub(super) fn asks(&self) -> bool {
        self.watchers.iter().any(|watcher| watcher.wish.explains)
    }

    /// Notes what has changed since the last look: the filter at `index` did it.
    pub(super) fn look(&mut self, exchange: &Exchange, index: usize) {
        if !self.asked {
            let request = head(&exchange.request_head);
            differences("request", &self.request, &request, |note| self.notes.push((index, note)));
            self.request = request;
        }
        // Once it is sent it is empty here.
        let response = exchange.response_head.as_ref().filter(|_| !exchange.response_sent);
        if let (Some(before), Some(response)) = (&self.response, response) {
            let now = head(response);
            differences("response", before, &now, |note| self.notes.push((index, note)));
            self.response = Some(now);
        }
        if let Some(reply) = exchange.reply.as_ref().filter(|reply| reply.from == Some(index)) {
            self.notes.push((index, replied(reply.head.status, &reply.details)));
        }
    }

    /// Notes at the end who replied, where that was not in a call: after what the filter had waited for.
    pub(super) fn note_reply(&mut self, exchange: &Exchange) {
        let (Some(index), Some(head)) = (exchange.replied, &exchange.response_head) else { return };
        if !self.notes.iter().any(|(by, note)| *by == index && note.starts_with(REPLIED)) {
            self.notes.push((index, replied(head.status, &exchange.details)));
        }
    }

    /// A filter wrote to a body; what it held had `before` bytes and has `now`.
    pub(super) fn wrote(&mut self, index: usize, direction: Direction, (before, now): (usize, usize)) {
        let more = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(i64::try_from(before).unwrap_or(i64::MAX));
        match self.edits.iter_mut().find(|edit| edit.index == index && edit.direction == direction) {
            Some(edit) => edit.more = edit.more.saturating_add(more),
            None => self.edits.push(Edit { index, direction, more }),
        }
    }

    /// All that was noted.
    pub(super) fn take_notes(&mut self, kind: Kind) -> Vec<(usize, String)> {
        for Edit { index, direction, more } in std::mem::take(&mut self.edits) {
            let what = match (kind, direction) {
                (Kind::Http, Direction::Request) => "request   body",
                (Kind::Http, Direction::Response) => "response   body",
                (Kind::Tcp, Direction::Request) => "downstream bytes",
                (Kind::Tcp, Direction::Response) => "upstream bytes",
            };
            let length = if more == 0 { "as long as before".to_owned() } else { format!("{more:+} B") };
            self.notes.push((index, format!("{what} changed, {length}")));
        }
        std::mem::take(&mut self.notes)
    }
}

fn differences(which: &str, before: &Head, now: &Head, mut note: impl FnMut(String)) {
    for (name, value) in now {
        let had: Vec<&String> = before.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect();
        if had.contains(&value) {
            continue;
        }
        match had.first() {
            None => note(format!("{which} + {name}: {}", wish::masked(name, value))),
            Some(old) => {
                note(format!("{which}   {name}: {} -> {}", wish::masked(name, old), wish::masked(name, value)));
            }
        }
    }
    for (name, value) in before {
        if !now.iter().any(|(key, _)| key == name) {
            note(format!("{which} - {name}: {}", wish::masked(name, value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_once() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let before = vec![pair("a", "1"), pair("b", "2"), pair("c", "3")];
        let now = vec![pair("a", "1"), pair("b", "9"), pair("d", "4")];
        let mut notes = Vec::new();
        differences("request", &before, &now, |note| notes.push(note));
        assert_eq!(notes, ["request   b: 2 -> 9", "request + d: 4", "request - c: 3"]);
        let (before, now) = (vec![pair("cookie", "s1")], vec![pair("cookie", "s2"), pair(":path", "/a?token=s3&b=1")]);
        notes.clear();
        differences("request", &before, &now, |note| notes.push(note));
        assert_eq!(notes, ["request   cookie: *** -> ***", "request + :path: /a?token=***&b=1"]);
    }
}
