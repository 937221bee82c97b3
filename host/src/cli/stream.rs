//! Server-sent events of a running process.

use anyhow::Context as _;
use http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::remote::{Open, Question, Target, open};

/// Bytes of one event.
const LONGEST: usize = 64 << 20;

/// An open stream.
pub(super) struct Events {
    open: Open,
    /// What was received and is not a whole event yet.
    rest: Vec<u8>,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub kind: String,
    pub data: Value,
}

impl Events {
    /// Opens one.
    ///
    /// # Errors
    /// Nobody answers, or refuses; with the reason.
    pub async fn open(target: &Target, path: String) -> anyhow::Result<Self> {
        let question = Question { method: http::Method::GET, path, body: None };
        let open = open(target, &question).await?;
        if open.response.status() != StatusCode::OK {
            let (status, value) = open.whole().await?;
            let why = value.get("error").and_then(Value::as_str).map_or_else(|| status.to_string(), str::to_owned);
            anyhow::bail!(why);
        }
        Ok(Self { open, rest: Vec::new() })
    }

    /// The next event; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            while let Some(piece) = take(&mut self.rest) {
                if let Some(event) = parse(&piece) {
                    return Ok(Some(event));
                }
            }
            match self.open.response.body_mut().frame().await {
                Some(frame) => {
                    let frame = frame.context("the connection to the proxy broke")?;
                    self.rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                    anyhow::ensure!(self.rest.len() <= LONGEST, "the proxy sends an event without end");
                }
                None => return Ok(None),
            }
        }
    }
}

/// Takes what is before the first empty line.
fn take(rest: &mut Vec<u8>) -> Option<String> {
    let end = rest.windows(2).position(|pair| pair == b"\n\n")?;
    let piece: Vec<u8> = rest.drain(..end + 2).collect();
    Some(String::from_utf8_lossy(&piece).into_owned())
}

/// `None`: a comment.
fn parse(piece: &str) -> Option<Event> {
    let field = |name: &str| {
        let value = piece.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.strip_prefix(' ').unwrap_or(value))
    };
    let data = serde_json::from_str(field("data")?).ok()?;
    Some(Event { kind: field("event").unwrap_or("message").to_owned(), data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_they_come() {
        let text = b": alive\n\nevent: request\nid: 1\ndata: {\"a\":1}\n\nevent: x\ndata: {";
        let (mut rest, mut events) = (Vec::new(), Vec::new());
        for byte in text {
            rest.push(*byte);
            events.extend(take(&mut rest).and_then(|piece| parse(&piece)));
        }
        assert_eq!(events, [Event { kind: "request".to_owned(), data: serde_json::json!({ "a": 1 }) }]);
        assert_eq!(rest, b"event: x\ndata: {");
    }
}
