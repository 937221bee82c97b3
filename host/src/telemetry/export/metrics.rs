//! `metrics:` at work: exporters that read everything that is counted, now and then.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use tokio::runtime::Handle;

use super::{Task, environment, resource};
use crate::{
    config::{fingerprint::Fingerprint, resolved},
    telemetry::{
        gather::{Detail, gather},
        handle::lock,
        names,
        otlp::{
            exporter::MetricsExporter,
            record::Head,
            statistics::{DropReason, FailureReason, Statistics},
        },
        reading::{MetricReading, UnixTime},
        registry::{FamilyReading, Reading, Registry},
        statsd,
    },
};

/// How long the last flush of exporters may take that others replace.
const GRACE: Duration = Duration::from_secs(2);

/// What is read elsewhere than in the registry.
type More = dyn Fn() -> Vec<FamilyReading> + Send + Sync;

/// Reads everything that is counted.
#[derive(Clone)]
pub struct Reader {
    registry: Registry,
    more: Arc<More>,
    /// Since when the process counts.
    start: UnixTime,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("start", &self.start).finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader of the registry, and of what `more` gives.
    #[must_use]
    pub fn new(registry: Registry, more: impl Fn() -> Vec<FamilyReading> + Send + Sync + 'static) -> Self {
        Self { registry, more: Arc::new(more), start: SystemTime::now().into() }
    }

    /// All series as they are now.
    #[must_use]
    pub fn read(&self, detail: Detail) -> Vec<MetricReading> {
        gather(&self.registry, (self.more)(), detail, (self.start, SystemTime::now().into()))
    }

    /// What is not in the registry.
    #[must_use]
    pub fn more(&self) -> Vec<FamilyReading> {
        (self.more)()
    }
}

/// The exporters of metrics, and what became of what they sent since the process began.
#[derive(Debug, Default)]
pub struct Exports {
    outcomes: Outcomes,
    running: Mutex<Option<Running>>,
}

/// Shared with whoever shows them.
#[derive(Debug, Default, Clone)]
pub struct Outcomes {
    otlp: Arc<Statistics>,
    statsd: Arc<statsd::statistics::Statistics>,
}

#[derive(Debug)]
struct Running {
    fingerprint: Fingerprint,
    tasks: Vec<Task>,
}

impl Running {
    /// Flushes once more and ends. Blocks until `deadline` at most.
    fn end(self, deadline: Instant) {
        let left = || deadline.saturating_duration_since(Instant::now());
        for task in &self.tasks {
            task.stop(left());
        }
        for task in self.tasks {
            task.end(deadline);
        }
    }
}

impl Exports {
    /// What became of what was sent.
    #[must_use]
    pub fn outcomes(&self) -> Outcomes {
        self.outcomes.clone()
    }

    /// Sends as these settings say from now on. What they replace ends first, within two seconds: nothing is to be told twice. Must be
    /// called inside the control plane's runtime, by a thread of it that may block.
    pub fn follow(&self, settings: Option<&resolved::Metrics>, node: &resolved::Node, reader: &Reader) {
        reader.registry.limit(settings.map_or(crate::telemetry::registry::SERIES, |settings| settings.series));
        let mut running = lock(&self.running);
        if running.as_ref().map(|running| running.fingerprint) == settings.map(|settings| settings.fingerprint) {
            return;
        }
        if let Some(before) = running.take() {
            before.end(Instant::now() + GRACE);
        }
        *running = settings.map(|settings| self.start(settings, node, reader));
    }

    fn start(&self, settings: &resolved::Metrics, node: &resolved::Node, reader: &Reader) -> Running {
        let mut tasks = Vec::new();
        // Settings that cannot be worked with were refused with the configuration.
        if let Some(collector) = &settings.otlp {
            let head = Head::new(resource(&settings.service, node), "fyke", env!("CARGO_PKG_VERSION"));
            let reader = reader.clone();
            let exporter = MetricsExporter::new(
                collector.settings.clone(),
                head,
                settings.interval,
                move || reader.read(Detail::Fine),
                Arc::clone(&self.outcomes.otlp),
                environment(collector),
            );
            tasks.extend(exporter.ok().map(|exporter| Task::spawn(&Handle::current(), |stop| exporter.run(stop))));
        }
        if let Some(statsd) = &settings.statsd {
            let reader = reader.clone();
            let environment =
                statsd::Environment { network: Arc::new(statsd::network::System), random: || fastrand::u32(..) };
            let read = move || reader.read(Detail::Fine);
            let exporter = statsd::Exporter::new(statsd.clone(), read, Arc::clone(&self.outcomes.statsd), &environment);
            tasks.extend(exporter.ok().map(|exporter| Task::spawn(&Handle::current(), |stop| exporter.run(stop))));
        }
        Running { fingerprint: settings.fingerprint, tasks }
    }

    /// Sends everything once more and ends. Blocks until that is done, for as long as `patience`.
    pub fn close(&self, patience: Duration) {
        if let Some(running) = lock(&self.running).take() {
            running.end(Instant::now() + patience);
        }
    }
}

impl Outcomes {
    /// As metrics. Nothing of what was never tried.
    #[must_use]
    pub fn readings(&self) -> Vec<FamilyReading> {
        let (mut records, mut requests) = (Vec::new(), Vec::new());
        let series =
            |signal: &str, outcome: &str, count| (vec![signal.to_owned(), outcome.to_owned()], Reading::Counter(count));
        let statsd = &self.statsd;
        if statsd.flushes() > 0 {
            use statsd::statistics::{DropReason, FailureReason};
            records.push(series("statsd", "exported", statsd.lines()));
            records.extend(DropReason::ALL.map(|reason| series("statsd", reason.name(), statsd.dropped(reason))));
            requests.push(series("statsd", "sent", statsd.datagrams()));
            requests.extend(FailureReason::ALL.map(|reason| series("statsd", reason.name(), statsd.failures(reason))));
        }
        let mut families = families(records, requests);
        let tried = (self.otlp.requests() > 0).then_some(&*self.otlp);
        FamilyReading::merge(&mut families, readings("metrics", tried));
        families
    }
}

/// What became of what was exported of a signal, as metrics; nothing where nothing is.
#[must_use]
pub fn readings<'a>(signal: &str, all: impl IntoIterator<Item = &'a Statistics>) -> Vec<FamilyReading> {
    let all: Vec<_> = all.into_iter().collect();
    if all.is_empty() {
        return Vec::new();
    }
    let series = |outcome: &str, count: &dyn Fn(&Statistics) -> u64| {
        let sum = all.iter().fold(0_u64, |sum, statistics| sum.saturating_add(count(statistics)));
        (vec![signal.to_owned(), outcome.to_owned()], Reading::Counter(sum))
    };
    let mut records = vec![series("exported", &Statistics::exported), series("rejected", &Statistics::rejected)];
    records.extend(DropReason::ALL.map(|reason| series(reason.name(), &|all| all.dropped(reason))));
    let mut requests = vec![series("sent", &Statistics::requests)];
    requests.extend(FailureReason::ALL.map(|reason| series(reason.name(), &|all| all.failures(reason))));
    families(records, requests)
}

type Series = Vec<(Vec<String>, Reading)>;

fn families(records: Series, requests: Series) -> Vec<FamilyReading> {
    let families = [(&names::EXPORT_RECORDS, records), (&names::EXPORT_REQUESTS, requests)];
    let some = families.into_iter().filter(|(_, series)| !series.is_empty());
    some.map(|(metric, series)| FamilyReading { metric, series }).collect()
}
