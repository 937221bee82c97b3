//! What a guest asks of the process rather than of a stream: log, clock, shared data.

use std::time::UNIX_EPOCH;

use fyke_engine::{LogLevel, SharedData, Status};

use super::lines::Lines;
use crate::{
    clock,
    shared::{Conflict, Scope, queue::NoEntry},
};

/// What is longer is cut off.
const LONGEST_LINE: usize = 64 * 1024;

/// Writes a guest's log line where the proxy's own go.
pub fn log(lines: &Lines, filter: &str, level: LogLevel, message: &[u8]) {
    if level < log_level() || !lines.admit(filter) {
        return;
    }
    let message = String::from_utf8_lossy(message.get(..LONGEST_LINE).unwrap_or(message));
    match level {
        LogLevel::Trace => tracing::trace!(target: "fyke::filter", filter, "{message}"),
        LogLevel::Debug => tracing::debug!(target: "fyke::filter", filter, "{message}"),
        LogLevel::Info => tracing::info!(target: "fyke::filter", filter, "{message}"),
        LogLevel::Warn => tracing::warn!(target: "fyke::filter", filter, "{message}"),
        LogLevel::Error | LogLevel::Critical => tracing::error!(target: "fyke::filter", filter, "{message}"),
    }
}

/// The lowest level that is written at all.
#[must_use]
pub fn log_level() -> LogLevel {
    match tracing::level_filters::LevelFilter::current().into_level() {
        Some(tracing::Level::TRACE) => LogLevel::Trace,
        Some(tracing::Level::DEBUG) => LogLevel::Debug,
        Some(tracing::Level::INFO) => LogLevel::Info,
        Some(tracing::Level::WARN) => LogLevel::Warn,
        Some(tracing::Level::ERROR) => LogLevel::Error,
        None => LogLevel::Critical,
    }
}

/// Nanoseconds since the Unix epoch.
#[must_use]
pub fn now() -> u64 {
    clock::wall().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// `proxy_enqueue_shared_queue`. A queue that is full reads as one that is not there: no other status is survived.
#[must_use]
pub fn enqueue(scope: Option<&Scope>, queue: u32, value: &[u8]) -> Status {
    match scope.map(|scope| scope.queues.push(queue, value)) {
        Some(Ok(())) => Status::Ok,
        _ => Status::NotFound,
    }
}

/// `proxy_dequeue_shared_queue`.
#[must_use]
pub fn dequeue(scope: Option<&Scope>, queue: u32, out: &mut Vec<u8>) -> Status {
    match scope.map(|scope| scope.queues.pop(queue)) {
        Some(Ok(value)) => {
            out.extend_from_slice(&value);
            Status::Ok
        }
        Some(Err(NoEntry::Empty)) => Status::Empty,
        _ => Status::NotFound,
    }
}

/// `proxy_get_shared_data`; without the grant nothing is ever there.
pub fn read_shared(scope: Option<&Scope>, key: &[u8], out: &mut Vec<u8>) -> SharedData {
    scope.and_then(|scope| scope.read(key, out)).map_or(SharedData::Missing, SharedData::Found)
}

/// `proxy_set_shared_data`. Without the grant, and over budget, the status is one that no SDK survives: a filter must not go
/// on in the belief that its value was stored.
pub fn write_shared(scope: Option<&Scope>, key: &[u8], value: &[u8], cas: u32) -> Status {
    match scope.map(|scope| scope.write(key, value, cas)) {
        Some(Ok(())) => Status::Ok,
        Some(Err(Conflict::Stale)) => Status::CasMismatch,
        Some(Err(Conflict::Full)) | None => Status::InternalFailure,
    }
}
