//! Exports as the configuration wants them: what runs on the control plane so that spans and metrics get to where they are wanted.

pub mod metrics;

use std::{
    io,
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant, SystemTime},
};

use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpStream, UnixStream},
    runtime::Handle,
};
use tokio_rustls::TlsConnector;

use super::{
    handle::lock,
    names,
    otlp::{
        Environment,
        connect::{Connect, Connecting, Stream},
        endpoint::{Address, Endpoint},
        exporter::Exporter,
        queue::Queue,
        record::{Head, Record},
        settings::Protocol,
        span::SpanRecord,
        statistics::{DropReason, FailureReason, Statistics},
        stop::{self, Stop, Stopper},
        value::{Attributes, Value},
    },
    registry::{FamilyReading, Reading},
};
use crate::config::resolved::{self, ClusterTls, Sni};

/// How long the last flush of an exporter may take that a newer configuration has replaced.
const GRACE: Duration = Duration::from_secs(5);

/// `tracing:` at work. Dropped, it sends what waits, for five seconds at most.
#[derive(Debug)]
pub struct Tracing {
    /// What is written.
    pub settings: Arc<resolved::Tracing>,
    /// Takes finished spans.
    pub queue: Queue<SpanRecord>,
    statistics: Arc<Statistics>,
    stopper: Stopper,
    /// Closes when the exporter has ended.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Tracing {
    /// Starts to export. Must be called inside the control plane's runtime. `None`: the settings cannot be worked with, which their
    /// check has excluded.
    #[must_use]
    pub fn start(settings: &Arc<resolved::Tracing>, node: &resolved::Node) -> Option<Self> {
        let otlp = &settings.collector.settings;
        let statistics = Arc::<Statistics>::default();
        let queue = Queue::new(otlp.queue, otlp.batch, Arc::clone(&statistics));
        let head = Head::new(resource(&settings.service, node), "fyke", env!("CARGO_PKG_VERSION"));
        let exporter = Exporter::new(otlp.clone(), head, queue.clone(), environment(&settings.collector)).ok()?;
        let (stopper, stop) = stop::channel();
        let (alive, ended) = mpsc::channel();
        tokio::spawn(async move {
            exporter.run(stop).await;
            drop::<mpsc::Sender<()>>(alive);
        });
        Some(Self { settings: Arc::clone(settings), queue, statistics, stopper, ended: Mutex::new(ended) })
    }

    /// Sends what waits and ends. Blocks until that is done, for as long as `patience`.
    pub fn close(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        self.stopper.stop(patience);
        // Nothing is ever sent: the channel closes when the task has ended.
        let _ = lock(&self.ended).recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }

    /// What became of its records, as metrics.
    #[must_use]
    pub fn readings(&self) -> Vec<FamilyReading> {
        let signal = SpanRecord::SIGNAL.name();
        let series = |outcome: &str, count| (vec![signal.to_owned(), outcome.to_owned()], Reading::Counter(count));
        let statistics = &self.statistics;
        let mut records = vec![series("exported", statistics.exported()), series("rejected", statistics.rejected())];
        records.extend(DropReason::ALL.map(|reason| series(reason.name(), statistics.dropped(reason))));
        let mut requests = vec![series("sent", statistics.requests())];
        requests.extend(FailureReason::ALL.map(|reason| series(reason.name(), statistics.failures(reason))));
        vec![
            FamilyReading { metric: &names::EXPORT_RECORDS, series: records },
            FamilyReading { metric: &names::EXPORT_REQUESTS, series: requests },
        ]
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        self.stopper.stop(GRACE);
    }
}

/// An exporter that runs. Dropped, it ends without a last flush.
#[derive(Debug)]
pub(super) struct Task {
    stopper: Stopper,
    /// Closes when it has ended.
    ended: mpsc::Receiver<()>,
}

impl Task {
    /// Runs it on a runtime.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        runtime: &Handle,
        run: impl FnOnce(Stop) -> F,
    ) -> Self {
        let (stopper, stop) = stop::channel();
        let (alive, ended) = mpsc::channel();
        let running = run(stop);
        runtime.spawn(async move {
            running.await;
            drop::<mpsc::Sender<()>>(alive);
        });
        Self { stopper, ended }
    }

    /// Has it flush once more, for as long as `grace`, and end.
    pub(super) fn stop(&self, grace: Duration) {
        self.stopper.stop(grace);
    }

    /// The same; blocks until it has ended, or `deadline`.
    pub(super) fn end(self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        self.stop(left);
        // Nothing is ever sent: the channel closes when the task has ended.
        let _ = self.ended.recv_timeout(left);
    }
}

/// OpenTelemetry's resource conventions.
pub(super) fn resource(service: &str, node: &resolved::Node) -> Attributes {
    let mut attributes: Attributes = vec![
        ("service.name".into(), Value::from(service.to_owned())),
        ("service.version".into(), env!("CARGO_PKG_VERSION").into()),
        ("process.pid".into(), Value::Integer(i64::from(std::process::id()))),
    ];
    for (key, value) in [("service.instance.id", &node.id), ("cloud.availability_zone", &node.zone)] {
        if !value.is_empty() {
            attributes.push((key.into(), Value::from(value.clone())));
        }
    }
    attributes
}

pub(super) fn environment(collector: &resolved::Collector) -> Environment {
    let connector = Arc::new(Connector { tls: collector.tls.clone() });
    Environment { connector, wall: SystemTime::now, random: || fastrand::u32(..) }
}

/// Connects to collectors. Names are resolved by the system.
#[derive(Debug)]
struct Connector {
    tls: Option<ClusterTls>,
}

impl Connect for Connector {
    fn connect<'a>(&'a self, endpoint: &'a Endpoint, _: Protocol) -> Connecting<'a> {
        Box::pin(async move {
            let (stream, host) = match endpoint.address() {
                Address::Unix(path) => {
                    let stream: Box<dyn Stream> = Box::new(UnixStream::connect(path).await?);
                    return Ok(stream);
                }
                Address::Tcp { host, port } => (TcpStream::connect((host.as_str(), *port)).await?, host),
            };
            stream.set_nodelay(true)?;
            let Some(tls) = &self.tls else { return Ok(Box::new(stream) as Box<dyn Stream>) };
            let name = match &tls.sni {
                Sni::Name(name) => name.clone(),
                Sni::Auto => ServerName::try_from(host.clone()).map_err(io::Error::other)?,
            };
            Ok(Box::new(TlsConnector::from(Arc::clone(&tls.config)).connect(name, stream).await?) as Box<dyn Stream>)
        })
    }
}
