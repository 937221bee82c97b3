//! A configuration without the world around it, and proxies that run on it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::runtime::Handle;

use super::{
    client::{self, Answer},
    stand_in::StandIns,
};
use crate::{
    config::{
        Config, Origin, Problem, Report,
        resolved::{
            Address, Cluster, Filter, Listener, ListenerProtocol, OriginalDestination, ProxyProtocol, TestRequest,
        },
    },
    reload::{
        prepare::Prepared,
        proxy::{Proxy, Setup},
    },
    wasm::tap::{self, Tap, Watching, Wish},
};

/// How long it takes at most until a stream that was answered is over.
const OVER: Duration = Duration::from_secs(2);

/// A configuration that is ready to be tried, as often as one likes.
pub struct DryRun {
    config: Arc<Config>,
    prepared: Prepared,
    /// What answers in the place of endpoints.
    pub(super) stand_ins: StandIns,
    runtime: Handle,
}

/// A proxy of its own.
pub struct Run<'a> {
    dry_run: &'a DryRun,
    proxy: Option<Proxy>,
    reports: Watching,
    listeners: Vec<(String, Address)>,
}

/// What became of a request.
#[derive(Debug)]
pub struct Sent {
    /// What came back, or why nothing did.
    pub answer: Result<Answer, String>,
    /// What its filters did. `None`: it was refused before it got to them.
    pub report: Option<tap::Report>,
}

impl DryRun {
    /// Takes the configuration out of the world and has `prepare` check it to the end. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn new(
        config: Arc<Config>,
        runtime: &Handle,
        prepare: impl FnOnce(Config) -> Result<Prepared, Report>,
    ) -> Result<Self, Report> {
        let stand_ins = StandIns::bind(config.clusters.values().map(|cluster| &**cluster), runtime);
        let stand_ins = stand_ins.map_err(|error| {
            let message = format!("cannot stand in for the endpoints: {error}");
            Report::single(Arc::clone(&config.sources), Problem::new(Origin::default(), message))
        })?;
        let prepared = prepare(apart(&config, &stand_ins))?;
        Ok(Self { config, prepared, stand_ins, runtime: runtime.clone() })
    }

    /// The configuration as it was given.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Starts a proxy that nothing has happened to. With `asks`, filters are asked to explain themselves. Blocks.
    ///
    /// # Errors
    /// What cannot be started.
    pub fn begin(&self, asks: bool) -> Result<Run<'_>, Report> {
        let _entered = self.runtime.enter();
        let tap = Tap::default();
        let reports = tap.watch(Wish { explains: asks, ..Wish::default() });
        let proxy = self.prepared.afresh()?.start(Setup { tap, ..Setup::default() })?;
        let listeners = proxy.listeners();
        Ok(Run { dry_run: self, proxy: Some(proxy), reports, listeners })
    }

    /// The configuration's listener of this name.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.config.listeners.iter().find(|listener| listener.name == name)
    }
}

impl Run<'_> {
    /// Sends a request and waits until it is over, or until `patience` is. Blocks; must not be called by a task.
    pub fn send(&mut self, request: &TestRequest, patience: Duration) -> Sent {
        let bound = self.listeners.iter().find(|(name, _)| *name == request.listener);
        let meant = self.dry_run.listener(&request.listener).map(destination);
        let (Some(bound), Some(meant)) = (bound.and_then(|(_, address)| address.ip()), meant) else {
            return Sent { answer: Err(format!("there is no listener {}", request.listener)), report: None };
        };
        let exchange = client::exchange(bound, meant, request);
        let answer = self.dry_run.runtime.block_on(async { tokio::time::timeout(patience, exchange).await });
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer came within {patience:?}")));
        let report = async { tokio::time::timeout(OVER, self.reports.next()).await };
        Sent { answer, report: self.dry_run.runtime.block_on(report).ok().flatten() }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let _entered = self.dry_run.runtime.enter();
        if let Some(proxy) = self.proxy.take() {
            proxy.drain();
        }
    }
}

/// The address that clients of a listener connect to.
pub(super) fn destination(listener: &Listener) -> SocketAddr {
    match listener.address {
        Address::Tcp(address) if address.ip().is_unspecified() => match address {
            SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, address.port()).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
        },
        Address::Tcp(address) => address,
        Address::Unix(_) => (Ipv4Addr::LOCALHOST, 0).into(),
    }
}

/// The configuration with everything changed that touches the world.
fn apart(config: &Config, stand_ins: &StandIns) -> Config {
    let mut changed = config.clone();
    changed.admin = None;
    changed.state = None;
    changed.tracing = None;
    changed.metrics = None;
    changed.limits.memory = None;
    changed.workers = 1;
    changed.tests = Vec::new();
    // Which version a request meets must not be a matter of luck.
    let canaries: Vec<Arc<Filter>> =
        config.filters.values().filter(|filter| filter.canary.is_some()).cloned().collect();
    for filter in canaries {
        changed.put(&Arc::new(Filter { canary: None, ..(*filter).clone() }));
    }
    for listener in &mut changed.listeners {
        listener.address = Address::Tcp((Ipv4Addr::LOCALHOST, 0).into());
        listener.drain = Duration::ZERO;
        listener.original_destination = OriginalDestination::Ignore;
        listener.proxy_protocol_from.clear();
        // The client says in a header where it comes from, and where it meant to go.
        listener.proxy_protocol = match listener.protocol {
            ListenerProtocol::Http => ProxyProtocol::Require,
            ListenerProtocol::Tcp => ProxyProtocol::Off,
        };
    }
    for (name, cluster) in &mut changed.clusters {
        let mut endpoints = cluster.endpoints.clone();
        for (index, endpoint) in endpoints.iter_mut().enumerate() {
            if let Some(address) = stand_ins.address(name, index) {
                let endpoint = Arc::make_mut(endpoint);
                endpoint.address = address;
                endpoint.others = Box::default();
            }
        }
        *cluster = Arc::new(Cluster {
            endpoints,
            health_check: None,
            agent_check: None,
            bind: None,
            proxy_protocol: None,
            tls: None,
            ..(**cluster).clone()
        });
    }
    changed
}
