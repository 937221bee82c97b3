//! The least that a guest needs, for the examples that measure.

use std::hint::black_box;
use std::time::Duration;

use fyke_engine::{
    Buffer, BufferKind, ContextId, Host, HttpCall, LocalResponse, LogLevel, Map, MapKind, MetricKind, Refused,
    SharedData, Status, StreamKind,
};

/// A host with one header and nothing else.
#[derive(Default)]
pub struct Nothing {
    headers: One,
    metric: i64,
}

#[derive(Default)]
pub struct One;

impl Map for One {
    fn len(&self) -> usize {
        1
    }
    fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8])) {
        each(b"user-agent", b"curl/8.0");
    }
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        (key == b"user-agent").then_some(b"curl/8.0")
    }
    fn add(&mut self, _: &[u8], _: &[u8]) -> Result<(), Refused> {
        Ok(())
    }
    fn replace(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        black_box((key, value));
        Ok(())
    }
    fn remove(&mut self, _: &[u8]) -> Result<(), Refused> {
        Ok(())
    }
    fn replace_all(&mut self, _: &[(&[u8], &[u8])]) -> Result<(), Refused> {
        Ok(())
    }
}

impl Host for Nothing {
    fn log(&mut self, _: ContextId, _: LogLevel, _: &[u8]) {}
    fn now(&self) -> u64 {
        0
    }
    fn monotonic(&self) -> u64 {
        0
    }
    fn random(&mut self, _: &mut [u8]) -> bool {
        true
    }
    fn set_tick_period(&mut self, _: ContextId, _: Option<Duration>) {}
    fn with_map(&mut self, _: ContextId, _: MapKind, f: &mut dyn FnMut(&mut dyn Map)) -> bool {
        f(&mut self.headers);
        true
    }
    fn with_buffer(&mut self, _: ContextId, _: BufferKind, _: &mut dyn FnMut(&mut dyn Buffer)) -> bool {
        false
    }
    fn continue_stream(&mut self, _: ContextId, _: StreamKind) {}
    fn close_stream(&mut self, _: ContextId, _: StreamKind) {}
    fn send_local_response(&mut self, _: ContextId, _: LocalResponse<'_>) {}
    fn clear_route_cache(&mut self, _: ContextId) {}
    fn http_call(&mut self, _: ContextId, _: HttpCall<'_>) -> Result<u32, Status> {
        Err(Status::BadArgument)
    }
    fn shared_data(&mut self, _: ContextId, _: &[u8], _: &mut Vec<u8>) -> SharedData {
        SharedData::Missing
    }
    fn set_shared_data(&mut self, _: ContextId, _: &[u8], _: &[u8], _: u32) -> Status {
        Status::Ok
    }
    fn define_metric(&mut self, _: ContextId, _: MetricKind, _: &[u8]) -> Result<u32, Status> {
        Ok(1)
    }
    fn record_metric(&mut self, _: ContextId, _: u32, _: u64) -> Status {
        Status::Ok
    }
    fn increment_metric(&mut self, _: ContextId, _: u32, delta: i64) -> Status {
        self.metric += delta;
        Status::Ok
    }
    fn metric(&mut self, _: ContextId, _: u32) -> Result<u64, Status> {
        Err(Status::NotFound)
    }
    fn property(&mut self, _: ContextId, _: &[u8], _: &mut Vec<u8>) -> Status {
        Status::NotFound
    }
    fn set_property(&mut self, _: ContextId, _: &[u8], _: &[u8]) {}
    fn foreign_function(&mut self, _: ContextId, _: &[u8], _: &[u8], _: &mut Vec<u8>) -> Status {
        Status::NotFound
    }
}
