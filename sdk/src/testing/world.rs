//! The state behind the hostcalls.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::abi::{Fields, Level, MapKind, MetricKind, Side};
use crate::testing::borrowing::{LeaseRecord, Passage, Verdict};
use crate::testing::spans::{RecordedSpan, StreamTrace, Tracing};

/// The address of an endpoint, and its labels.
pub type Labels = (String, BTreeMap<String, String>);

/// A header.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Everything that the fake host knows.
#[derive(Debug)]
pub struct World {
    /// The context whose maps, buffers and properties hostcalls see.
    pub effective: u32,
    /// Streams by context.
    pub streams: HashMap<u32, StreamState>,
    /// The plugin's configuration, while it is configured.
    pub configuration: Vec<u8>,
    /// The last refusal, as the JSON that the filter sent.
    pub refusal: Option<String>,
    /// Callbacks that the configuration has no use for, as the filter named them.
    pub skipped: Option<String>,
    /// Lines written to the log.
    pub logs: Vec<(Level, String)>,
    /// Nanoseconds since the epoch.
    pub now: u64,
    /// State of the generator; set it for repeatable randomness.
    pub random: u64,
    /// Whether Fyke's foreign functions are there; otherwise this is some other host.
    pub knows_fyke: bool,
    /// Clusters that are known; `None`: all.
    pub clusters: Option<Vec<String>>,
    /// Clusters that were there once.
    pub gone: Vec<String>,
    /// Clusters that were asked for in `configure`.
    pub required: Vec<String>,
    /// Callouts that were made, in order. The token is the position, plus one.
    pub calls: Vec<Call>,
    /// The answer that `proxy_on_http_call_response` is about.
    pub answer: (Vec<Pair>, Vec<u8>),
    /// What `proxy_on_foreign_function` says.
    pub arguments: Vec<u8>,
    /// Keys that are derived: the token, the context that asked, and the key.
    pub keys: VecDeque<(u32, u32, Vec<u8>)>,
    pub(super) keys_begun: u32,
    /// Endpoints by cluster, with their labels; see [`World::add_endpoint`].
    pub endpoints: BTreeMap<String, Vec<Labels>>,
    /// Routes that were defined, as JSON. The handle is the position.
    pub routes: Vec<serde_json::Value>,
    /// Sinks that are known, and what was written to each. The handle is the position. The first is standard output.
    pub sinks: Vec<(String, Vec<String>)>,
    /// gRPC calls that were made, in order. The token is the position, plus one.
    pub grpc: Vec<GrpcRecord>,
    /// Calls of Redis that were made, in order. The token is the position, plus one.
    pub redis: Vec<RedisRecord>,
    /// What `proxy_get_status` says.
    pub status: (u32, String),
    /// When the timer fires next, and its period in milliseconds; `None`: it is off.
    pub tick: Option<(u64, u32)>,
    /// Metrics with labels; the handle is the position.
    pub labelled: Vec<Labelled>,
    /// Metrics without; the id is the position.
    pub metrics: Vec<(MetricKind, String, Vec<i64>)>,
    /// Shared data with its token.
    pub shared: HashMap<String, (Vec<u8>, u32)>,
    /// Whether the filter may use that; otherwise nothing is found and nothing is stored.
    pub shares: bool,
    /// Whether streams are part of a trace before the filter says so.
    pub tracing: Tracing,
    /// The share of traces that the host's configuration says to record (`fyke.tracing.sample`).
    pub sample: Option<f64>,
    /// Spans of streams that are sampled, in the order in which they began.
    pub spans: Vec<RecordedSpan>,
    /// How many single headers were read.
    pub header_reads: usize,
    /// How many whole maps were read.
    pub map_reads: usize,
}

/// One stream.
#[derive(Debug, Default)]
pub struct StreamState {
    /// Request headers, request trailers, response headers, response trailers.
    pub maps: [Vec<Pair>; 4],
    /// Request body and response body; what of a TCP connection's two directions is held.
    pub bodies: [Vec<u8>; 4],
    /// What a filter of TCP connections wrote towards each side.
    pub written: [Vec<u8>; 2],
    /// Calls of `continue_stream` of a TCP connection.
    pub resumed_sides: Vec<crate::tcp::Side>,
    /// Calls of `close_stream` of a TCP connection.
    pub closed_sides: Vec<crate::tcp::Side>,
    /// By side of a TCP connection: what has gone on, and what is to.
    pub passages: [Passage; 2],
    /// The filter has let the TCP connection begin.
    pub begun: bool,
    /// The TCP connection has no upstream of its own.
    pub borrows: bool,
    /// What it has asked for, in order.
    pub leases: Vec<LeaseRecord>,
    /// How long what it borrows is held while the endpoint, and while the client, has to go on: milliseconds, 0 without a limit.
    pub lease_limits: (u32, u32),
    /// It is a new connection to an endpoint.
    pub opening: bool,
    /// What the filter has said of that.
    pub verdict: Option<Verdict>,
    /// Properties by dotted path.
    pub properties: HashMap<String, Vec<u8>>,
    /// The local reply, if one was sent.
    pub reply: Option<SentReply>,
    /// Calls of `continue_stream`.
    pub resumed: Vec<Side>,
    /// Calls of `close_stream`.
    pub closed: Vec<Side>,
    /// The last selected route: handle, flags, and the override fields' bytes.
    pub route: Option<(u32, u32, Vec<u8>)>,
    /// What the filter said of it when it was asked to explain itself.
    pub explained: Vec<String>,
    /// The trace that it is part of.
    pub trace: Option<StreamTrace>,
}

/// A local reply.
#[derive(Debug, Clone)]
pub struct SentReply {
    /// Status.
    pub status: u32,
    /// `response.code_details`.
    pub details: String,
    /// Body.
    pub body: Vec<u8>,
    /// Headers.
    pub headers: Vec<Pair>,
}

impl SentReply {
    /// The first value of a header, as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        first(&self.headers, name).map(text)
    }
}

/// A callout.
#[derive(Debug, Clone)]
pub struct Call {
    /// Where to.
    pub cluster: String,
    /// Headers.
    pub headers: Vec<Pair>,
    /// Body.
    pub body: Vec<u8>,
    /// Milliseconds.
    pub timeout: u32,
}

/// A gRPC callout.
#[derive(Debug, Clone)]
pub struct GrpcRecord {
    /// Where to.
    pub cluster: String,
    /// `/package.Service/Method`.
    pub path: String,
    /// Initial metadata.
    pub metadata: Vec<Pair>,
    /// Messages that were sent.
    pub sent: Vec<Vec<u8>>,
    /// Milliseconds, of a unary call.
    pub timeout: Option<u32>,
    /// Whether the filter ended its half.
    pub finished: bool,
    /// Whether the filter gave it up.
    pub cancelled: bool,
}

/// A call of Redis.
#[derive(Debug, Clone)]
pub struct RedisRecord {
    /// The context that asked.
    pub context: u32,
    /// Where to.
    pub cluster: String,
    /// One endpoint; empty: any.
    pub endpoint: String,
    /// Milliseconds.
    pub timeout: u32,
    /// Commands that a new connection begins with.
    pub greeting: Vec<Vec<Vec<u8>>>,
    /// The commands.
    pub commands: Vec<Vec<Vec<u8>>>,
}

/// A metric with labels.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Labelled {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// Bounds of a histogram that names them.
    #[serde(default)]
    pub buckets: Vec<i64>,
    /// By the labels' values: a counter's sum, or everything that a gauge or histogram was given.
    #[serde(skip)]
    pub series: BTreeMap<Vec<String>, Vec<i64>>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

impl World {
    fn new() -> Self {
        Self {
            effective: 1,
            streams: HashMap::new(),
            configuration: Vec::new(),
            refusal: None,
            skipped: None,
            logs: Vec::new(),
            now: 1_700_000_000_123_456_789,
            random: 0x5eed,
            knows_fyke: true,
            clusters: None,
            gone: Vec::new(),
            required: Vec::new(),
            calls: Vec::new(),
            answer: (Vec::new(), Vec::new()),
            arguments: Vec::new(),
            keys: VecDeque::new(),
            keys_begun: 0,
            endpoints: BTreeMap::new(),
            routes: Vec::new(),
            sinks: vec![(String::new(), Vec::new())],
            grpc: Vec::new(),
            redis: Vec::new(),
            status: (0, String::new()),
            tick: None,
            labelled: Vec::new(),
            metrics: Vec::new(),
            shared: HashMap::new(),
            shares: true,
            tracing: Tracing::Assumed,
            sample: Some(1.0),
            spans: Vec::new(),
            header_reads: 0,
            map_reads: 0,
        }
    }

    /// Looks at, or changes, this thread's world. Not from within itself.
    pub fn with<T>(look: impl FnOnce(&mut Self) -> T) -> T {
        WORLD.with_borrow_mut(look)
    }

    /// A new world for this thread.
    pub fn reset() {
        WORLD.set(Self::new());
    }

    /// The labels of a metric that the filter has defined; `None`: it has not.
    #[must_use]
    pub fn labels_of(&self, metric: &str) -> Option<&[String]> {
        let labelled = self.labelled.iter().find(|known| known.name == metric).map(|known| &*known.labels);
        // Metrics without labels may be the ABI's own.
        labelled.or_else(|| self.metrics.iter().any(|(_, known, _)| known == metric).then_some(&[]))
    }

    pub(super) fn has_cluster(&self, name: &str) -> bool {
        self.clusters.as_ref().is_none_or(|known| known.iter().any(|one| one == name))
            && self.gone.iter().all(|one| one != name)
    }

    /// Where the selected route of a stream leads.
    pub(super) fn selected_cluster(&mut self, stream: u32) -> Option<SelectedCluster> {
        let (handle, flags, fields) = self.streams.get(&stream)?.route.clone()?;
        let route = self.routes.get(handle as usize)?;
        let mut fields = Fields::new(&fields);
        let mut cluster = (flags & 1 != 0).then(|| fields.text()).flatten();
        if flags & 2 != 0 {
            fields.u64()?;
        }
        let host = (flags & 4 != 0).then(|| fields.bytes().map(<[u8]>::to_vec)).flatten();
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        cluster = cluster.or_else(|| route.get("cluster").and_then(text));
        if cluster.is_none() {
            let weighted = route.get("weighted_clusters").and_then(|weighted| weighted.as_array()).cloned()?;
            let weight = |one: &serde_json::Value| one.get("weight").and_then(serde_json::Value::as_u64).unwrap_or(0);
            let sum: u64 = weighted.iter().map(weight).sum();
            self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let mut at = (self.random >> 33).checked_rem(sum)?;
            let chosen = weighted.iter().find(|one| match at.checked_sub(weight(one)) {
                None => true,
                Some(rest) => {
                    at = rest;
                    false
                }
            });
            cluster = chosen.and_then(|one| one.get("cluster")).and_then(text);
        }
        Some(SelectedCluster { cluster: cluster?, host })
    }

    /// A stream; made if there is none.
    pub fn stream_mut(&mut self, context: u32) -> &mut StreamState {
        self.streams.entry(context).or_default()
    }

    pub(super) fn map_mut(&mut self, kind: MapKind) -> Option<&mut Vec<Pair>> {
        match kind {
            MapKind::CallHeaders | MapKind::GrpcInitialMetadata | MapKind::GrpcTrailingMetadata => {
                Some(&mut self.answer.0)
            }
            stream => self.streams.entry(self.effective).or_default().maps.get_mut(stream as usize),
        }
    }
}

/// Where a route leads.
pub(super) struct SelectedCluster {
    pub cluster: String,
    pub host: Option<Vec<u8>>,
}

impl StreamState {
    /// Replaces a map.
    pub fn set_headers(&mut self, kind: MapKind, pairs: &[(&str, &str)]) {
        let owned = pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        self.set_pairs(kind, owned.collect());
    }

    pub(super) fn set_pairs(&mut self, kind: MapKind, pairs: Vec<Pair>) {
        if let Some(map) = self.maps.get_mut(kind as usize) {
            *map = pairs;
        }
    }

    /// The first value in a map, as text.
    #[must_use]
    pub fn header(&self, kind: MapKind, name: &str) -> Option<String> {
        self.raw_header(kind, name).map(text)
    }

    pub(super) fn raw_header(&self, kind: MapKind, name: &str) -> Option<&[u8]> {
        first(self.maps.get(kind as usize)?, name)
    }

    /// Sets a property by dotted path.
    pub fn set_property(&mut self, path: &str, value: impl AsRef<[u8]>) {
        self.properties.insert(path.to_owned(), value.as_ref().to_vec());
    }
}

fn first<'a>(pairs: &'a [Pair], name: &str) -> Option<&'a [u8]> {
    pairs.iter().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value.as_slice())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
