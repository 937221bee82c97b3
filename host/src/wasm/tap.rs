//! What filters do to streams, for whoever watches: `fyke filter dev`. Where nobody does, it costs one look.
//!
//! A stream's heads are compared before and after every callback. What changed between two callbacks was done by whoever was called
//! last: a filter that had waited for an answer.

use std::{fmt::Write as _, rc::Rc, sync::mpsc, time::Duration};

use fyke_engine::Map;
use tokio::time::Instant;

use super::{
    env::Env,
    exchange::{Exchange, Kind},
};

/// Where reports go.
pub type Tap = mpsc::Sender<Report>;

/// What became of a stream, and what its filters did to it.
#[derive(Debug, Clone)]
pub struct Report {
    /// `GET /path 200 in 1.2 ms`
    pub line: String,
    /// By filter, what each did.
    pub notes: Vec<(String, Vec<String>)>,
}

type Head = Vec<(String, String)>;

/// What is known of a stream's heads.
#[derive(Debug, Default)]
pub struct Watch {
    request: Head,
    response: Option<Head>,
    replied: bool,
    /// The upstream has the request.
    asked: bool,
    last: Option<usize>,
    notes: Vec<(usize, String)>,
    /// Time in filters.
    spent: Duration,
}

fn head(map: &dyn Map) -> Head {
    let mut head = Vec::with_capacity(map.len());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    map.for_each(&mut |name, value| head.push((text(name), text(value))));
    head
}

/// Before a filter is called.
pub fn before(env: &Rc<Env>, exchange: &mut Exchange, index: usize) -> Option<Instant> {
    env.tap.as_ref()?;
    let first = exchange.watch.is_none();
    let mut watch: Box<Watch> = exchange.watch.take().unwrap_or_default();
    if first {
        watch.request = head(&exchange.request_head);
    }
    let last = watch.last.unwrap_or(index);
    // An answer that has just come, or replaced another one, is nobody's change.
    if watch.response.is_none() || watch.replied != exchange.replied.is_some() {
        watch.replied = exchange.replied.is_some();
        watch.response = exchange.response_head.as_ref().map(|response| head(response));
    }
    watch.look(exchange, last);
    watch.last = Some(index);
    exchange.watch = Some(watch);
    Some(Instant::now())
}

/// After it was.
pub fn after(exchange: &mut Exchange, index: usize, began: Option<Instant>, failed: bool) {
    let Some(began) = began else { return };
    let Some(mut watch) = exchange.watch.take() else { return };
    watch.spent += began.elapsed();
    watch.look(exchange, index);
    if failed {
        watch.notes.push((index, "failed; why is in the log".to_owned()));
    }
    exchange.watch = Some(watch);
}

/// Before the request's head is sent to the upstream. Afterwards nobody changes it.
pub fn asking(exchange: &mut Exchange) {
    sending(exchange);
    if let Some(watch) = &mut exchange.watch {
        watch.asked = true;
    }
}

/// Before the answer's head is sent, with everything that is in it.
pub fn sending(exchange: &mut Exchange) {
    if let Some(mut watch) = exchange.watch.take() {
        if let Some(last) = watch.last {
            watch.look(exchange, last);
        }
        exchange.watch = Some(watch);
    }
}

/// When the stream is over.
pub fn report(env: &Rc<Env>, exchange: &mut Exchange) {
    let (Some(tap), Some(mut watch)) = (env.tap.as_ref(), exchange.watch.take()) else { return };
    if let Some(last) = watch.last {
        watch.look(exchange, last);
    }
    let took = exchange.ended.map_or(Duration::ZERO, |ended| ended.saturating_duration_since(exchange.started));
    let mut line = String::new();
    match exchange.kind {
        Kind::Tcp => line.push_str("a connection"),
        Kind::Http => {
            let value =
                |name: &str| watch.request.iter().find(|(key, _)| key == name).map_or("-", |(_, value)| value.as_str());
            let _ = write!(line, "{} {}", value(":method"), value(":path"));
            match &exchange.response_head {
                Some(response) => {
                    let _ = write!(line, " {}", response.status.as_u16());
                }
                None => line.push_str(" (no answer)"),
            }
        }
    }
    let _ = write!(
        line,
        " in {:.1} ms, {} B in, {} B out",
        took.as_secs_f64() * 1000.0,
        exchange.request.bytes,
        exchange.response.bytes
    );
    if !exchange.details.is_empty() {
        let _ = write!(line, " ({})", exchange.details);
    }
    let _ = write!(line, "; filters took {} us", watch.spent.as_micros());
    let mut notes: Vec<(String, Vec<String>)> =
        exchange.filters.iter().map(|filter| (filter.plugin.settings.name.clone(), Vec::new())).collect();
    for (index, note) in watch.notes {
        if let Some((_, notes)) = notes.get_mut(index) {
            notes.push(note);
        }
    }
    // Whoever watched may have gone.
    let _ = tap.send(Report { line, notes });
}

impl Watch {
    fn look(&mut self, exchange: &Exchange, index: usize) {
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
            let details = if reply.details.is_empty() { String::new() } else { format!(" ({})", reply.details) };
            self.notes.push((index, format!("replied {}{details}", reply.head.status.as_u16())));
        }
    }
}

fn differences(which: &str, before: &Head, now: &Head, mut note: impl FnMut(String)) {
    for (name, value) in now {
        let had: Vec<&String> = before.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect();
        if had.contains(&value) {
            continue;
        }
        match had.first() {
            None => note(format!("{which} + {name}: {value}")),
            Some(old) => note(format!("{which}   {name}: {old} -> {value}")),
        }
    }
    for (name, value) in before {
        if !now.iter().any(|(key, _)| key == name) {
            note(format!("{which} - {name}: {value}"));
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
    }
}
