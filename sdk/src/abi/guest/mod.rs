//! The hostcalls, on wasm32. Every value that the host returns lies in memory that it took from [`allocate`], and is owned by us.

#![allow(unsafe_code)]

use std::alloc::Layout;

use super::{BufferKind, Level, MapKind, MetricKind, Pairs, Side, Status};

mod callouts;
mod raw;

pub use callouts::*;

/// Runs the module's constructors. The linker generates the function; calling it ourselves keeps it from wrapping every export in a call of it.
pub fn initialize() {
    // SAFETY: called once, from `_initialize`, before any other export.
    unsafe { raw::__wasm_call_ctors() }
}

/// Memory for a value that the host is about to return; null when there is none.
#[must_use]
pub fn allocate(size: usize) -> *mut u8 {
    match Layout::array::<u8>(size) {
        // SAFETY: the layout has a size above zero.
        Ok(layout) if size > 0 => unsafe { std::alloc::alloc(layout) },
        _ => std::ptr::null_mut(),
    }
}

/// Where the host leaves a value.
struct Returned {
    bytes: *mut u8,
    length: usize,
}

impl Returned {
    const fn new() -> Self {
        Self { bytes: std::ptr::null_mut(), length: 0 }
    }

    fn into_vec(self) -> Vec<u8> {
        if self.bytes.is_null() || self.length == 0 {
            return Vec::new();
        }
        // SAFETY: the host took exactly `length` bytes from `allocate`, filled them, and gave them to us.
        unsafe { Vec::from_raw_parts(self.bytes, self.length, self.length) }
    }
}

/// `proxy_log`.
pub fn log(level: Level, message: &str) {
    // SAFETY: the pointer and length are a live slice's.
    unsafe { raw::proxy_log(level as u32, message.as_ptr(), message.len()) };
}

/// `proxy_get_current_time_nanoseconds`: since the Unix epoch.
#[must_use]
pub fn now() -> u64 {
    let mut time = 0;
    // SAFETY: the host writes eight bytes to a live `u64`.
    unsafe { raw::proxy_get_current_time_nanoseconds(&raw mut time) };
    time
}

/// `clock_time_get` of the monotonic clock, in nanoseconds.
#[must_use]
pub fn monotonic() -> u64 {
    let mut time = 0;
    // SAFETY: the host writes eight bytes to a live `u64`.
    unsafe { raw::clock_time_get(1, 1, &raw mut time) };
    time
}

/// `proxy_set_tick_period_milliseconds`, of the effective context's root; zero: no more ticks.
pub fn set_tick_period(milliseconds: u32) {
    // SAFETY: no pointers.
    unsafe { raw::proxy_set_tick_period_milliseconds(milliseconds) };
}

/// `proxy_get_log_level`: what is below it goes nowhere.
#[must_use]
pub fn log_level() -> Level {
    let mut level = 0;
    // SAFETY: the host writes four bytes to a live `u32`.
    unsafe { raw::proxy_get_log_level(&raw mut level) };
    Level::from_number(level)
}

/// `random_get`.
pub fn random(bytes: &mut [u8]) {
    // Hosts give no more than 64 KiB at once.
    for part in bytes.chunks_mut(64 * 1024) {
        // SAFETY: the pointer and length are a live slice's.
        unsafe { raw::random_get(part.as_mut_ptr(), part.len()) };
    }
}

/// `proxy_set_effective_context`.
pub fn set_effective_context(context: u32) {
    // SAFETY: no pointers.
    unsafe { raw::proxy_set_effective_context(context) };
}

/// `proxy_get_buffer_bytes`: `None` when the buffer does not exist in this phase.
#[must_use]
pub fn buffer(kind: BufferKind, start: usize, maximum: usize) -> Option<Vec<u8>> {
    let mut value = Returned::new();
    // SAFETY: the host writes to live locals.
    let status = unsafe {
        raw::proxy_get_buffer_bytes(kind as u32, start, maximum, &raw mut value.bytes, &raw mut value.length)
    };
    (Status(status) == Status::OK).then(|| value.into_vec())
}

/// `proxy_set_buffer_bytes`.
///
/// # Errors
/// The host's status.
pub fn set_buffer(kind: BufferKind, start: usize, size: usize, bytes: &[u8]) -> Result<(), Status> {
    // SAFETY: the pointer and length are a live slice's.
    Status(unsafe { raw::proxy_set_buffer_bytes(kind as u32, start, size, bytes.as_ptr(), bytes.len()) }).ok()
}

/// `proxy_get_buffer_status`: the length, zero when there is no such buffer.
#[must_use]
pub fn buffer_length(kind: BufferKind) -> usize {
    let (mut length, mut flags) = (0, 0);
    // SAFETY: the host writes to live locals.
    let status = unsafe { raw::proxy_get_buffer_status(kind as u32, &raw mut length, &raw mut flags) };
    if Status(status) == Status::OK { length } else { 0 }
}

/// `proxy_get_header_map_pairs`.
#[must_use]
pub fn header_pairs(map: MapKind) -> Pairs {
    let mut value = Returned::new();
    // SAFETY: the host writes to live locals.
    let status = unsafe { raw::proxy_get_header_map_pairs(map as u32, &raw mut value.bytes, &raw mut value.length) };
    if Status(status) == Status::OK { Pairs::new(value.into_vec()) } else { Pairs::default() }
}

/// `proxy_get_header_map_value`: the first value.
#[must_use]
pub fn header(map: MapKind, name: &str) -> Option<Vec<u8>> {
    let mut value = Returned::new();
    // SAFETY: a live slice, and live locals that the host writes to.
    let status = unsafe {
        raw::proxy_get_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            &raw mut value.bytes,
            &raw mut value.length,
        )
    };
    (Status(status) == Status::OK).then(|| value.into_vec())
}

/// `proxy_add_header_map_value`.
///
/// # Errors
/// The host's status.
pub fn add_header(map: MapKind, name: &str, value: &[u8]) -> Result<(), Status> {
    // SAFETY: live slices.
    Status(unsafe {
        raw::proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
    .ok()
}

/// `proxy_replace_header_map_value`.
///
/// # Errors
/// The host's status.
pub fn set_header(map: MapKind, name: &str, value: &[u8]) -> Result<(), Status> {
    // SAFETY: live slices.
    Status(unsafe {
        raw::proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
    .ok()
}

/// `proxy_remove_header_map_value`; absent is fine.
///
/// # Errors
/// The host's status.
pub fn remove_header(map: MapKind, name: &str) -> Result<(), Status> {
    // SAFETY: a live slice.
    Status(unsafe { raw::proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) }).ok()
}

/// `proxy_continue_stream`.
pub fn continue_stream(side: Side) {
    // SAFETY: no pointers.
    unsafe { raw::proxy_continue_stream(side as u32) };
}

/// `proxy_close_stream`.
pub fn close_stream(side: Side) {
    // SAFETY: no pointers.
    unsafe { raw::proxy_close_stream(side as u32) };
}

/// `proxy_continue_stream`, of a TCP connection.
pub fn continue_connection(side: crate::tcp::Side) {
    // SAFETY: no pointers.
    unsafe { raw::proxy_continue_stream(side.stream()) };
}

/// `proxy_close_stream`, of a TCP connection.
pub fn close_connection(side: crate::tcp::Side) {
    // SAFETY: no pointers.
    unsafe { raw::proxy_close_stream(side.stream()) };
}

/// `proxy_send_local_response`; `headers` are serialized pairs. Without a `grpc_status` the host makes one of the status.
///
/// # Errors
/// The host's status.
pub fn send_local_response(
    status: u32,
    details: &str,
    body: &[u8],
    headers: &[u8],
    grpc_status: Option<u32>,
) -> Result<(), Status> {
    let grpc_status = grpc_status.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1);
    // SAFETY: live slices.
    Status(unsafe {
        raw::proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status,
        )
    })
    .ok()
}

/// `proxy_get_shared_data`: the value and its token, if there is one.
#[must_use]
pub fn shared_data(key: &str) -> Option<(Vec<u8>, u32)> {
    let mut value = Returned::new();
    let mut cas = 0;
    // SAFETY: a live slice, and live locals that the host writes to.
    let status = unsafe {
        raw::proxy_get_shared_data(key.as_ptr(), key.len(), &raw mut value.bytes, &raw mut value.length, &raw mut cas)
    };
    (Status(status) == Status::OK).then(|| (value.into_vec(), cas))
}

/// `proxy_set_shared_data`.
///
/// # Errors
/// [`Status::CAS_MISMATCH`] when it changed in the meantime.
pub fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), Status> {
    // SAFETY: live slices.
    Status(unsafe { raw::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) }).ok()
}

/// `proxy_define_metric`.
///
/// # Errors
/// The host's status.
pub fn define_metric(kind: MetricKind, name: &str) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: a live slice, and a live local that the host writes to.
    Status(unsafe { raw::proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) }).ok().map(|()| id)
}

/// `proxy_record_metric`.
pub fn record_metric(id: u32, value: i64) {
    // SAFETY: no pointers.
    unsafe { raw::proxy_record_metric(id, value) };
}

/// `proxy_increment_metric`.
pub fn increment_metric(id: u32, delta: i64) {
    // SAFETY: no pointers.
    unsafe { raw::proxy_increment_metric(id, delta) };
}

/// `proxy_get_property`; the segments of the path are joined by zero bytes.
#[must_use]
pub fn property(path: &[u8]) -> Option<Vec<u8>> {
    let mut value = Returned::new();
    // SAFETY: a live slice, and live locals that the host writes to.
    let status =
        unsafe { raw::proxy_get_property(path.as_ptr(), path.len(), &raw mut value.bytes, &raw mut value.length) };
    (Status(status) == Status::OK).then(|| value.into_vec())
}

/// `proxy_set_property`.
///
/// # Errors
/// The host's status.
pub fn set_property(path: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: live slices.
    Status(unsafe { raw::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) }).ok()
}

/// `proxy_call_foreign_function`.
///
/// # Errors
/// The host's status; [`Status::NOT_FOUND`] when it does not know the function.
pub fn call_foreign_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let mut value = Returned::new();
    // SAFETY: live slices, and live locals that the host writes to.
    let status = unsafe {
        raw::proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            arguments.as_ptr(),
            arguments.len(),
            &raw mut value.bytes,
            &raw mut value.length,
        )
    };
    Status(status).ok().map(|()| value.into_vec())
}
