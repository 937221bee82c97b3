//! Natively, with a host whose every property is ours.

mod hostile;
mod istio;
mod refusals;
mod values;

use fyke_sdk::testing::{Host, StreamState, TcpHost, World};

use crate::StatsTags;

/// Names and values.
type Labels = Vec<(String, String)>;

/// The series of a metric: its labels, and everything that was counted.
fn series(name: &str) -> Vec<(Labels, Vec<i64>)> {
    World::with(|world| {
        let Some(metric) = world.labelled.iter().find(|metric| metric.name == name) else { return Vec::new() };
        let named = |values: &Vec<String>| metric.labels.iter().cloned().zip(values.iter().cloned()).collect();
        metric.series.iter().map(|(values, counted)| (named(values), counted.clone())).collect()
    })
}

/// The one series of a metric, by label.
fn only(name: &str) -> Labels {
    let mut series = series(name);
    assert_eq!(series.len(), 1, "{name}: {series:?}");
    series.remove(0).0
}

fn value(series: &[(String, String)], label: &str) -> String {
    series.iter().find(|(name, _)| name == label).map(|(_, value)| value.clone()).unwrap_or_else(|| panic!("{label}"))
}

/// A stream from its beginning to its end.
fn stream(host: &Host<StatsTags>, prepare: impl FnOnce(&mut StreamState)) {
    let stream = host.open();
    host.stream(stream, prepare);
    host.finish(stream);
}

fn connection(host: &TcpHost<StatsTags>, prepare: impl FnOnce(&mut StreamState)) {
    let (connection, _) = host.connect();
    host.connection(connection, prepare);
    host.finish(connection);
}
