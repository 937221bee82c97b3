//! HAProxy's agent check: the host says in words how it is.
//!
//! One line, ended by CR, LF or the end of the connection; words are separated by blanks, tabs and commas, in any
//! case (HAProxy configuration manual, `agent-check`):
//! * `75%`: the share of its configured weight that the host wants, 0 to 256.
//! * `maxconn:30`: the connections that it wants at most. Reported, not acted on here.
//! * `up`; `down`, `stopped`, `failed` (or `fail`), each with `#` and a reason behind it.
//! * `drain`, `maint`; `ready` takes both back. HAProxy's `ready` leaves `down` alone; here it takes that back too, as
//!   no other check could.
//!
//! Unknown words are passed over, as HAProxy does; a line without a known one has said nothing and fails.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Administration, Failure, Verdict,
    raw::{self, Asked, Read},
};

/// A line and a reason; HAProxy's buffer is larger, no agent's line is.
const LINE_LIMIT: usize = 1024;
/// HAProxy's largest weight.
const WEIGHT_LIMIT: u16 = 256;

/// What an agent said. What it did not mention stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentReply {
    /// Whether the service runs.
    pub operation: Option<Operation>,
    /// What its operator wants.
    pub administration: Option<Administration>,
    /// Percentage of the configured weight, 0 to 256.
    pub weight: Option<u16>,
    /// Connections at most.
    pub max_connections: Option<u32>,
    /// Why it is down, in its own words; safe to show.
    pub reason: Option<String>,
}

/// Whether a service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `up`, `ready`.
    Up,
    /// `down`, `stopped`, `failed`.
    Down,
}

impl AgentReply {
    /// Reads a line. `None` when it has no word that is known.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let hash = line.iter().position(|byte| *byte == b'#').unwrap_or(line.len());
        let (words, reason) = line.split_at_checked(hash)?;
        let mut reply = Self::default();
        for word in words.split(|byte| matches!(byte, b' ' | b'\t' | b',')) {
            reply.take(word);
        }
        if reply == Self::default() {
            return None;
        }
        let reason = reason.get(1..).unwrap_or_default().trim_ascii();
        reply.reason = (!reason.is_empty()).then(|| raw::excerpt(reason));
        Some(reply)
    }

    fn take(&mut self, word: &[u8]) {
        match word.to_ascii_lowercase().as_slice() {
            b"up" => self.operation = Some(Operation::Up),
            b"ready" => {
                self.operation = Some(Operation::Up);
                self.administration = Some(Administration::Ready);
            }
            b"down" | b"stopped" | b"failed" | b"fail" => self.operation = Some(Operation::Down),
            b"drain" => self.administration = Some(Administration::Drain),
            b"maint" => self.administration = Some(Administration::Maintenance),
            word => {
                if let Some(percent) = word.strip_suffix(b"%") {
                    self.weight = number(percent).filter(|percent| *percent <= WEIGHT_LIMIT).or(self.weight);
                } else if let Some(connections) = word.strip_prefix(b"maxconn:") {
                    self.max_connections = number(connections).or(self.max_connections);
                }
            }
        }
    }
}

pub(super) async fn ask<I>(send: &Bytes, io: &mut I) -> Result<Asked, Failure>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    raw::send(io, send).await?;
    let mut received = Vec::new();
    let line = loop {
        if let Some(end) = received.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            break received.get(..end).unwrap_or_default();
        }
        match raw::read(io, &mut received, LINE_LIMIT).await? {
            Read::Bytes => {}
            Read::Closed if received.is_empty() => return Err(raw::closed_after(&received)),
            Read::Closed => break &received,
        }
    };
    let verdict = AgentReply::parse(line).map(Verdict::Agent).ok_or_else(|| {
        Failure::network(format!("the agent said \"{}\", which has no word that is known", raw::excerpt(line)))
    })?;
    Ok(Asked::close(verdict))
}

/// Digits only: `parse` alone would take a sign.
fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> AgentReply {
        AgentReply::parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn words_are_read_in_any_order_case_and_with_any_separator() {
        let expected = AgentReply {
            operation: Some(Operation::Up),
            administration: Some(Administration::Ready),
            weight: Some(75),
            max_connections: Some(30),
            reason: None,
        };
        assert_eq!(parse("up ready 75% maxconn:30"), expected);
        assert_eq!(parse("MAXCONN:30,,75%\tReady"), expected);
        assert_eq!(parse("something 75% else ready maxconn:30 maxconn:-1 x% 300%"), expected);
    }

    #[test]
    fn a_reason_follows_a_hash_and_is_shown_without_control_characters() {
        let reply = parse("drain down# disk\x07 full, 10% left");
        assert_eq!(reply.operation, Some(Operation::Down));
        assert_eq!(reply.administration, Some(Administration::Drain));
        assert_eq!((reply.weight, reply.reason.as_deref()), (None, Some("disk\\u{7} full, 10% left")));
        assert_eq!(parse("failed#").reason, None);
    }

    #[test]
    fn a_line_without_a_known_word_says_nothing() {
        for line in ["", "   ", "hello", "75", "%", "maxconn:", "maxconn:99999999999", "257%", "#down", "updown"] {
            assert_eq!(AgentReply::parse(line.as_bytes()), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line: Vec<u8>) {
            let _ = AgentReply::parse(&line);
        }
    }
}
