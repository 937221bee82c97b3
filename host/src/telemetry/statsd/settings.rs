//! What an exporter is told: where, in which dialect, how often, how much at once.

use std::time::Duration;

use super::target::{Place, Target};

/// Default of [`Settings::datagram`] over UDP: what fits into one Ethernet frame with every header, as StatsD's own
/// documentation has it ("Multi-Metric Packets").
pub const UDP_BYTES: usize = 1432;
/// Default of [`Settings::datagram`] over Unix sockets, as Datadog's clients have it.
pub const UNIX_BYTES: usize = 8192;
/// Largest datagram: UDP over IPv4 has no larger ones.
pub const DATAGRAM_BYTES: usize = 65_507;
/// Smallest limit of datagrams; below, hardly a line would fit.
pub const LEAST_BYTES: usize = 128;
/// Shortest interval.
pub const LEAST_INTERVAL: Duration = Duration::from_millis(100);
/// Longest interval and refresh.
pub const LONGEST: Duration = Duration::from_hours(24);
/// Longest prefix, in bytes.
pub const PREFIX_BYTES: usize = 100;

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the server is. No default.
    pub target: Target,
    /// What it understands. Default: plain StatsD.
    pub dialect: Dialect,
    /// In front of every name, with a dot (Envoy's `prefix`, there `envoy`). Default: `fyke`. Empty: nothing in front.
    pub prefix: String,
    /// Time between flushes (Envoy's `stats_flush_interval`, there 5 s). Default: 10 s, over which StatsD servers and
    /// Datadog's agent aggregate.
    pub interval: Duration,
    /// Largest datagram, in bytes (Envoy's `max_bytes_per_datagram`). Default: [`UDP_BYTES`] or [`UNIX_BYTES`].
    pub datagram: usize,
    /// How histograms are told. Default: [`Histograms::Summary`] in plain StatsD, [`Histograms::Distributions`] in
    /// DogStatsD.
    pub histograms: Histograms,
    /// How often the server's name is looked up. Default: 30 s. Of no meaning for addresses and Unix sockets.
    pub refresh: Duration,
    /// Most memory for what was sent last of every series, in bytes. Series that do not fit are dropped and counted.
    /// Default: 64 MiB, enough for about 300 000 counters or 80 000 histograms.
    pub memory: usize,
}

impl Settings {
    /// The defaults for plain StatsD.
    #[must_use]
    pub fn new(target: Target) -> Self {
        let datagram = match target.place() {
            Place::Udp { .. } => UDP_BYTES,
            Place::Unix(_) => UNIX_BYTES,
        };
        Self {
            target,
            dialect: Dialect::Plain,
            prefix: "fyke".to_owned(),
            interval: Duration::from_secs(10),
            datagram,
            histograms: Histograms::Summary,
            refresh: Duration::from_secs(30),
            memory: 64 * 1024 * 1024,
        }
    }

    /// The defaults for DogStatsD.
    #[must_use]
    pub fn dog(target: Target) -> Self {
        Self { dialect: Dialect::Dog, histograms: Histograms::Distributions, ..Self::new(target) }
    }

    /// Whether they can be worked with.
    ///
    /// # Errors
    /// [`SettingsError`] for the first setting that cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        if !is_prefix(&self.prefix) {
            return Err(SettingsError::Prefix(self.prefix.escape_debug().to_string()));
        }
        if self.interval < LEAST_INTERVAL {
            return Err(SettingsError::Interval);
        }
        if self.refresh.is_zero() {
            return Err(SettingsError::Zero("refresh"));
        }
        for (name, time) in [("interval", self.interval), ("refresh", self.refresh)] {
            if time > LONGEST {
                return Err(SettingsError::TooLong(name));
            }
        }
        if self.memory == 0 {
            return Err(SettingsError::Zero("memory"));
        }
        if !(LEAST_BYTES..=DATAGRAM_BYTES).contains(&self.datagram) {
            return Err(SettingsError::Datagram);
        }
        if self.histograms == Histograms::Distributions && self.dialect == Dialect::Plain {
            return Err(SettingsError::Distributions);
        }
        Ok(())
    }
}

/// What a server understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// StatsD as <https://github.com/statsd/statsd/blob/master/docs/metric_types.md> has it. Labels are part of the
    /// name.
    #[default]
    Plain,
    /// Datadog's extension: tags and distributions (protocol v1.0).
    Dog,
}

/// How histograms are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Histograms {
    /// Counters `count` and `sum`, and gauges `p50`, `p90`, `p95` and `p99` of what was observed since the last flush
    /// (none without observations). Any server understands it.
    #[default]
    Summary,
    /// A line for every bucket into which something fell, with a sample rate that says how much: `|ms` in milliseconds for
    /// histograms of time, `|h` for others. As Envoy sends timers, for servers that repeat a sampled timer (Telegraf,
    /// statsd_exporter, Datadog); the reference server counts them right, but not their percentiles.
    Timers,
    /// The same as DogStatsD distributions (`|d`), in the unit of the metric. Datadog aggregates them over all hosts; its
    /// agent and statsd_exporter take the rate for what it is.
    Distributions,
}

/// Why settings cannot be worked with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The prefix would not be read as it is written.
    #[error(
        "`{0}` is no prefix: it begins with a letter, has letters, digits, `_`, `-` and single dots inside, and \
         {PREFIX_BYTES} bytes at most"
    )]
    Prefix(String),
    /// The interval is too short.
    #[error("`interval` must be {LEAST_INTERVAL:?} at least")]
    Interval,
    /// A time is too long.
    #[error("`{0}` must be 24 h at most")]
    TooLong(&'static str),
    /// A setting is zero.
    #[error("`{0}` must be more than zero")]
    Zero(&'static str),
    /// The limit of datagrams is none that datagrams can have.
    #[error("`datagram` must be from {LEAST_BYTES} to {DATAGRAM_BYTES} bytes")]
    Datagram,
    /// Plain StatsD has no distributions.
    #[error("plain StatsD has no distributions: choose DogStatsD, or `summary` or `timers`")]
    Distributions,
}

fn is_prefix(prefix: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    prefix.is_empty()
        || (prefix.len() <= PREFIX_BYTES
            && prefix.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
            && prefix.bytes().all(legal)
            && !prefix.ends_with('.')
            && !prefix.contains(".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(target: &str) -> Settings {
        Settings::new(target.parse().unwrap())
    }

    #[test]
    fn the_defaults_can_be_worked_with_and_depend_on_the_socket() {
        let (udp, unix) = (settings("a:1"), settings("unix:/a"));
        assert_eq!((udp.check(), unix.check()), (Ok(()), Ok(())));
        assert_eq!((udp.datagram, unix.datagram), (1432, 8192));
        assert_eq!(Settings::dog(udp.target.clone()).check(), Ok(()));
        assert_eq!((udp.interval, udp.prefix.as_str()), (Duration::from_secs(10), "fyke"));
    }

    #[test]
    fn what_cannot_be_worked_with_is_refused() {
        let with = |change: fn(&mut Settings)| {
            let mut changed = settings("a:1");
            change(&mut changed);
            changed.check()
        };
        assert_eq!(with(|settings| settings.interval = Duration::from_millis(99)), Err(SettingsError::Interval));
        assert_eq!(with(|settings| settings.refresh = Duration::ZERO), Err(SettingsError::Zero("refresh")));
        assert_eq!(with(|settings| settings.refresh = Duration::MAX), Err(SettingsError::TooLong("refresh")));
        assert_eq!(with(|settings| settings.interval = Duration::MAX), Err(SettingsError::TooLong("interval")));
        assert_eq!(with(|settings| settings.memory = 0), Err(SettingsError::Zero("memory")));
        for bytes in [0, LEAST_BYTES - 1, DATAGRAM_BYTES + 1] {
            let mut changed = settings("a:1");
            changed.datagram = bytes;
            assert_eq!(changed.check(), Err(SettingsError::Datagram));
        }
        assert_eq!(with(|settings| settings.histograms = Histograms::Distributions), Err(SettingsError::Distributions));
    }

    #[test]
    fn a_prefix_is_read_as_it_is_written() {
        for prefix in ["", "fyke", "edge.eu-1a.fyke_2"] {
            assert!(is_prefix(prefix), "{prefix}");
        }
        for prefix in [".", "a.", ".a", "a..b", "1a", "a:b", "a b", "ä", "a|c", &"x".repeat(PREFIX_BYTES + 1)] {
            assert!(!is_prefix(prefix), "{prefix}");
        }
    }
}
