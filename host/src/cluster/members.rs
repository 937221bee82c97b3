//! Endpoints come and go by discovery, which need not be right: it is eventually consistent, and made safe by health checks.
//!
//! | | the check passes | the check fails |
//! |---|---|---|
//! | discovered | it gets requests | it gets none |
//! | absent from discovery | **it gets requests** | it gets none **and is forgotten** |
//!
//! This holds where there are active checks. Without them discovery alone decides: an address that is absent may be somebody else's by now.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use super::{
    endpoint::{Mark, SharedEndpoint, Status},
    membership::Membership,
    shared::SharedCluster,
};
use crate::config::resolved::Endpoint;

/// By then every worker has looked at a cluster again.
const TAKEN_IN: Duration = Duration::from_secs(3);

/// What became of a cluster's endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// They are new.
    pub added: Vec<SocketAddr>,
    /// They are forgotten.
    pub removed: Vec<SocketAddr>,
    /// They are no longer discovered, and stay for as long as they are healthy.
    pub absent: Vec<SocketAddr>,
    /// Something else is known of them, such as their weight.
    pub altered: usize,
}

impl Change {
    /// Whether all is as it was.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of an endpoint that discovery does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    Forgotten,
}

/// `checked`: there are active checks; `failing`: the last ones failed, or there was none yet.
const fn fate(checked: bool, failing: bool) -> Fate {
    if checked && !failing { Fate::Stays } else { Fate::Forgotten }
}

impl SharedCluster {
    /// Discovery has found these. Of several with one address the first counts.
    pub fn discovered(&self, found: &[Arc<Endpoint>]) -> Change {
        let checked = self.settings.health_check.is_some();
        let mut change = Change::default();
        self.replace_members(|before| {
            let mut known: HashMap<SocketAddr, &Arc<SharedEndpoint>> =
                before.iter().map(|endpoint| (endpoint.address(), endpoint)).collect();
            let mut named = HashSet::with_capacity(found.len());
            let mut next = Vec::with_capacity(found.len());
            for settings in found.iter().filter(|settings| named.insert(settings.address)) {
                match known.remove(&settings.address) {
                    Some(endpoint) => next.push(self.still_there(endpoint, settings, &mut change)),
                    None => {
                        change.added.push(settings.address);
                        next.push(self.added(settings, checked));
                    }
                }
            }
            // Whom another source had named this one does not know, however healthy.
            let borrowed = self.borrowed.swap(false, Ordering::Relaxed);
            let decides = self.settings.discovery.as_ref().is_some_and(|discovery| discovery.decides());
            let stays = checked && !borrowed && !decides;
            // In their order, so that the same endpoints make the same plan.
            for endpoint in before.iter().filter(|endpoint| known.contains_key(&endpoint.address())) {
                match fate(stays, endpoint.status.has(Mark::FailedCheck)) {
                    Fate::Stays => {
                        if endpoint.status.mark(Mark::Absent, true) {
                            change.absent.push(endpoint.address());
                        }
                        next.push(Arc::clone(endpoint));
                    }
                    Fate::Forgotten => change.removed.push(endpoint.address()),
                }
            }
            (!change.is_none()).then_some(next)
        });
        self.forget(&change.removed);
        change
    }

    /// An endpoint that is absent from discovery, and fails: nobody knows it any more.
    pub(super) fn purge(&self, address: SocketAddr) -> bool {
        let mut purged = false;
        self.replace_members(|before| {
            let goes = |endpoint: &SharedEndpoint| {
                endpoint.address() == address
                    && endpoint.status.has(Mark::Absent)
                    && endpoint.status.has(Mark::FailedCheck)
            };
            let next: Vec<_> = before.iter().filter(|endpoint| !goes(endpoint)).map(Arc::clone).collect();
            purged = next.len() < before.len();
            purged.then_some(next)
        });
        if purged {
            self.forget(&[address]);
        }
        purged
    }

    fn still_there(
        &self,
        endpoint: &Arc<SharedEndpoint>,
        settings: &Arc<Endpoint>,
        change: &mut Change,
    ) -> Arc<SharedEndpoint> {
        let returned = endpoint.status.mark(Mark::Absent, false);
        let weight = || endpoint.status.weight_beside(endpoint.settings.weight);
        let before = weight();
        endpoint.status.discover_weight(settings.weight);
        let weighs = weight() != before;
        change.altered += usize::from(returned || weighs);
        if endpoint.settings.is_like(settings) {
            // It keeps its connections.
            return Arc::clone(endpoint);
        }
        change.altered += usize::from(!returned && !weighs);
        Arc::new(SharedEndpoint {
            settings: Arc::clone(settings),
            status: Arc::clone(&endpoint.status),
            outlier: endpoint.outlier.clone(),
        })
    }

    fn added(&self, settings: &Arc<Endpoint>, checked: bool) -> Arc<SharedEndpoint> {
        let status = Arc::<Status>::default();
        if checked {
            // Nothing goes there before the first check has passed, unless too few others are well.
            status.mark(Mark::FailedCheck, true);
            "it has not been checked yet"
                .clone_into(&mut status.finding.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let outlier = self.detector.as_ref().map(|detector| detector.add(settings.address, self.workers));
        Arc::new(SharedEndpoint { settings: Arc::clone(settings), status, outlier })
    }

    /// Makes another list of members the one that counts. One change at a time; `None`: it stays.
    fn replace_members(&self, next: impl FnOnce(&[Arc<SharedEndpoint>]) -> Option<Vec<Arc<SharedEndpoint>>>) {
        let _turn = self.rebalancing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.membership();
        let Some(endpoints) = next(&before.endpoints) else { return };
        self.install(endpoints);
        self.moved.notify_one();
    }

    /// Makes the plan for these. The caller holds the turn.
    pub(super) fn install(&self, endpoints: Vec<Arc<SharedEndpoint>>) {
        let version = self.version.load(Ordering::Relaxed) + 1;
        let next = Arc::new(Membership::new(&self.settings, version, endpoints));
        let before = {
            let mut now = self.membership.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *now, next)
        };
        self.version.store(version, Ordering::Release);
        self.clear_away();
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).push(before);
    }

    /// Has memberships go when the workers have taken in the one that counts. Must be called inside the control plane's runtime.
    pub fn clear_away_later(self: &Arc<Self>) {
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(TAKEN_IN).await;
            cluster.clear_away();
        });
    }

    /// Lets memberships go that no worker has any more. To take ten thousand endpoints apart takes milliseconds, and whoever serves should not be the
    /// last who has them.
    fn clear_away(&self) {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = replaced.extract_if(.., |old| Arc::strong_count(old) == 1).collect();
        drop(replaced);
        drop(gone);
    }

    fn forget(&self, removed: &[SocketAddr]) {
        if let Some(detector) = &self.detector {
            for address in removed {
                detector.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Format, load_text};

    fn cluster(more: &str) -> Arc<SharedCluster> {
        cluster_of("hosts.json", more)
    }

    fn cluster_of(file: &str, more: &str) -> Arc<SharedCluster> {
        let text = format!(
            "clusters: {{ app: {{ discovery: {{ file: {file} }}{more} }} }}\nlisteners: {{ web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: app }} }}\n"
        );
        let config = load_text("test.yaml", &text, Format::Yaml, std::path::Path::new(".")).unwrap();
        SharedCluster::new(Arc::clone(&config.clusters["app"]), 1)
    }

    fn host(number: u16) -> Arc<Endpoint> {
        Arc::new(Endpoint::new(SocketAddr::from(([127, 0, 0, 1], number))))
    }

    fn members(cluster: &SharedCluster) -> Vec<u16> {
        cluster.membership().endpoints.iter().map(|endpoint| endpoint.address().port()).collect()
    }

    const CHECKED: &str = ", protocol: tcp, health_check: { tcp: {} }";

    #[test]
    fn without_checks_discovery_alone_decides() {
        let cluster = cluster(", protocol: tcp");
        let change = cluster.discovered(&[host(1), host(2), host(1)]);
        assert_eq!((change.added.len(), members(&cluster)), (2, vec![1, 2]));
        let version = cluster.version();
        assert!(cluster.discovered(&[host(1), host(2)]).is_none());
        assert_eq!(cluster.version(), version, "nothing has changed, and workers look again");
        let change = cluster.discovered(&[host(2)]);
        assert_eq!((change.removed.len(), members(&cluster)), (1, vec![2]));
    }

    #[test]
    fn a_membership_goes_when_no_worker_has_it_any_more() {
        let cluster = cluster(", protocol: tcp");
        let held = cluster.membership();
        let there = Arc::downgrade(&held);
        cluster.discovered(&[host(1)]);
        cluster.clear_away();
        drop(held);
        assert!(there.upgrade().is_some(), "whoever serves is not the last who has it");
        cluster.clear_away();
        assert!(there.upgrade().is_none());
    }

    #[test]
    fn an_endpoint_whose_weight_changes_keeps_its_connections() {
        let cluster = cluster(", protocol: tcp");
        cluster.discovered(&[host(1)]);
        let before = Arc::clone(&cluster.membership().endpoints[0]);
        let mut heavier = Endpoint::clone(&host(1));
        heavier.weight = 9;
        assert_eq!(cluster.discovered(&[Arc::new(heavier.clone())]).altered, 1);
        assert!(Arc::ptr_eq(&before, &cluster.membership().endpoints[0]));
        assert_eq!(before.status.weight_beside(before.settings.weight), 9);
        heavier.zone = "a".to_owned();
        assert_eq!(cluster.discovered(&[Arc::new(heavier)]).altered, 1);
        let after = Arc::clone(&cluster.membership().endpoints[0]);
        assert_eq!(after.settings.zone, "a");
        assert!(Arc::ptr_eq(&before.status, &after.status));
    }

    #[test]
    fn with_checks_only_who_is_absent_and_fails_is_forgotten() {
        let cluster = cluster(CHECKED);
        cluster.discovered(&[host(1), host(2)]);
        let status = |place: usize| Arc::clone(&cluster.membership().endpoints[place].status);
        assert!(!status(0).is_usable(), "nobody has checked it");
        status(0).mark(Mark::FailedCheck, false);
        // Both are absent; one of them has never passed.
        let change = cluster.discovered(&[host(3)]);
        assert_eq!((change.absent.len(), change.removed.len(), members(&cluster)), (1, 1, vec![3, 1]));
        assert!(!cluster.purge(host(1).address), "it is well");
        status(1).mark(Mark::FailedCheck, true);
        assert!(!cluster.purge(host(3).address), "it is discovered");
        assert!(cluster.purge(host(1).address));
        assert_eq!(members(&cluster), [3]);
    }

    #[test]
    fn who_comes_back_is_no_longer_absent() {
        let cluster = cluster(CHECKED);
        cluster.discovered(&[host(1)]);
        let status = Arc::clone(&cluster.membership().endpoints[0].status);
        status.mark(Mark::FailedCheck, false);
        cluster.discovered(&[host(2)]);
        assert!(status.has(Mark::Absent) && status.is_usable());
        let change = cluster.discovered(&[host(1), host(2)]);
        assert_eq!((change.altered, status.has(Mark::Absent)), (1, false));
    }

    #[test]
    fn another_source_forgets_whom_the_one_before_it_had_named() {
        let users = cluster(CHECKED);
        users.discovered(&[host(1), host(2)]);
        for endpoint in &users.membership().endpoints {
            endpoint.status.mark(Mark::FailedCheck, false);
        }
        // The same source: whoever is absent and well stays.
        let again = SharedCluster::in_place_of(Arc::clone(&users.settings), 1, &users);
        assert_eq!(again.discovered(&[host(1)]).absent, [host(2).address]);
        let orders = cluster_of("orders.json", CHECKED);
        let orders = SharedCluster::in_place_of(Arc::clone(&orders.settings), 1, &again);
        assert_eq!(members(&orders), [1, 2], "until it has spoken");
        // A change in between is no word of it.
        let orders = SharedCluster::in_place_of(Arc::clone(&orders.settings), 1, &orders);
        assert_eq!(orders.discovered(&[host(2), host(3)]).removed, [host(1).address]);
        for endpoint in &orders.membership().endpoints {
            endpoint.status.mark(Mark::FailedCheck, false);
        }
        assert_eq!(orders.discovered(&[host(3)]).absent, [host(2).address]);
    }

    proptest! {
        /// Whatever discovery says, in whatever order: those that it names are members, and so is everybody who passes.
        #[test]
        fn the_matrix_holds(rounds in prop::collection::vec((prop::collection::vec(1_u16..8, 1..6), prop::collection::vec(any::<bool>(), 8)), 1..12)) {
            let cluster = cluster(CHECKED);
            let mut passes = [false; 8];
            for (named, health) in rounds {
                let found: Vec<_> = named.iter().map(|number| host(*number)).collect();
                let before = members(&cluster);
                cluster.discovered(&found);
                let after = members(&cluster);
                for number in 1..8_u16 {
                    let wanted = named.contains(&number) || (before.contains(&number) && passes[usize::from(number)]);
                    prop_assert_eq!(after.contains(&number), wanted, "{} after {:?}", number, named);
                }
                for endpoint in &cluster.membership().endpoints {
                    let number = usize::from(endpoint.address().port());
                    passes[number] = health[number];
                    endpoint.status.mark(Mark::FailedCheck, !health[number]);
                    cluster.purge(endpoint.address());
                }
                for number in members(&cluster) {
                    prop_assert!(named.contains(&number) || passes[usize::from(number)]);
                }
            }
        }
    }
}
