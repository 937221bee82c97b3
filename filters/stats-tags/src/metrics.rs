//! Which metrics there are, what each of them measures, and which labels it carries.

use fyke_sdk::{ConfigError, DynamicCounter, DynamicHistogram, Env};

use crate::config::{Config, DurationUnit, Metric as Written};
use crate::labels::{Labels, Values};
use crate::source::Kind;

/// What the configuration says of each, and what it is by default.
struct Plan<'a> {
    key: &'static str,
    written: &'a Written,
    name: &'static str,
    kind: Kind,
    /// It carries no labels of what is not known yet, unless they are named.
    early: bool,
    measure: Measure<[&'static str; 2]>,
    shape: Shape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Counter,
    Histogram,
}

/// What is measured. Of a property it is known by its path what it is, and where it is read once the configuration is.
#[derive(Debug)]
pub enum Measure<P> {
    /// One for each stream.
    One,
    /// A property, divided.
    Property {
        of: P,
        divisor: u64,
    },
    /// gRPC messages of the client, and to it.
    RequestMessages,
    ResponseMessages,
}

/// When it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A TCP connection began.
    Opened,
    /// A TCP connection is over.
    Closed,
    /// A stream of HTTP is over.
    Done,
}

/// How many messages there were.
#[derive(Debug, Clone, Copy, Default)]
pub struct Messages {
    pub request: u64,
    pub response: u64,
}

/// The metrics of one moment.
#[derive(Debug, Default)]
pub struct Metrics {
    metrics: Vec<Metric>,
    /// Labels to work out beforehand.
    pub wanted: Vec<usize>,
}

#[derive(Debug)]
struct Metric {
    measure: Measure<usize>,
    handle: Handle,
    labels: Box<[usize]>,
}

#[derive(Debug)]
enum Handle {
    Counter(DynamicCounter),
    Histogram(DynamicHistogram),
}

impl Metrics {
    /// Defines the metrics of a moment.
    ///
    /// # Errors
    /// What is wrong, and where in the configuration.
    pub fn define(config: &Config, labels: &mut Labels, moment: Moment, env: &mut Env) -> Result<Self, ConfigError> {
        let prefix = config.prefix.as_deref().unwrap_or(if config.istio.is_some() { "istio_" } else { "stats_" });
        let mut metrics = Vec::new();
        for plan in plans(config, moment) {
            if plan.written.enabled {
                let place = format!("metrics.{}", plan.key);
                metrics.push(plan.define(prefix, labels, env).map_err(|error| error.under(place))?);
            }
        }
        let mut in_use: Vec<usize> = metrics.iter().flat_map(|metric| metric.labels.iter().copied()).collect();
        in_use.sort_unstable();
        in_use.dedup();
        Ok(Self { metrics, wanted: labels.to_fill(&in_use) })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty()
    }

    /// Measures the stream in question.
    pub fn record(&self, labels: &Labels, values: &Values, messages: Messages) {
        for metric in &self.metrics {
            let amount = match &metric.measure {
                Measure::One => Some(1),
                Measure::Property { of, divisor } => {
                    let read = values.integer(*of).and_then(|number| u64::try_from(number).ok());
                    // Of a stream without an answer there are no bytes of one; of one that has no end there is no duration.
                    read.or((*divisor == 1).then_some(0)).map(|amount| amount / divisor)
                }
                Measure::RequestMessages => Some(messages.request),
                Measure::ResponseMessages => Some(messages.response),
            };
            let values = metric.labels.iter().map(|index| labels.value(values, *index));
            match (&metric.handle, amount) {
                (_, None) => {}
                (Handle::Counter(counter), Some(amount)) => counter.add(amount, values),
                (Handle::Histogram(histogram), Some(amount)) => histogram.record(amount, values),
            }
        }
    }
}

impl Plan<'_> {
    fn define(self, prefix: &str, labels: &mut Labels, env: &mut Env) -> Result<Metric, ConfigError> {
        let carried = self.labels(labels)?;
        let name = self.written.name.clone().unwrap_or_else(|| format!("{prefix}{}", self.name));
        let definition = env.metric(&name).labels(carried.iter().map(|(name, _)| name));
        let handle = match self.shape {
            Shape::Counter if !self.written.buckets.is_empty() => {
                return Err(ConfigError::at("buckets", "belongs to a histogram, and this is a counter"));
            }
            Shape::Counter => Handle::Counter(definition.counter()?),
            Shape::Histogram => {
                if !self.written.buckets.is_sorted_by(|one, other| one < other) {
                    return Err(ConfigError::at("buckets", "must rise"));
                }
                Handle::Histogram(definition.buckets(self.written.buckets.iter().copied()).histogram()?)
            }
        };
        let measure = match self.measure {
            Measure::One => Measure::One,
            Measure::Property { of, divisor } => Measure::Property { of: labels.reads().add(&of)?, divisor },
            Measure::RequestMessages => Measure::RequestMessages,
            Measure::ResponseMessages => Measure::ResponseMessages,
        };
        Ok(Metric { measure, handle, labels: carried.into_iter().map(|(_, index)| index).collect() })
    }

    /// The labels that it carries, by name and place.
    fn labels(&self, labels: &Labels) -> Result<Vec<(String, usize)>, ConfigError> {
        let find = |name: &str, place: String| {
            labels.position(name).ok_or_else(|| ConfigError::at(place, unknown(name, labels)))
        };
        for (at, name) in self.written.without.iter().enumerate() {
            find(name, format!("without[{at}]"))?;
        }
        let mut carried: Vec<(String, usize)> = Vec::new();
        match &self.written.labels {
            Some(names) => {
                for (at, name) in names.iter().enumerate() {
                    let place = format!("labels[{at}]");
                    let index = find(name, place.clone())?;
                    if carried.iter().any(|(_, other)| *other == index) {
                        return Err(ConfigError::at(place, format!("\"{name}\" is there twice")));
                    }
                    carried.push((name.clone(), index));
                }
            }
            None => {
                let all = labels.of_kind(self.kind);
                carried.extend(all.filter_map(|name| Some((name.to_owned(), labels.position(name)?))));
                carried.retain(|(_, index)| !self.early || !labels.is_late(*index));
            }
        }
        carried.retain(|(name, _)| !self.written.without.contains(name));
        Ok(carried)
    }
}

fn unknown(name: &str, labels: &Labels) -> String {
    let nearest = labels.names().map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
    match nearest {
        None => format!("no rule gives \"{name}\" a value: there are no `labels`"),
        Some((distance, known)) if distance <= known.len() / 2 => {
            format!("no rule gives \"{name}\" a value; did you mean \"{known}\"?")
        }
        Some(_) => format!("no rule gives \"{name}\" a value; add one to `labels`"),
    }
}

/// The metrics of a moment, in the order in which they are counted.
fn plans(config: &Config, moment: Moment) -> Vec<Plan<'_>> {
    let metrics = &config.metrics;
    let property = |of, divisor| Measure::Property { of, divisor };
    let plan = |key, written, name, measure, shape| {
        let kind = if moment == Moment::Done { Kind::Http } else { Kind::Tcp };
        // Whoever looks for Istio's labels looks for all of them.
        let early = moment == Moment::Opened && config.istio.is_none();
        Plan { key, written, name, kind, early, measure, shape }
    };
    match moment {
        Moment::Done => {
            let (duration, divisor) = match config.duration_unit {
                DurationUnit::Milliseconds => ("request_duration_milliseconds", 1_000_000),
                DurationUnit::Microseconds => ("request_duration_microseconds", 1_000),
            };
            // Istio counts what is on the wire, heads included.
            let size = if config.istio.is_some() { "total_size" } else { "size" };
            let mut plans = vec![
                plan("requests", &metrics.requests, "requests_total", Measure::One, Shape::Counter),
                plan(
                    "duration",
                    &metrics.duration,
                    duration,
                    property(["request", "duration"], divisor),
                    Shape::Histogram,
                ),
                plan(
                    "request_size",
                    &metrics.request_size,
                    "request_bytes",
                    property(["request", size], 1),
                    Shape::Histogram,
                ),
                plan(
                    "response_size",
                    &metrics.response_size,
                    "response_bytes",
                    property(["response", size], 1),
                    Shape::Histogram,
                ),
            ];
            if config.grpc_messages {
                plans.extend([
                    plan(
                        "request_messages",
                        &metrics.request_messages,
                        "request_messages_total",
                        Measure::RequestMessages,
                        Shape::Counter,
                    ),
                    plan(
                        "response_messages",
                        &metrics.response_messages,
                        "response_messages_total",
                        Measure::ResponseMessages,
                        Shape::Counter,
                    ),
                ]);
            }
            plans
        }
        Moment::Opened => vec![plan(
            "connections_opened",
            &metrics.connections_opened,
            "tcp_connections_opened_total",
            Measure::One,
            Shape::Counter,
        )],
        Moment::Closed => vec![
            plan(
                "connections_closed",
                &metrics.connections_closed,
                "tcp_connections_closed_total",
                Measure::One,
                Shape::Counter,
            ),
            plan(
                "bytes_received",
                &metrics.bytes_received,
                "tcp_received_bytes_total",
                property(["request", "size"], 1),
                Shape::Counter,
            ),
            plan(
                "bytes_sent",
                &metrics.bytes_sent,
                "tcp_sent_bytes_total",
                property(["response", "size"], 1),
                Shape::Counter,
            ),
        ],
    }
}
