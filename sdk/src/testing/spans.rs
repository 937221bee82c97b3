//! Tracing, as a host serves it: `fyke.span.*` and the properties below `fyke.trace`.

use crate::abi::Status;
use crate::testing::hostcalls::{number, split};
use crate::testing::world::{Pair, World};

/// The handle on which nothing is recorded.
const NOT_RECORDED: u32 = u32::MAX;
/// Spans that a filter may make in one stream.
const SPANS: usize = 64;
/// The longest text of a tag that a host keeps.
const LONGEST: usize = 4096;

/// Whether streams are part of a trace before the filter says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracing {
    /// Of one that is sampled, as behind a filter that begins traces.
    Assumed,
    /// Of none.
    Absent,
}

/// The trace that a stream is part of.
#[derive(Debug, Clone)]
pub struct StreamTrace {
    /// Of the trace.
    pub trace_id: [u8; 16],
    /// The span that caused the stream; all zero: none.
    pub parent: [u8; 8],
    /// Of the stream's own span.
    pub span_id: [u8; 8],
    /// Whether its spans are recorded.
    pub sampled: bool,
    /// `tracestate`.
    pub state: String,
    /// Headers of an attempt: name, prefix and suffix.
    pub templates: Vec<[String; 3]>,
    /// Whether the filter said so, and the host does not just assume it.
    begun: bool,
    /// Spans that were asked for.
    started: u32,
}

/// A span that a filter made, or the stream's own.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedSpan {
    stream: u32,
    handle: u32,
    name: String,
    tags: Vec<(String, TagValue)>,
    error: Option<String>,
    ended: bool,
}

/// The value of a tag. Compares with what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub enum TagValue {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Yes or no.
    Boolean(bool),
    /// A number.
    Number(f64),
}

impl RecordedSpan {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a stream's own.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.handle == 0
    }

    /// The value of a tag, as what it is compared with: `span.tag("user") == Some("alice")`. `None` when there is no such tag, or its
    /// value is something else.
    #[must_use]
    pub fn tag<'a, T: TryFrom<&'a TagValue>>(&'a self, key: &str) -> Option<T> {
        self.tags.iter().find(|(known, _)| known == key).and_then(|(_, value)| value.try_into().ok())
    }

    /// All tags, in the order in which they were first written.
    #[must_use]
    pub fn tags(&self) -> &[(String, TagValue)] {
        &self.tags
    }

    /// Why what it stands for failed.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Whether the filter ended it. (A host ends it with its stream all the same.)
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

macro_rules! values {
    ($($variant:ident => $type:ty, $value:ident => $read:expr;)*) => {
        $(impl<'a> TryFrom<&'a TagValue> for $type {
            type Error = ();

            fn try_from(value: &'a TagValue) -> Result<Self, ()> {
                match value {
                    TagValue::$variant($value) => Ok($read),
                    _ => Err(()),
                }
            }
        })*
    };
}

values! {
    Text => &'a str, text => text;
    Integer => i64, number => *number;
    Boolean => bool, yes => *yes;
    Number => f64, number => *number;
}

/// One of the functions `fyke.span.*`, called for the effective stream.
pub(super) fn call(world: &mut World, name: &str, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    match name {
        "fyke.span.stream.v1" => begin(world, arguments),
        "fyke.span.start.v1" => {
            let name = std::str::from_utf8(arguments).map_err(|_| Status::BAD_ARGUMENT)?;
            let stream = world.effective;
            let started = match trace(world, stream) {
                Some(trace) if trace.sampled && (trace.started as usize) < SPANS => {
                    trace.started += 1;
                    trace.started
                }
                _ => return Ok(NOT_RECORDED.to_le_bytes().to_vec()),
            };
            world.spans.push(span(stream, started, name));
            number(started as usize)
        }
        "fyke.span.tag.v1" => {
            let (handle, rest) = split(arguments)?;
            let (key, rest) = text(rest)?;
            let value = value(rest)?;
            if let Some(span) = find(world, handle)? {
                match (span.handle, key.as_str(), &value) {
                    (0, "span.name", TagValue::Text(name)) => span.name.clone_from(name),
                    _ => {
                        span.tags.retain(|(known, _)| *known != key);
                        span.tags.push((key, value));
                    }
                }
            }
            Ok(Vec::new())
        }
        "fyke.span.end.v1" => {
            let (handle, error) = split(arguments)?;
            if let Some(span) = find(world, handle)? {
                span.ended = true;
                span.error = (!error.is_empty()).then(|| String::from_utf8_lossy(error).into_owned());
            }
            Ok(Vec::new())
        }
        _ => Err(Status::NOT_FOUND),
    }
}

fn begin(world: &mut World, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let (trace_id, rest) = arguments.split_first_chunk::<16>().ok_or(Status::BAD_ARGUMENT)?;
    let (parent, rest) = rest.split_first_chunk::<8>().ok_or(Status::BAD_ARGUMENT)?;
    let (flags, rest) = rest.split_first().ok_or(Status::BAD_ARGUMENT)?;
    let (state, mut rest) = text(rest)?;
    let mut templates = Vec::new();
    while !rest.is_empty() {
        let (name, after) = text(rest)?;
        let (prefix, after) = text(after)?;
        let (suffix, after) = text(after)?;
        templates.push([name, prefix, suffix]);
        rest = after;
    }
    let stream = world.effective;
    if *trace_id == [0; 16] || world.stream_mut(stream).trace.as_ref().is_some_and(|trace| trace.begun) {
        return Err(Status::BAD_ARGUMENT);
    }
    let span_id = new_id(world);
    world.stream_mut(stream).trace = Some(StreamTrace {
        trace_id: *trace_id,
        parent: *parent,
        span_id,
        sampled: flags & 1 == 1,
        state,
        templates,
        begun: true,
        started: 0,
    });
    Ok(span_id.to_vec())
}

/// The headers by which an attempt of a sampled stream tells the upstream its span.
pub(super) fn of_an_attempt(world: &mut World, stream: u32) -> Vec<Pair> {
    let id = new_id(world);
    let Some(trace) = world.stream_mut(stream).trace.as_ref().filter(|trace| trace.begun && trace.sampled) else {
        return Vec::new();
    };
    let id = hex(&id);
    trace
        .templates
        .iter()
        .map(|[name, prefix, suffix]| (name.clone().into_bytes(), format!("{prefix}{id}{suffix}").into_bytes()))
        .collect()
}

/// `fyke.trace.id` and its like, and `fyke.tracing.sample`.
pub(super) fn property(world: &World, path: &str) -> Option<Vec<u8>> {
    if !world.knows_fyke {
        return None;
    }
    if path == "fyke.tracing.sample" {
        return world.sample.map(|ratio| ratio.to_le_bytes().to_vec());
    }
    let known = world.streams.get(&world.effective)?.trace.clone();
    let trace = known.or_else(|| (world.tracing == Tracing::Assumed).then(|| assumed(world.effective)))?;
    Some(match path {
        "fyke.trace.id" => hex(&trace.trace_id).into_bytes(),
        "fyke.trace.span_id" => hex(&trace.span_id).into_bytes(),
        _ => vec![u8::from(trace.sampled)],
    })
}

/// The trace of a stream, made where it is assumed.
fn trace(world: &mut World, stream: u32) -> Option<&mut StreamTrace> {
    let tracing = world.tracing;
    let trace = &mut world.stream_mut(stream).trace;
    if trace.is_none() && tracing == Tracing::Assumed {
        *trace = Some(assumed(stream));
    }
    trace.as_mut()
}

fn assumed(stream: u32) -> StreamTrace {
    let [a, b, c, d] = stream.to_be_bytes();
    StreamTrace {
        trace_id: [0xfe, 0xed, 0xbe, 0xef, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d],
        parent: [0; 8],
        span_id: [0xfe, 0xed, 0xbe, 0xef, a, b, c, d],
        sampled: true,
        state: String::new(),
        templates: Vec::new(),
        begun: false,
        started: 0,
    }
}

/// The span with a handle of the effective stream; `None`: nothing is recorded.
fn find(world: &mut World, handle: u32) -> Result<Option<&mut RecordedSpan>, Status> {
    let stream = world.effective;
    if handle == NOT_RECORDED || !trace(world, stream).is_some_and(|trace| trace.sampled) {
        return Ok(None);
    }
    let mut at = world.spans.iter().position(|span| (span.stream, span.handle) == (stream, handle));
    if at.is_none() && handle == 0 {
        world.spans.push(span(stream, 0, "stream"));
        at = world.spans.len().checked_sub(1);
    }
    at.and_then(|at| world.spans.get_mut(at)).map(Some).ok_or(Status::BAD_ARGUMENT)
}

fn span(stream: u32, handle: u32, name: &str) -> RecordedSpan {
    RecordedSpan { stream, handle, name: name.to_owned(), tags: Vec::new(), error: None, ended: false }
}

fn value(bytes: &[u8]) -> Result<TagValue, Status> {
    let (kind, rest) = bytes.split_first().ok_or(Status::BAD_ARGUMENT)?;
    let eight = || <[u8; 8]>::try_from(rest).map_err(|_| Status::BAD_ARGUMENT);
    Ok(match (kind, rest) {
        (0, _) => {
            let text = std::str::from_utf8(rest).map_err(|_| Status::BAD_ARGUMENT)?;
            TagValue::Text(text.get(..text.floor_char_boundary(LONGEST)).unwrap_or(text).to_owned())
        }
        (1, _) => TagValue::Integer(i64::from_le_bytes(eight()?)),
        (2, [byte]) => TagValue::Boolean(*byte != 0),
        (3, _) => TagValue::Number(f64::from_le_bytes(eight()?)),
        _ => return Err(Status::BAD_ARGUMENT),
    })
}

fn text(bytes: &[u8]) -> Result<(String, &[u8]), Status> {
    let (length, rest) = split(bytes)?;
    let (text, rest) = rest.split_at_checked(length as usize).ok_or(Status::BAD_ARGUMENT)?;
    Ok((String::from_utf8(text.to_vec()).map_err(|_| Status::BAD_ARGUMENT)?, rest))
}

fn new_id(world: &mut World) -> [u8; 8] {
    world.random = world.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
    // Not zero, whatever the generator says.
    (world.random | 1).to_be_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
}
