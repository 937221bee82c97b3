//! Fyke before a MongoDB server, in each of the ways that are compared.

use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, ensure};

use super::wire;
use crate::{
    ask,
    process::{self, Process},
    upstream,
};

const START: Duration = Duration::from_secs(60);

/// What it does with what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// It counts.
    Statistics,
    /// It shares connections, at most so many.
    Pool(u32),
}

impl Kind {
    /// As in a table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Plain => "TCP, no filters",
            Self::Statistics => "`builtin:mongo`, statistics",
            Self::Pool(_) => "`builtin:mongo`, `pool: {}`",
        }
    }

    fn filter(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Statistics => "filters:\n  mongo: { module: \"builtin:mongo\", config: { stat_prefix: bench } }\n",
            Self::Pool(_) => {
                "filters:\n  mongo: { module: \"builtin:mongo\", allow: { clusters: [mongo], shared_data: true }, config: { stat_prefix: bench, \
                 pool: {} } }\n"
            }
        }
    }
}

/// It, started.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    /// It.
    pub process: Process,
    admin: SocketAddr,
    kind: Kind,
}

/// Where it runs, and with what.
pub struct Place<'a> {
    /// The proxy.
    pub binary: &'a Path,
    /// For its files.
    pub folder: &'a Path,
    /// Its core.
    pub core: usize,
}

impl Proxy {
    /// Starts it with one worker and room for so many clients, and waits until greetings are answered.
    pub fn start(place: &Place<'_>, kind: Kind, upstream: SocketAddr, clients: u32) -> anyhow::Result<Self> {
        let (address, admin) = (upstream::free_address()?, upstream::free_address()?);
        // Those that only looked whether it is up have to have room too.
        let room = clients + 64;
        let connections = if let Kind::Pool(most) = kind { most } else { room };
        let filters = if kind == Kind::Plain { "" } else { "    filters: [mongo]\n" };
        let text = format!(
            "workers: 1\nadmin: {{ address: \"{admin}\" }}\nlisteners:\n  mongo:\n    address: \"{address}\"\n    protocol: tcp\n    cluster: mongo\n    \
             limits: {{ connections: {room} }}\n{filters}{}clusters:\n  mongo:\n    endpoints: [\"{upstream}\"]\n    \
             circuit_breakers: {{ connections: {connections}, pending: {room} }}\n    pool: {{ connections: {connections} }}\n",
            kind.filter(),
        );
        let file = place.folder.join("mongo.yaml");
        std::fs::write(&file, text)?;
        let arguments = ["run", &file.to_string_lossy()];
        let mut process = Process::start(place.binary, &arguments, place.core, &place.folder.join("mongo.log"))?;
        process.wait_ready(START, || greets(address).is_ok())?;
        Ok(Self { address, process, admin, kind })
    }

    /// Fails where the filter has counted fewer finds than were answered.
    pub fn check(&self, answered: usize) -> anyhow::Result<()> {
        if self.kind == Kind::Plain {
            return Ok(());
        }
        let metrics = ask::page(self.admin, "/metrics").context("/metrics")?;
        let counted = ask::sum(&metrics, "mongo_operations_total", "mongo_cmd=\"find\"");
        ensure!(counted >= process::precise(answered as u64), "{answered} finds were answered, {counted} counted");
        Ok(())
    }

    /// How many connections to the server were opened so far.
    pub fn opened(&self) -> anyhow::Result<f64> {
        let metrics = ask::page(self.admin, "/metrics").context("/metrics")?;
        Ok(ask::sum(&metrics, "fyke_cluster_connections_total", "cluster=\"mongo\""))
    }
}

/// Whether a greeting is answered.
fn greets(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    wire::greet(&mut stream)
}
