//! What can go wrong with a request, and reading answers within limits.

use std::{error::Error, fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::MESSAGE_TEXT;
use crate::telemetry::otlp::{statistics::FailureReason, value::cut};

/// Largest answer, in bytes. An answer is a few dozen.
pub(super) const ANSWER_BYTES: usize = 64 * 1024;

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// For the statistics.
    pub(crate) reason: FailureReason,
    /// Whether to send it again.
    pub(crate) retry: Retry,
    /// For a human; parts of it are the collector's words, escaped and cut.
    pub(crate) text: String,
}

/// Whether a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It would fail again.
    Never,
    /// Later; not before this time has gone by, if the collector says so.
    Later(Option<Duration>),
}

impl Failure {
    /// The way to the collector broke; it may be whole again later.
    pub(super) fn broken(reason: FailureReason, error: &(dyn Error + 'static)) -> Self {
        Self { reason, retry: Retry::Later(None), text: causes(error) }
    }

    /// What came is not OTLP. It would not be so the next time.
    pub(super) fn protocol(text: impl fmt::Display) -> Self {
        Self { reason: FailureReason::Protocol, retry: Retry::Never, text: text.to_string() }
    }

    /// Something that settings should have ruled out.
    pub(super) fn ours(text: &str) -> Self {
        Self { reason: FailureReason::Refused, retry: Retry::Never, text: text.to_owned() }
    }

    /// An error of hyper: another protocol than ours, or a broken connection.
    pub(super) fn hyper(error: &hyper::Error) -> Self {
        if error.is_parse() {
            // Garbage, a head that is too large, a status that is none.
            return Self::protocol(causes(error));
        }
        Self::broken(FailureReason::Transport, error)
    }
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) body: Bytes,
    pub(super) trailers: HeaderMap,
}

/// Why an answer is not whole.
pub(super) enum Unreadable {
    /// It is larger than [`ANSWER_BYTES`].
    TooLarge,
    /// It broke off.
    Broken(hyper::Error),
}

impl From<Unreadable> for Failure {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::TooLarge => Self::protocol(format_args!("the answer is larger than {ANSWER_BYTES} bytes")),
            Unreadable::Broken(error) => Self::hyper(&error),
        }
    }
}

/// Reads an answer to its end.
pub(super) async fn whole(response: Response<Incoming>) -> Result<Answer, Unreadable> {
    let mut incoming = response.into_body();
    let mut body = BytesMut::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = incoming.frame().await {
        match frame.map_err(Unreadable::Broken)?.into_data() {
            Ok(data) if body.len().saturating_add(data.len()) > ANSWER_BYTES => return Err(Unreadable::TooLarge),
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok(Answer { body: body.freeze(), trailers })
}

/// A collector's words, fit for a log.
pub(crate) fn quoted(text: &str) -> String {
    // Cut before it is escaped, so that no more is escaped than is kept.
    cut(cut(text.into(), MESSAGE_TEXT).escape_debug().to_string().into(), MESSAGE_TEXT)
}

/// An error and what is behind it: hyper's own message is only where it happened.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    cut(text.into(), MESSAGE_TEXT)
}
