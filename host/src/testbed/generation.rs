//! A proxy with one configuration of the filter, and its bench.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex, mpsc},
};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc as local;

use super::{
    bench::{Bench, Pace, Task},
    envoy::Envoy,
    metrics,
    pipe::Pipe,
    protocol::{Configure, Layer},
    service::Socket,
};
use crate::{
    config::{self, Format, Report},
    reload::{
        prepare::{self, Records},
        proxy::{Proxy, Setup},
    },
};

/// The name of the filter, in the proxy's configuration.
const SUBJECT: &str = "filter";
/// Its listener.
pub(super) const LISTENER: &str = "test";
/// The cluster of streams that nobody routes.
pub(super) const UPSTREAM: &str = "upstream";

/// How long records may take to be written.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

type Orders = local::UnboundedSender<(Task, mpsc::Sender<Value>)>;

/// A proxy with one configuration of the filter.
pub(super) struct Generation {
    subject: Subject,
    orders: Orders,
}

enum Subject {
    Fyke(Box<Proxy>),
    Envoy(Envoy),
}

/// Why there is none.
pub(super) struct Refused {
    /// Where in the filter's configuration.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl From<String> for Refused {
    fn from(message: String) -> Self {
        Self { path: String::new(), message }
    }
}

impl Generation {
    pub fn start(
        spec: &Configure,
        pipe: Arc<Mutex<Pipe>>,
        records: &Path,
        envoy: Option<&Path>,
    ) -> Result<Self, Refused> {
        let names: BTreeSet<&str> =
            spec.clusters.called.iter().chain(&spec.clusters.routed).map(String::as_str).collect();
        let mut sockets = Vec::new();
        for name in names.into_iter().filter(|name| *name != UPSTREAM).chain([UPSTREAM]) {
            let socket = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
            let takes_streams = name == UPSTREAM || spec.clusters.routed.iter().any(|routed| routed == name);
            let tcp = spec.layer == Layer::Tcp && name == UPSTREAM;
            sockets.push(Socket { cluster: name.to_owned(), takes_streams, tcp, socket });
        }
        let (orders, receiver) = local::unbounded_channel();
        if let Some(binary) = envoy {
            let envoy = Envoy::start(binary, spec, &sockets)?;
            let address = envoy.address;
            on_a_thread(move || Bench::begin(address, pipe, sockets, Pace::Real, receiver))?;
            return Ok(Self { subject: Subject::Envoy(envoy), orders });
        }
        let text = configuration(spec, &sockets)?.to_string();
        let config =
            config::load_text("the test's proxy", &text, Format::Json, Path::new("")).map_err(|r| refused(&r))?;
        let proxy = prepare::prepare(config, &Records::Into(records.to_owned()))
            .and_then(|prepared| prepared.start(Setup { stopped: true, ..Setup::default() }))
            .map_err(|report| refused(&report))?;
        let address = proxy.listeners().first().and_then(|(_, address)| address.ip());
        let address = address.ok_or_else(|| "the test's proxy has no listener".to_owned())?;
        proxy.on_worker(0, Box::new(move || Bench::begin(address, pipe, sockets, Pace::Stopped, receiver)));
        Ok(Self { subject: Subject::Fyke(Box::new(proxy)), orders })
    }

    /// The value of a counter or gauge, and how many values a histogram was given.
    pub fn metric(&self, name: &str, labels: &[(String, String)]) -> Option<(i64, u64)> {
        match &self.subject {
            Subject::Fyke(proxy) => metrics::read(proxy.registry(), name, labels),
            Subject::Envoy(envoy) => Some((envoy.metric(name, labels)?, 0)),
        }
    }

    /// Requests under way, where another process has them.
    pub fn requests_elsewhere(&self) -> Option<i64> {
        match &self.subject {
            Subject::Fyke(_) => None,
            Subject::Envoy(envoy) => envoy.requests(),
        }
    }

    /// Streams that the filter has.
    pub fn open_streams(&self) -> i64 {
        match &self.subject {
            Subject::Fyke(proxy) => metrics::open_requests(proxy.registry()),
            // It does not say at once; what the test left open, the bed knows.
            Subject::Envoy(_) => 0,
        }
    }

    /// Waits until the records of filters are written.
    pub fn write_records(&self) {
        let deadline = std::time::Instant::now() + PATIENCE;
        let Subject::Fyke(proxy) = &self.subject else { return };
        while proxy.queued_records() > 0 && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Has the bench do something, and waits until all is at rest. `None`: there is no bench any more.
    pub fn tell(&self, task: Task) -> Option<Value> {
        let (answer, wait) = mpsc::channel();
        self.orders.send((task, answer)).ok()?;
        wait.recv().ok()
    }
}

/// A thread with a runtime of its own, for local tasks.
fn on_a_thread(begin: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let run = move || {
        tokio::task::LocalSet::new().block_on(&runtime, async {
            begin();
            std::future::pending::<()>().await;
        });
    };
    std::thread::Builder::new().name("bench".to_owned()).spawn(run).map(drop).map_err(|error| error.to_string())
}

/// One listener, with this filter and nothing else before the upstream.
fn configuration(spec: &Configure, sockets: &[Socket]) -> Result<Value, String> {
    let mut clusters = Map::new();
    for one in sockets {
        let address = one.socket.local_addr().map_err(|error| error.to_string())?;
        clusters.insert(
            one.cluster.clone(),
            json!({ "endpoints": [address.to_string()], "protocol": if one.tcp { "tcp" } else { "http2" } }),
        );
    }
    let mut filter = json!({
        "module": spec.module,
        // What is tested is what a filter does. How fast depends on who else is on the machine.
        "limits": { "call_time": "100ms" },
        "allow": { "clusters": spec.clusters.called, "shared_data": true },
    });
    if !spec.config.is_null()
        && let Some(map) = filter.as_object_mut()
    {
        map.insert("config".to_owned(), spec.config.clone());
    }
    Ok(json!({
        "workers": 1,
        "listeners": { LISTENER: {
            "address": "127.0.0.1:0", "protocol": if spec.layer == Layer::Tcp { "tcp" } else { "http" },
            "filters": [SUBJECT], "cluster": UPSTREAM, "drain": "0s",
        } },
        "filters": { SUBJECT: filter },
        "clusters": clusters,
    }))
}

/// The filter's own words, where they are the filter's.
fn refused(report: &Report) -> Refused {
    let Some(problem) = report.problems().first() else {
        return "the test's proxy was refused".to_owned().into();
    };
    let path = problem.path.strip_prefix(&format!("filters.{SUBJECT}.config")).unwrap_or_default();
    let path = path.trim_start_matches('.').to_owned();
    let message = problem.message.strip_prefix(&format!("filter \"{SUBJECT}\": ")).unwrap_or(&problem.message);
    let message = message.strip_prefix("config").unwrap_or(message).trim_start_matches('.');
    let message = message.strip_prefix(path.as_str()).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message);
    Refused { path, message: message.to_owned() }
}
