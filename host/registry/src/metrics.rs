//! What the registry counts, and how `/metrics` shows it (Prometheus text, version 0.0.4).

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{error::Reason, host::ServiceName, store::Condition};

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: usize) {
        self.0.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) registrations: Counter,
    pub(crate) heartbeats: Counter,
    pub(crate) deregistrations: Counter,
    pub(crate) expirations: Counter,
    pub(crate) store_failures: Counter,
    pub(crate) file_failures: Counter,
    refused: [Counter; Reason::ALL.len()],
}

/// What is counted by looking.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) services: Vec<(ServiceName, usize)>,
    pub(crate) waiting: usize,
    pub(crate) store: Condition,
}

impl Metrics {
    pub(crate) fn refuse(&self, reason: Reason) {
        if let Some(index) = Reason::ALL.iter().position(|known| *known == reason)
            && let Some(counter) = self.refused.get(index)
        {
            counter.add(1);
        }
    }

    /// All of it, as text.
    pub(crate) fn text(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &mut dyn Iterator<Item = (String, u64)>| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        // Names of services need no escaping: see `ServiceName`.
        let hosts = gauges.services.iter();
        let mut hosts = hosts.map(|(service, hosts)| (format!("{{service=\"{service}\"}}"), count(*hosts)));
        family("fyke_registry_hosts", "gauge", "Hosts of each service.", &mut hosts);
        let plain = |value| std::iter::once((String::new(), value));
        let waiting = count(gauges.waiting);
        family("fyke_registry_waiters", "gauge", "Readers that wait for a change.", &mut plain(waiting));
        let up = u64::from(gauges.store == Condition::Ready);
        family("fyke_registry_store_up", "gauge", "Whether the store answers.", &mut plain(up));
        for (name, help, counter) in [
            ("registrations", "Hosts that were not there before.", &self.registrations),
            ("heartbeats", "Registrations of hosts that were there.", &self.heartbeats),
            ("deregistrations", "Hosts that were taken out.", &self.deregistrations),
            ("expirations", "Hosts that were not heard of for too long.", &self.expirations),
            ("store_failures", "Times that the store failed.", &self.store_failures),
            ("file_failures", "Files that were read again and could not be used.", &self.file_failures),
        ] {
            family(&format!("fyke_registry_{name}_total"), "counter", help, &mut plain(counter.value()));
        }
        let refused = Reason::ALL.iter().zip(&self.refused);
        let mut refused = refused.map(|(reason, count)| (format!("{{reason=\"{}\"}}", reason.word()), count.value()));
        family("fyke_registry_refused_total", "counter", "Requests that were refused.", &mut refused);
        text
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
