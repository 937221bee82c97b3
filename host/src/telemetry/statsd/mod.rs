//! StatsD and DogStatsD: readings of all metrics as lines in datagrams, over UDP or a Unix datagram socket.
//!
//! # What this is
//! * [`exporter::Exporter`] is a task of the control plane. At an interval it reads all series
//!   ([`MetricReading`](super::reading::MetricReading), as the OTLP exporter does), turns what has changed into lines
//!   (`line`, `tracker`, `distribution`, `name`), packs them into datagrams (`packet`) and sends these (`outlet`).
//! * [`target`] and [`settings`] say where and how; [`network`] is what it gets from outside, with the system's sockets as
//!   one answer; [`statistics`] says what became of every line.
//!
//! # What is sent
//! Names are those of the Prometheus exposition, so that the same words are used everywhere: `fyke_` becomes the prefix,
//! `fyke_cluster_requests_total` is `fyke.cluster_requests_total`. What filters define is below `filter`: their
//! `my.requests` is `fyke.filter.my.requests`, apart from the proxy's own whatever they call it.
//!
//! | | StatsD | DogStatsD |
//! |---|---|---|
//! | labels | `.name.value` after the metric's name, by label name | `\|#name:value`, by label name; empty values left out |
//! | counter | `\|c`, what was counted since the last flush | the same |
//! | gauge | `\|g`; below zero `0\|g` first, because `-4\|g` alone means "four less" | `\|g` |
//! | histogram | `.count\|c`, `.sum\|c`, `.p50\|g` to `.p99\|g` | `\|d`, a line per bucket, `\|@rate` for how many |
//!
//! Where Envoy's sinks `envoy.stat_sinks.statsd` and `envoy.stat_sinks.dog_statsd` have an answer, it is taken: counters
//! as deltas, lines parted by `\n` with none at the end, a prefix that is never empty by default, numbers that could not be sent
//! are not sent later. What differs, and why:
//! * Envoy sends each observation of a histogram when it is made, as `|ms`. Workers here count in buckets and send
//!   nothing, so what is known at a flush is how many fell into which bucket. DogStatsD has a form for just that: a value
//!   with a sample rate of one in *n* counts *n* times. The values are placed so that their sum is the true sum
//!   (`distribution`). Servers of plain StatsD ignore the rate where they compute percentiles, so these get the
//!   quantiles of the interval as gauges. [`settings::Histograms::Timers`] is for those who come from Envoy.
//! * Envoy sends every counter that was ever used, with a delta of zero too. To a server, no line and a line of zero are the
//!   same; a hundred thousand of them every ten seconds are not the same to the network.
//! * Envoy sends one line per datagram unless `max_bytes_per_datagram` is set, sends a line that is longer than that all the
//!   same, and resolves no names. Here datagrams are packed up to a limit that always holds, and names are resolved
//!   again and again.
//!
//! What to know of servers: counters of time (`_seconds_total`) and the sums of histograms have fractions (`1.25|c`). The
//! reference server, statsd_exporter and Datadog's agent add them up; Telegraf cuts them to whole numbers, and there are
//! servers that refuse the line. Telegraf takes a rate for what it is with timers and ignores it with distributions: it is
//! best served with [`settings::Histograms::Timers`].
//!
//! # What this is not
//! StatsD over TCP, DogStatsD over a Unix stream, events, service checks, sets.
//!
//! # Invariants
//! * A line is never split, and no datagram is above [`settings::Settings::datagram`]. What belongs together
//!   (`0|g` and the value below zero) is in one datagram.
//! * Every line ends in exactly one number of [`statistics::Statistics`]: sent, or dropped and why.
//! * The first reading is only looked at: what was counted before the exporter began is not told as if it were new.
//! * A target that is slow or gone costs lines and nothing else: a datagram is tried once; after one failed, the flush is over.
//!   The log hears of changes only.
//! * Memory: [`settings::Settings::memory`] for what was sent last, one reading, one datagram, one lookup.

pub mod exporter;
pub mod network;
pub mod settings;
pub mod statistics;
pub mod target;

mod distribution;
mod line;
mod name;
mod number;
mod outlet;
mod packet;
mod resolver;
#[cfg(test)]
mod testing;
mod tracker;

pub use exporter::Exporter;
pub use network::Environment;
pub use settings::Settings;
