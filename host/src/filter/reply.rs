//! Local replies: an answer that does not come from the upstream.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::flow;
use crate::wasm::{
    exchange::{Direction, Exchange, Half, Reply, Stage},
    maps::ResponseHead,
};

/// Records a reply of the host's own. `from` is the filter in whose place it is given.
pub fn by_host(
    exchange: &mut Exchange,
    status: StatusCode,
    details: impl Into<Cow<'static, str>>,
    from: Option<usize>,
) {
    let details = details.into();
    let mut fields = HeaderMap::with_capacity(2);
    let body = if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED) {
        Bytes::new()
    } else {
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Bytes::from(format!("{}: {details}\n", status.canonical_reason().unwrap_or("error").to_lowercase()))
    };
    exchange.reply_with(Reply { head: ResponseHead { status, fields }, body, grpc_status: None, details, from });
}

/// Makes the recorded reply the stream's response, at the place of the filter that gave it. The caller then runs
/// the response direction.
///
/// What an upstream had answered before is dropped; filters that have seen its head do not see another one.
pub fn begin(exchange: &mut Exchange, reply: Reply) {
    let count = exchange.filters.len();
    let reached = exchange.filters.iter().rposition(|filter| filter.slot.is_some()).map_or(0, |last| last + 1);
    // The filters outside of the one that replied; for the host's own reply all that have met the stream.
    let outside = reply.from.unwrap_or(reached);
    exchange.response = Half::default();
    for (index, filter) in exchange.filters.iter_mut().enumerate() {
        let seen = filter.response.headers_seen;
        filter.response = Stage::default();
        if seen && index < outside {
            filter.response = Stage { headers_seen: true, ..Stage::default() };
        }
    }
    if let Some(trace) = &mut exchange.trace {
        trace.replied();
    }
    exchange.details = reply.details;
    let mut head = reply.head;
    // RFC 9110, sections 9.3.2, 15.3.5 and 15.4.5: the length may be told, the body must not follow.
    let bodiless = exchange.is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let end = bodiless || reply.body.is_empty();
    // What a 304 says of a length is that of the body it stands for, which is not known here.
    let unknown = head.status == StatusCode::NOT_MODIFIED && reply.body.is_empty();
    if head.status != StatusCode::NO_CONTENT && !unknown {
        head.fields.insert(header::CONTENT_LENGTH, HeaderValue::from(reply.body.len()));
    }
    exchange.response_head = Some(head);
    let position = count.saturating_sub(outside);
    flow::start(exchange, Direction::Response, position, end);
    if !end {
        flow::push_data(exchange, Direction::Response, position, reply.body);
        flow::push_end(exchange, Direction::Response, position, None);
    }
}
