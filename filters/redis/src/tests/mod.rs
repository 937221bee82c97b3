//! The filter in a host of the SDK.

mod calls;
mod configured;
mod local;
mod memory;
mod model;
mod panels;
mod plain;
mod pooled;
mod rings;
mod trouble;

use fyke_sdk::Side;
use fyke_sdk::testing::{LeaseState, TcpHost, World};

use crate::Redis;

/// A pool without anything else.
pub const POOL: &str = r#"{"pool":{"cluster":"redis"}}"#;

pub fn host(configuration: &str) -> TcpHost<Redis> {
    TcpHost::configure(configuration).unwrap()
}

/// A command in RESP.
pub fn command(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split(' ').collect();
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    bytes.into_bytes()
}

/// Several of them.
pub fn pipeline(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| command(line)).collect()
}

/// A client and what happens to it.
pub struct Guest<'h> {
    pub host: &'h TcpHost<Redis>,
    pub id: u32,
}

impl<'h> Guest<'h> {
    pub fn new(host: &'h TcpHost<Redis>) -> Self {
        Self { host, id: host.connect().0 }
    }

    pub fn says(&self, bytes: impl AsRef<[u8]>) -> &Self {
        self.host.send(Side::Downstream, self.id, bytes.as_ref(), false);
        self
    }

    pub fn asks(&self, line: &str) -> &Self {
        self.says(command(line))
    }

    pub fn server_says(&self, bytes: impl AsRef<[u8]>) -> &Self {
        self.host.send(Side::Upstream, self.id, bytes.as_ref(), false);
        self
    }

    /// A connection is lent.
    #[track_caller]
    pub fn lend(&self) -> &Self {
        self.host.lend(self.id, "10.0.0.1:6379");
        self
    }

    /// What has gone to the server.
    pub fn sent(&self) -> String {
        text(self.host.take(Side::Downstream, self.id))
    }

    /// What the server has said to the client.
    pub fn heard(&self) -> String {
        text(self.host.take(Side::Upstream, self.id))
    }

    /// What the filter has said to the client.
    pub fn told(&self) -> String {
        text(self.host.written(Side::Downstream, self.id))
    }

    pub fn is_closed(&self) -> bool {
        self.host.connection(self.id, |state| !state.closed_sides.is_empty())
    }

    /// How the last lease stands; `None`: there was none.
    pub fn lease(&self) -> Option<LeaseState> {
        self.host.leases(self.id).last().map(|lease| lease.state.clone())
    }

    pub fn leases(&self) -> usize {
        self.host.leases(self.id).len()
    }
}

pub fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A series of a metric with labels; a histogram's are how many values.
pub fn metric(name: &str, labels: &[&str]) -> i64 {
    let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
    World::with(|world| {
        let found = world.labelled.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"));
        let values = found.series.get(&labels).cloned().unwrap_or_default();
        if name.ends_with("microseconds") { values.len().try_into().unwrap() } else { values.iter().sum() }
    })
}

/// All of a metric.
pub fn total(name: &str) -> i64 {
    World::with(|world| {
        world.labelled.iter().find(|metric| metric.name == name).unwrap().series.values().flatten().sum()
    })
}
