//! A host that answers from plain collections and writes down what it is asked.

use std::collections::HashMap;
use std::time::Duration;

use fyke_engine::{
    Buffer, BufferKind, ContextId, GrpcCall, Host, HttpCall, LocalResponse, LogLevel, Map, MapKind, MetricKind,
    Refused, SharedData, Status, StreamKind,
};

#[derive(Default)]
pub struct Recorder {
    pub logs: Vec<(ContextId, LogLevel, String)>,
    pub asked: Vec<String>,
    pub maps: HashMap<MapKind, Pairs>,
    pub buffers: HashMap<BufferKind, Bytes>,
    pub shared: HashMap<Vec<u8>, (Vec<u8>, u32)>,
    pub queue: Vec<Vec<u8>>,
    pub answer: Option<Status>,
    pub panic_on_log: bool,
    /// Logging takes 15 ms, off the CPU.
    pub slow: bool,
    /// Logging takes 5 ms of CPU time.
    pub busy: bool,
    /// There are no random bytes.
    pub predictable: bool,
    /// What the random bytes are.
    pub random: Option<u8>,
}

#[derive(Default, Clone, Debug, PartialEq)]
pub struct Pairs(pub Vec<(String, String)>, pub bool);

#[derive(Default)]
pub struct Bytes(pub Vec<u8>, pub bool);

impl Recorder {
    pub fn with_map(mut self, kind: MapKind, pairs: &[(&str, &str)]) -> Self {
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.maps.insert(kind, Pairs(pairs, false));
        self
    }

    pub fn with_buffer(mut self, kind: BufferKind, bytes: &str) -> Self {
        self.buffers.insert(kind, Bytes(bytes.into(), false));
        self
    }

    /// What the guest said, its allocator (which logs at trace level) aside.
    pub fn said(&self) -> Vec<&str> {
        self.logs.iter().filter(|(_, level, _)| *level != LogLevel::Trace).map(|(_, _, text)| text.as_str()).collect()
    }

    /// How often the guest's allocator ran.
    pub fn allocations(&self) -> usize {
        self.logs.iter().filter(|(_, level, _)| *level == LogLevel::Trace).count()
    }

    pub fn map(&self, kind: MapKind) -> Vec<(&str, &str)> {
        self.maps[&kind].0.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
    }

    pub fn buffer(&self, kind: BufferKind) -> String {
        text(&self.buffers[&kind].0)
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn list(pairs: &[(&[u8], &[u8])]) -> String {
    pairs.iter().map(|(k, v)| format!("{}={}", text(k), text(v))).collect::<Vec<_>>().join(",")
}

impl Map for Pairs {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8])) {
        self.0.iter().for_each(|(key, value)| each(key.as_bytes(), value.as_bytes()));
    }
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(k, _)| k.as_bytes().eq_ignore_ascii_case(key)).map(|(_, v)| v.as_bytes())
    }
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        if self.1 {
            return Err(Refused);
        }
        self.0.push((text(key), text(value)));
        Ok(())
    }
    fn replace(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.remove(key)?;
        self.add(key, value)
    }
    fn remove(&mut self, key: &[u8]) -> Result<(), Refused> {
        if self.1 {
            return Err(Refused);
        }
        self.0.retain(|(k, _)| k.as_bytes() != key);
        Ok(())
    }
    fn replace_all(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Refused> {
        if self.1 {
            return Err(Refused);
        }
        self.0 = pairs.iter().map(|(k, v)| (text(k), text(v))).collect();
        Ok(())
    }
}

impl Buffer for Bytes {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn copy_to(&self, start: usize, length: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0[start..start + length]);
    }
    fn splice(&mut self, start: usize, length: usize, bytes: &[u8]) -> Result<(), Refused> {
        if self.1 {
            return Err(Refused);
        }
        self.0.splice(start..start + length, bytes.iter().copied());
        Ok(())
    }
}

impl Host for Recorder {
    fn log(&mut self, cx: ContextId, level: LogLevel, message: &[u8]) {
        assert!(!self.panic_on_log, "the host panics");
        if self.slow {
            std::thread::sleep(Duration::from_millis(15));
        }
        let used = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let begun = used();
        while self.busy && used() - begun < (rustix::time::Timespec { tv_sec: 0, tv_nsec: 5_000_000 }) {}
        self.logs.push((cx, level, text(message)));
    }
    fn log_level(&self) -> LogLevel {
        LogLevel::Warn
    }
    fn now(&self) -> u64 {
        0x0102_0304_0506_0708
    }
    fn monotonic(&self) -> u64 {
        7
    }
    fn random(&mut self, out: &mut [u8]) -> bool {
        out.fill(self.random.unwrap_or(b'r'));
        !self.predictable
    }
    fn set_tick_period(&mut self, root: ContextId, period: Option<Duration>) {
        self.asked.push(format!("tick {} {period:?}", root.0));
    }
    fn done(&mut self, cx: ContextId) -> Status {
        self.asked.push(format!("done {}", cx.0));
        Status::NotFound
    }
    fn with_map(&mut self, _: ContextId, map: MapKind, f: &mut dyn FnMut(&mut dyn Map)) -> bool {
        self.maps.get_mut(&map).map(|map| f(map)).is_some()
    }
    fn with_buffer(&mut self, _: ContextId, buffer: BufferKind, f: &mut dyn FnMut(&mut dyn Buffer)) -> bool {
        self.buffers.get_mut(&buffer).map(|buffer| f(buffer)).is_some()
    }
    fn continue_stream(&mut self, cx: ContextId, stream: StreamKind) {
        self.asked.push(format!("continue {} {stream:?}", cx.0));
    }
    fn close_stream(&mut self, cx: ContextId, stream: StreamKind) {
        self.asked.push(format!("close {} {stream:?}", cx.0));
    }
    fn send_local_response(&mut self, cx: ContextId, response: LocalResponse<'_>) {
        let LocalResponse { status, details, body, headers, grpc_status } = response;
        let (details, body, headers) = (text(details), text(body), list(headers));
        self.asked.push(format!("reply {} {status} [{details}] [{body}] [{headers}] {grpc_status:?}", cx.0));
    }
    fn clear_route_cache(&mut self, cx: ContextId) {
        self.asked.push(format!("clear {}", cx.0));
    }
    fn status(&mut self, _: ContextId, message: &mut Vec<u8>) -> u32 {
        message.extend_from_slice(b"not today");
        14
    }
    fn http_call(&mut self, cx: ContextId, call: HttpCall<'_>) -> Result<u32, Status> {
        let (headers, trailers) = (list(call.headers), list(call.trailers));
        let (cluster, body) = (text(call.cluster), text(call.body));
        self.asked.push(format!("http {} {cluster} [{headers}] [{body}] [{trailers}] {:?}", cx.0, call.timeout));
        self.answer.map_or(Ok(7), Err)
    }
    fn grpc_call(&mut self, cx: ContextId, call: GrpcCall<'_>) -> Result<u32, Status> {
        let (cluster, service, method) = (text(call.cluster), text(call.service), text(call.method));
        let (metadata, message) = (list(call.metadata), call.message.map(text));
        self.asked
            .push(format!("grpc {} {cluster} {service}/{method} [{metadata}] {message:?} {:?}", cx.0, call.timeout));
        self.answer.map_or(Ok(9), Err)
    }
    fn grpc_send(&mut self, _: ContextId, token: u32, message: &[u8], end_of_stream: bool) -> Status {
        self.asked.push(format!("grpc_send {token} {} {end_of_stream}", text(message)));
        self.answer.unwrap_or(Status::Ok)
    }
    fn grpc_close(&mut self, _: ContextId, token: u32) -> Status {
        self.asked.push(format!("grpc_close {token}"));
        self.answer.unwrap_or(Status::Ok)
    }
    fn grpc_cancel(&mut self, _: ContextId, token: u32) -> Status {
        self.asked.push(format!("grpc_cancel {token}"));
        self.answer.unwrap_or(Status::Ok)
    }
    fn shared_data(&mut self, _: ContextId, key: &[u8], out: &mut Vec<u8>) -> SharedData {
        let Some((value, cas)) = self.shared.get(key) else { return SharedData::Missing };
        out.extend_from_slice(value);
        SharedData::Found(*cas)
    }
    fn set_shared_data(&mut self, _: ContextId, key: &[u8], value: &[u8], cas: u32) -> Status {
        if cas == 99 {
            return Status::CasMismatch;
        }
        self.shared.insert(key.to_vec(), (value.to_vec(), 5));
        Status::Ok
    }
    fn register_queue(&mut self, _: ContextId, _: &[u8]) -> u32 {
        3
    }
    fn resolve_queue(&mut self, _: ContextId, vm: &[u8], name: &[u8]) -> Option<u32> {
        (vm.is_empty() && name == b"key").then_some(3)
    }
    fn enqueue(&mut self, _: ContextId, queue: u32, value: &[u8]) -> Status {
        if queue != 3 {
            return Status::NotFound;
        }
        self.queue.push(value.to_vec());
        Status::Ok
    }
    fn dequeue(&mut self, _: ContextId, queue: u32, out: &mut Vec<u8>) -> Status {
        if queue != 3 {
            return Status::NotFound;
        }
        let Some(value) = self.queue.pop() else { return Status::Empty };
        out.extend_from_slice(&value);
        Status::Ok
    }
    fn define_metric(&mut self, _: ContextId, kind: MetricKind, name: &[u8]) -> Result<u32, Status> {
        self.asked.push(format!("metric {kind:?} {}", text(name)));
        self.answer.map_or(Ok(4), Err)
    }
    fn record_metric(&mut self, _: ContextId, metric: u32, value: u64) -> Status {
        self.asked.push(format!("record {metric} {value}"));
        self.answer.unwrap_or(Status::Ok)
    }
    fn increment_metric(&mut self, _: ContextId, metric: u32, delta: i64) -> Status {
        self.asked.push(format!("increment {metric} {delta}"));
        self.answer.unwrap_or(Status::Ok)
    }
    fn metric(&mut self, _: ContextId, _: u32) -> Result<u64, Status> {
        self.answer.map_or(Ok(u64::from_le_bytes(*b"metric!!")), Err)
    }
    fn property(&mut self, _: ContextId, path: &[u8], out: &mut Vec<u8>) -> Status {
        match path {
            b"key" => out.extend_from_slice(b"property"),
            b"empty" => {}
            _ => return self.answer.unwrap_or(Status::NotFound),
        }
        Status::Ok
    }
    fn set_property(&mut self, cx: ContextId, path: &[u8], value: &[u8]) {
        self.asked.push(format!("property {} {}={}", cx.0, text(path), text(value)));
    }
    fn foreign_function(&mut self, _: ContextId, name: &[u8], args: &[u8], out: &mut Vec<u8>) -> Status {
        if name != b"key" {
            return self.answer.unwrap_or(Status::NotFound);
        }
        self.asked.push(format!("foreign {}", text(args)));
        out.extend_from_slice(b"result");
        Status::Ok
    }
}
