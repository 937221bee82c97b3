//! Errors that are answered in a server's place.

use crate::bson::write::Document;
use crate::fault::Failure;
use crate::limiter::Over;
use crate::message::request::Request;
use crate::wire::write::{op_msg, op_reply};
use crate::wire::{Header, opcode, reply_flag};

/// Why an operation does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why<'a> {
    /// A rule, by its name.
    Rule(&'a str),
    /// A limit.
    Limit(Over<'a>),
    /// On purpose.
    Fault(&'a Failure),
    /// It cannot be read, or not far enough, so that no rule can judge it.
    Unclear,
}

impl<'a> Why<'a> {
    /// What it is called in metrics and logs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Rule(_) => "rule",
            Self::Limit(_) => "limit",
            Self::Fault(_) => "fault",
            Self::Unclear => "unclear",
        }
    }

    /// Whose name it has.
    #[must_use]
    pub const fn name(self) -> &'a str {
        match self {
            Self::Rule(name) => name,
            Self::Limit(over) => over.limit,
            Self::Fault(_) | Self::Unclear => "",
        }
    }

    /// As MongoDB says it: the number, its name, and labels by which drivers know what to do.
    ///
    /// Over a limit it is what MongoDB's own ingress limiter (8.2) says: current drivers wait a while and try again, for that is what
    /// the first two labels mean to them, and nothing was written; older ones know neither and hand the error on, rather than to try again
    /// at once, as `RetryableWriteError` would make them.
    #[must_use]
    pub fn code(self) -> (i32, &'a str, &'a [&'static str]) {
        match self {
            Self::Rule(_) => (13, "Unauthorized", &[]),
            Self::Limit(_) => (
                462,
                "IngressRequestRateLimitExceeded",
                &["SystemOverloadedError", "RetryableError", "NoWritesPerformed"],
            ),
            Self::Fault(failure) => (failure.code, &failure.name, &failure.labels),
            Self::Unclear => (9, "FailedToParse", &[]),
        }
    }

    fn message(self, request: &Request) -> String {
        let command = request.command().name;
        match self {
            Self::Rule(name) => format!("the proxy does not allow {command} here (rule {name})"),
            Self::Limit(over) => {
                let when = match over.retry_after.div_ceil(1_000_000) {
                    0 => String::new(),
                    _ if over.retry_after == u64::MAX => String::new(),
                    milliseconds => format!("; there is room in {milliseconds} ms"),
                };
                format!("{command} exceeds a limit of the proxy ({}){when}", over.limit)
            }
            Self::Fault(failure) => failure.message.clone(),
            Self::Unclear => "the proxy cannot read this message far enough to judge it".to_owned(),
        }
    }
}

/// The reply to a request; `None` if it has none.
#[must_use]
pub fn reply(why: Why<'_>, header: &Header, request: &Request, number: i32) -> Option<Vec<u8>> {
    if !request.expects_reply() {
        return None;
    }
    let (code, name, labels) = why.code();
    let message = why.message(request);
    // A legacy query that is no command has its error in a field of another name, and in a flag.
    let is_query = request.opcode == opcode::GET_MORE || (request.opcode == opcode::QUERY && request.is_query());
    let mut document = Document::new();
    if is_query {
        document.string("$err", &message).double("ok", 0.0);
    } else {
        document.double("ok", 0.0).string("errmsg", &message);
    }
    document.int32("code", code);
    if !name.is_empty() {
        document.string("codeName", name);
    }
    if !labels.is_empty() {
        document.array("errorLabels", |list| {
            for label in labels {
                list.string(label);
            }
        });
    }
    let document = document.finish();
    Some(if request.opcode == opcode::MSG {
        op_msg(number, header.request_id, 0, &document)
    } else {
        op_reply(number, header.request_id, if is_query { reply_flag::QUERY_FAILURE } else { 0 }, &document)
    })
}
