//! The filter against hosts of every kind.

mod conformance;
mod decisions;
mod formats;
mod hostile;
mod rings;
mod round_trips;
mod spans;

use fyke_sdk::abi::MapKind;
use fyke_sdk::testing::{Host, RecordedSpan, StreamTrace, World};

use crate::TracingContext;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// `00-4bf9...-00f0...-FLAGS`.
fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// A host with the filter in it.
struct Proxy {
    host: Host<TracingContext>,
    peer: &'static str,
}

/// A request behind the filter.
struct Sent<'a> {
    proxy: &'a Proxy,
    stream: u32,
}

impl Proxy {
    /// Fyke, with `tracing: { sample: 100% }`.
    fn new(configuration: &str) -> Self {
        Self::in_world(configuration, |_| {})
    }

    /// Envoy and its like.
    fn elsewhere(configuration: &str) -> Self {
        Self::in_world(configuration, |world| world.knows_fyke = false)
    }

    fn in_world(configuration: &str, prepare: impl FnOnce(&mut World)) -> Self {
        Self { host: Host::configure_in(configuration, prepare).unwrap(), peer: "10.0.0.1:4000" }
    }

    fn peer(mut self, peer: &'static str) -> Self {
        self.peer = peer;
        self
    }

    fn send<N: AsRef<str>, V: AsRef<str>>(&self, headers: &[(N, V)]) -> Sent<'_> {
        let bytes: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref().as_bytes())).collect();
        self.send_bytes(&bytes)
    }

    fn send_bytes(&self, headers: &[(&str, &[u8])]) -> Sent<'_> {
        let stream = self.host.open();
        let request = [(":method", "GET"), (":path", "/"), (":authority", "a.example")];
        self.host.stream(stream, |state| state.set_property("source.address", self.peer));
        let mut all: Vec<(String, Vec<u8>)> =
            request.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        all.extend(headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())));
        World::with(|world| {
            world.effective = stream;
            world.stream_mut(stream).maps[MapKind::RequestHeaders as usize] =
                all.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
        });
        let action = self.host.runtime().on_headers(fyke_sdk::abi::Side::Request, stream, true);
        assert_eq!(action, fyke_sdk::abi::Action::Continue);
        Sent { proxy: self, stream }
    }
}

impl Sent<'_> {
    fn values(&self, name: &str) -> Vec<String> {
        self.proxy.host.stream(self.stream, |state| {
            let map = &state.maps[MapKind::RequestHeaders as usize];
            let of_name = map.iter().filter(|(key, _)| key == name.as_bytes());
            of_name.map(|(_, value)| String::from_utf8(value.clone()).unwrap()).collect()
        })
    }

    /// The value of a header that is there at most once.
    #[track_caller]
    fn header(&self, name: &str) -> Option<String> {
        let mut values = self.values(name);
        assert!(values.len() < 2, "{name}: {values:?}");
        values.pop()
    }

    /// Trace id, span id and flags of the only `traceparent`.
    #[track_caller]
    fn traceparent(&self) -> [String; 3] {
        let value = self.header("traceparent").expect("a traceparent");
        let fields: Vec<&str> = value.split('-').collect();
        let [version, trace_id, span_id, flags] = fields[..] else { panic!("{value}") };
        assert_eq!((version, trace_id.len(), span_id.len(), flags.len()), ("00", 32, 16, 2), "{value}");
        assert!(value.bytes().all(|byte| byte == b'-' || matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{value}");
        assert_ne!(trace_id, "0".repeat(32));
        assert_ne!(span_id, "0".repeat(16));
        [trace_id, span_id, flags].map(str::to_owned)
    }

    fn is_sampled(&self) -> bool {
        u8::from_str_radix(&self.traceparent()[2], 16).unwrap() & 1 == 1
    }

    fn trace(&self) -> Option<StreamTrace> {
        self.proxy.host.stream(self.stream, |state| state.trace.clone())
    }

    fn answer(&self, headers: &[(&str, &str)]) {
        self.proxy.host.response_headers(self.stream, headers, true);
    }

    fn answer_header(&self, name: &str) -> Option<String> {
        self.proxy.host.response_header(self.stream, name)
    }
}

fn spans() -> Vec<RecordedSpan> {
    World::with(|world| world.spans.clone())
}

#[test]
fn a_request_without_a_trace_begins_one() {
    for make in [|| Proxy::new("{}"), || Proxy::elsewhere(r#"{"sample": "100%"}"#)] {
        let proxy = make();
        let sent = proxy.send::<&str, &str>(&[]);
        let [trace_id, _, flags] = sent.traceparent();
        assert_eq!(flags, "03", "sampled, with a random id");
        assert_ne!(proxy.send::<&str, &str>(&[]).traceparent()[0], trace_id);
        assert_eq!(sent.header("tracestate").as_deref(), Some("ot=th:0"));
        assert_eq!((sent.header("b3"), sent.header("x-b3-traceid")), (None, None));
    }
}

#[test]
fn mistakes_are_refused_at_their_place() {
    for (configuration, path) in [
        (r#"{"trust": "some"}"#, "trust"),
        (r#"{"sample": "120%"}"#, "sample"),
        (r#"{"max_per_second": 0}"#, "max_per_second"),
        (r#"{"extract": ["w3c", "w3c"]}"#, "extract[1]"),
        (r#"{"inject": ["b3", "jaeger"]}"#, "inject[1]"),
        (r#"{"internal_networks": ["10.0.0.0/8", "10.0.0.0/40"]}"#, "internal_networks[1]"),
        (r#"{"internal_networks": [], "trust": "always"}"#, "internal_networks"),
        (r#"{"force_headers": ["x-a", "a b"]}"#, "force_headers[1]"),
        (r#"{"force_headers": ["b3"]}"#, "force_headers[0]"),
        (r#"{"response_header": "traceparent"}"#, "response_header"),
        (r#"{"operation": "%{"}"#, "operation"),
        (r#"{"tags": {"a": {}}}"#, "tags.a"),
        (r#"{"tags": {"a": {"literal": "x", "header": "y"}}}"#, "tags.a"),
        (r#"{"tags": {"a": {"literal": "x", "default": "y"}}}"#, "tags.a.default"),
        (r#"{"tags": {"a": {"header": "x y"}}}"#, "tags.a.header"),
        (r#"{"tags": {"a": {"property": "x..y"}}}"#, "tags.a.property"),
        (r#"{"sampling": "1%"}"#, "sampling"),
    ] {
        let error = Host::<TracingContext>::configure(configuration).err();
        assert_eq!(error.as_ref().map(|error| error.path()), Some(path), "{configuration}: {error:?}");
    }
}
