//! Which addresses the target has: looked up again and again, beside everything else.
//!
//! There is one lookup at a time, however long it takes; the addresses that are known stay until others are. So a resolver
//! that hangs costs one future and, with the system's, one thread.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::{
    network::{Address, Environment, Later, Network},
    settings::Settings,
    statistics::{FailureReason, Statistics},
    target::{Place, Target},
};

/// Most addresses that are kept of one name.
const ADDRESSES: usize = 16;
/// How long after a failed lookup the next is made where no address is known, unless names are looked up more often
/// anyway.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) struct Resolver {
    target: Target,
    /// What is tried, the best first.
    known: Vec<Address>,
    /// `None`: what is known does not change.
    lookups: Option<Lookups>,
    statistics: Arc<Statistics>,
}

struct Lookups {
    network: Arc<dyn Network>,
    host: String,
    port: u16,
    refresh: Duration,
    due: Instant,
    current: Option<Later<'static, Vec<SocketAddr>>>,
    failing: bool,
}

impl Resolver {
    /// The first lookup is made when [`Resolver::progress`] is first called.
    pub(super) fn new(settings: &Settings, environment: &Environment, statistics: Arc<Statistics>) -> Self {
        let target = settings.target.clone();
        let (known, lookups) = match target.place() {
            Place::Unix(path) => (vec![Address::Unix(path.clone())], None),
            Place::Udp { host, port } => match host.parse::<IpAddr>() {
                Ok(address) => (vec![Address::Udp((address, *port).into())], None),
                Err(_) => {
                    let lookups = Lookups {
                        network: Arc::clone(&environment.network),
                        host: host.clone(),
                        port: *port,
                        refresh: settings.refresh,
                        due: Instant::now(),
                        current: None,
                        failing: false,
                    };
                    (Vec::new(), Some(lookups))
                }
            },
        };
        Self { target, known, lookups, statistics }
    }

    /// What is known, the best first.
    pub(super) fn addresses(&self) -> &[Address] {
        &self.known
    }

    /// The address did not work: the others come first from now on.
    pub(super) fn demote(&mut self, address: &Address) {
        if let Some(at) = self.known.iter().position(|known| known == address) {
            let address = self.known.remove(at);
            self.known.push(address);
        }
    }

    /// Whether no address is known and none can come before [`Resolver::progress`] is called.
    pub(super) fn is_waiting(&self) -> bool {
        self.known.is_empty()
    }

    /// Goes on until a lookup has ended, well or not; for ever where nothing is looked up. Cancel safe: the next call goes on
    /// where this one was.
    pub(super) async fn progress(&mut self) {
        let Some(lookups) = &mut self.lookups else { return std::future::pending().await };
        if lookups.current.is_none() {
            sleep_until(lookups.due).await;
        }
        let current = lookups.current.get_or_insert_with(|| lookups.network.lookup(&lookups.host, lookups.port));
        let answer = current.await;
        lookups.current = None;
        let failure = match answer {
            Ok(addresses) if !addresses.is_empty() => {
                if lookups.failing {
                    info!(target_name = %self.target, "the name of the StatsD server is found again");
                }
                lookups.failing = false;
                lookups.due = Instant::now() + lookups.refresh;
                self.adopt(addresses);
                return;
            }
            Ok(_) => "it has no address".to_owned(),
            Err(error) => error.to_string(),
        };
        self.statistics.count_failure(FailureReason::Lookup);
        if !lookups.failing {
            let use_known = if self.known.is_empty() { "nothing is sent" } else { "its last addresses are used" };
            warn!(target_name = %self.target, "the name of the StatsD server is not found, {use_known}: {failure}");
        }
        lookups.failing = true;
        let pause = if self.known.is_empty() { AGAIN.min(lookups.refresh) } else { lookups.refresh };
        lookups.due = Instant::now() + pause;
    }

    /// Resolvers give the same addresses in another order each time: that is no reason to move.
    fn adopt(&mut self, addresses: Vec<SocketAddr>) {
        let mut new: Vec<Address> = Vec::new();
        for address in addresses.into_iter().map(Address::Udp) {
            if new.len() < ADDRESSES && !new.contains(&address) {
                new.push(address);
            }
        }
        self.known.retain(|address| new.contains(address));
        new.retain(|address| !self.known.contains(address));
        self.known.append(&mut new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::statsd::testing::{Fake, poll_once};

    fn resolver(target: &str) -> (Resolver, Arc<Fake>, Arc<Statistics>) {
        let fake = Fake::new();
        let statistics = Arc::new(Statistics::default());
        let settings = Settings::new(target.parse().unwrap());
        (Resolver::new(&settings, &fake.environment(), Arc::clone(&statistics)), fake, statistics)
    }

    fn udp(address: &str) -> Address {
        Address::Udp(address.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_and_sockets_are_not_looked_up() {
        for target in ["127.0.0.1:1", "[::1]:1", "unix:/a"] {
            let (mut resolver, fake, _) = resolver(target);
            assert_eq!(resolver.addresses().len(), 1);
            assert!(!poll_once(&mut Box::pin(resolver.progress())));
            assert_eq!(fake.lookups(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_looked_up_at_once_and_then_at_its_interval() {
        let (mut resolver, fake, _) = resolver("s:8125");
        let begun = Instant::now();
        fake.answer(&["10.0.0.1:8125"]);
        resolver.progress().await;
        assert_eq!((resolver.addresses(), begun.elapsed().as_secs()), (&[udp("10.0.0.1:8125")][..], 0));
        fake.answer(&["10.0.0.2:8125"]);
        resolver.progress().await;
        assert_eq!((resolver.addresses(), begun.elapsed().as_secs()), (&[udp("10.0.0.2:8125")][..], 30));
    }

    #[tokio::test(start_paused = true)]
    async fn another_order_is_no_change_and_what_failed_is_tried_last() {
        let (mut resolver, fake, _) = resolver("s:1");
        fake.answer(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.2:1"]);
        resolver.progress().await;
        fake.answer(&["10.0.0.3:1", "10.0.0.2:1", "10.0.0.1:1"]);
        resolver.progress().await;
        assert_eq!(resolver.addresses(), [udp("10.0.0.1:1"), udp("10.0.0.2:1"), udp("10.0.0.3:1")]);
        resolver.demote(&udp("10.0.0.1:1"));
        assert_eq!(resolver.addresses(), [udp("10.0.0.2:1"), udp("10.0.0.3:1"), udp("10.0.0.1:1")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_lookup_keeps_what_is_known_and_is_soon_tried_again_where_nothing_is() {
        let (mut resolver, fake, statistics) = resolver("s:1");
        let begun = Instant::now();
        fake.fail_lookup();
        resolver.progress().await;
        assert!(resolver.is_waiting());
        fake.answer(&["10.0.0.1:1"]);
        resolver.progress().await;
        assert_eq!(begun.elapsed().as_secs(), 5);
        fake.answer(&[]);
        resolver.progress().await;
        assert_eq!((resolver.addresses(), begun.elapsed().as_secs()), (&[udp("10.0.0.1:1")][..], 35));
        assert_eq!(statistics.failures(FailureReason::Lookup), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_hangs_is_the_only_one_and_is_gone_on_with() {
        let (mut resolver, fake, _) = resolver("s:1");
        for _ in 0..3 {
            assert!(!poll_once(&mut Box::pin(resolver.progress())));
        }
        assert_eq!(fake.lookups(), 1);
        fake.answer(&["10.0.0.1:1"]);
        resolver.progress().await;
        assert_eq!((resolver.addresses().len(), fake.lookups()), (1, 1));
    }
}
