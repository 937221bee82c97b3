//! A proxy with very many series, all of which are read again and again.

use std::{net::SocketAddr, time::Instant};

use anyhow::ensure;

use crate::{client::Connection, subject::Subject};

/// Series of one metric.
const SERIES: usize = 100_000;

/// The configuration of a proxy that counts requests by their path.
pub fn configuration(upstream: SocketAddr) -> String {
    format!(
        "listeners:\n  web: {{ address: \"127.0.0.1:0\", filters: [stats], cluster: app }}\nfilters:\n  stats:\n    module: \"builtin:stats-tags\"\n    \
         limits: {{ series: {} }}\n    config:\n      labels: [{{ label: path, from: {{ property: request.path }} }}]\n      \
         metrics: {{ duration: {{ enabled: false }}, request_size: {{ enabled: false }}, response_size: {{ enabled: false }} }}\n\
         clusters:\n  app: {{ endpoints: [\"{upstream}\"] }}\n",
        SERIES + 10
    )
}

/// Asks for so many paths that all the series are there.
pub fn fill(subject: &Subject) -> anyhow::Result<()> {
    let mut connection = Connection::open(subject.address)?;
    for number in 0..SERIES {
        connection.get(&format!("/{number}"))?;
    }
    read(subject).map(|_| ())
}

/// Reads all metrics. Milliseconds from the question to the last byte of the answer.
pub fn read(subject: &Subject) -> anyhow::Result<f64> {
    let began = Instant::now();
    let text = subject.ask("GET", "/metrics")?;
    let took = began.elapsed();
    let lines = text.bytes().filter(|byte| *byte == b'\n').count();
    ensure!(lines > SERIES, "there are {lines} lines of metrics");
    Ok(took.as_secs_f64() * 1e3)
}
