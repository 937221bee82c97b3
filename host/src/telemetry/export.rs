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
    otlp::{
        Environment,
        connect::{Connect, Connecting, Stream},
        endpoint::{Address, Endpoint},
        exporter::Exporter,
        queue::Queue,
        record::{Head, Record},
        settings::Protocol,
        span::SpanRecord,
        statistics::Statistics,
        stop::{self, Stop, Stopper},
        value::{Attributes, Value},
    },
    registry::FamilyReading,
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
    stopper: Stopper,
    /// Closes when the exporter has ended.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Tracing {
    /// Starts to export, and counts there what became of it. Must be called inside the control plane's runtime. `None`: the settings cannot be worked with, which their
    /// check has excluded.
    #[must_use]
    pub fn start(
        settings: &Arc<resolved::Tracing>,
        node: &resolved::Node,
        statistics: Arc<Statistics>,
    ) -> Option<Self> {
        let otlp = &settings.collector.settings;
        let queue = Queue::new(otlp.queue, otlp.batch, statistics);
        let head = Head::new(resource(&settings.service, node), "fyke", env!("CARGO_PKG_VERSION"));
        let exporter = Exporter::new(otlp.clone(), head, queue.clone(), environment(&settings.collector)).ok()?;
        let (stopper, stop) = stop::channel();
        let (alive, ended) = mpsc::channel();
        tokio::spawn(async move {
            exporter.run(stop).await;
            drop::<mpsc::Sender<()>>(alive);
        });
        Some(Self { settings: Arc::clone(settings), queue, stopper, ended: Mutex::new(ended) })
    }

    /// All of these send what waits and end, side by side. Blocks until that is done, until `deadline` at most. What is there twice ends once.
    pub fn close<'a>(all: impl IntoIterator<Item = &'a Arc<Self>>, deadline: Instant) {
        let mut each: Vec<&Arc<Self>> = Vec::new();
        for one in all {
            if !each.iter().any(|known| Arc::ptr_eq(known, one)) {
                each.push(one);
            }
        }
        let left = || deadline.saturating_duration_since(Instant::now());
        for one in &each {
            one.stopper.stop(left());
        }
        for one in each {
            // Nothing is ever sent: the channel closes when the task has ended.
            let _ = lock(&one.ended).recv_timeout(left());
        }
    }
}

/// What became of spans, as metrics; nothing where none was ever to be sent.
#[must_use]
pub fn spans(statistics: &Statistics, sends: bool) -> Vec<FamilyReading> {
    let tried = sends || statistics.requests() > 0;
    metrics::readings(SpanRecord::SIGNAL.name(), tried.then_some(statistics))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Format, load_text},
        telemetry::otlp::{
            span::{SpanKind, SpanStatus},
            value::UnixTime,
        },
    };

    fn span() -> SpanRecord {
        SpanRecord {
            trace_id: [1; 16],
            span_id: [2; 8],
            parent: None,
            flags: 1,
            trace_state: "".into(),
            name: "x".into(),
            kind: SpanKind::Server,
            start: UnixTime(1),
            end: UnixTime(2),
            attributes: Vec::new(),
            events: Vec::new(),
            status: SpanStatus::Unset,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_that_export_end_by_one_deadline_and_count_together() {
        // Takes connections, and never answers.
        let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = collector.local_addr().unwrap();
        let statistics = Arc::<Statistics>::default();
        let start = |_| {
            let text = format!(
                "tracing: {{ otlp: 'http://{address}' }}\nlisteners: {{ web: {{ address: '127.0.0.1:0', cluster: app }} }}\nclusters: {{ app: {{ endpoints: ['127.0.0.1:1'] }} }}\n"
            );
            let config = load_text("proxy.yaml", &text, Format::Yaml, std::path::Path::new("/")).unwrap();
            let tracing =
                Tracing::start(config.tracing.as_ref().unwrap(), &config.node, Arc::clone(&statistics)).unwrap();
            tracing.queue.push(span());
            Arc::new(tracing)
        };
        let all: Vec<_> = (0..8).map(start).collect();
        let begun = Instant::now();
        let closed = tokio::task::spawn_blocking(move || {
            let deadline = begun + Duration::from_millis(500);
            Tracing::close(all.iter().chain(&all), deadline);
            let took = begun.elapsed();
            // They end at the deadline themselves, and count the last of it a moment later.
            for one in &all {
                assert!(lock(&one.ended).recv().is_err());
            }
            took
        });
        let took = closed.await.unwrap();
        assert!(took >= Duration::from_millis(400), "{took:?}: there was somebody to wait for");
        // One after the other they would take four seconds.
        assert!(took < Duration::from_millis(2500), "{took:?}");
        assert_eq!(statistics.dropped(crate::telemetry::otlp::statistics::DropReason::Shutdown), 8);
        assert!(spans(&Statistics::default(), false).is_empty());
        assert!(!spans(&statistics, false).is_empty(), "what was sent stays counted");
    }
}
