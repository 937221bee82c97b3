//! The endpoints of a cluster as one worker sees them, until the membership or somebody's health changes.

use std::{
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    Choice,
    balance::{self, Ewma, Load, Local, NoHost, Override, Policy},
    membership::Membership,
    pool::LocalEndpoint,
    shared::SharedCluster,
};

/// Where endpoints stand in the list.
type Places = SmallVec<[usize; 4]>;

/// Endpoints with this worker's pools.
#[derive(Debug)]
pub struct View {
    membership: Arc<Membership>,
    endpoints: Vec<Rc<LocalEndpoint>>,
    /// Somebody needs to know what time it is.
    starts_slowly: bool,
    /// How soon latencies are forgotten, where they count.
    decay: Option<Duration>,
    /// The zero of their clock.
    epoch: Instant,
}

impl View {
    /// The first one.
    #[must_use]
    pub fn new(shared: &SharedCluster) -> Self {
        Self::after(&[], Instant::now(), shared).0
    }

    /// The newest one, and the endpoints that are not in it any more. Those that are keep their pools.
    #[must_use]
    pub fn next(&self, shared: &SharedCluster) -> (Self, Vec<Rc<LocalEndpoint>>) {
        Self::after(&self.endpoints, self.epoch, shared)
    }

    fn after(before: &[Rc<LocalEndpoint>], epoch: Instant, shared: &SharedCluster) -> (Self, Vec<Rc<LocalEndpoint>>) {
        let membership = shared.membership();
        // Where only somebody's health has changed, everybody is where it was. The others are found by what they share.
        let stays = |place: usize, local: &Rc<LocalEndpoint>| {
            membership.endpoints.get(place).is_some_and(|one| Arc::ptr_eq(one, &local.shared))
        };
        let others = before.iter().enumerate().filter(|(place, local)| !stays(*place, local));
        let mut others: HashMap<_, _> =
            others.map(|(_, local)| (Arc::as_ptr(&local.shared), Rc::clone(local))).collect();
        let local = membership.endpoints.iter().enumerate();
        let endpoints = local
            .map(|(place, one)| match before.get(place) {
                Some(local) if Arc::ptr_eq(one, &local.shared) => Rc::clone(local),
                _ => others.remove(&Arc::as_ptr(one)).unwrap_or_else(|| LocalEndpoint::new(Arc::clone(one))),
            })
            .collect();
        let balancing = &shared.settings.balancing;
        let decay = match &balancing.policy {
            Policy::PeakEwma(ewma) => Some(ewma.decay),
            _ => None,
        };
        let starts_slowly = balancing.slow_start.is_some();
        (Self { membership, endpoints, starts_slowly, decay, epoch }, others.into_values().collect())
    }

    /// Which one it is.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.membership.version
    }

    /// All endpoints.
    #[must_use]
    pub fn endpoints(&self) -> &[Rc<LocalEndpoint>] {
        &self.endpoints
    }

    /// The one that the balancer chooses.
    ///
    /// # Errors
    /// Why there is none.
    pub fn pick(&self, choice: &Choice, local: &mut Local) -> Result<&Rc<LocalEndpoint>, NoHost> {
        self.pick_avoiding(choice, self.avoided(choice), local)
    }

    /// The one that the balancer chooses among those that are what is asked for. Labels count whether or not there are subsets by them.
    ///
    /// # Errors
    /// Why there is none.
    pub fn pick_strictly(&self, choice: &Choice, local: &mut Local) -> Result<&Rc<LocalEndpoint>, NoHost> {
        let mut avoid = self.avoided(choice);
        if choice.labels.is_some() {
            let all = self.endpoints.iter().enumerate();
            avoid.extend(all.filter(|(_, endpoint)| !endpoint.shared.meets(choice)).map(|(place, _)| place));
        }
        let picked = self.pick_avoiding(choice, avoid, local)?;
        if picked.shared.meets(choice) {
            return Ok(picked);
        }
        Err(if choice.endpoint.is_some() { NoHost::Override } else { NoHost::Labels })
    }

    /// The places of those that are to be avoided.
    fn avoided(&self, choice: &Choice) -> Places {
        choice.avoid.iter().filter_map(|address| self.membership.find(*address)).collect()
    }

    /// One of `avoid` only where there is nothing else.
    fn pick_avoiding(&self, choice: &Choice, avoid: Places, local: &mut Local) -> Result<&Rc<LocalEndpoint>, NoHost> {
        let labels: SmallVec<[(&str, &str); 4]> =
            choice.labels.iter().flat_map(|labels| labels.iter()).map(|(key, value)| (&**key, &**value)).collect();
        let wanted = choice.endpoint.and_then(|address| self.membership.find(address));
        let request = balance::Request {
            hash: choice.hash,
            labels: &labels,
            override_host: wanted.map(Override::Preferred),
            avoid: &avoid,
            now_ms: if self.starts_slowly { milliseconds() } else { 0 },
        };
        let now = if self.decay.is_some() { self.epoch.elapsed() } else { Duration::ZERO };
        let load = Loads { view: self, now };
        let usable = |host: usize| self.endpoints.get(host).is_some_and(|endpoint| endpoint.shared.status.is_usable());
        let host = self.membership.plan.pick(&request, local, &load, &usable)?;
        self.endpoints.get(host).ok_or(NoHost::Empty)
    }

    /// An endpoint has answered after so long. Only some balancers want to know.
    pub fn answered(&self, endpoint: &LocalEndpoint, latency: Duration) {
        let Some(decay) = self.decay else { return };
        let now = self.epoch.elapsed();
        let average = endpoint.latency().get();
        let next = average.map_or_else(|| Ewma::new(latency, now), |average| average.observe(latency, now, decay));
        endpoint.latency().set(Some(next));
    }

    /// Whether latencies count.
    #[must_use]
    pub fn wants_latency(&self) -> bool {
        self.decay.is_some()
    }
}

/// How busy endpoints are, on this worker.
struct Loads<'a> {
    view: &'a View,
    now: Duration,
}

impl Load for Loads<'_> {
    fn active(&self, host: usize) -> u32 {
        self.view.endpoints.get(host).map_or(0, |endpoint| endpoint.active())
    }

    fn latency(&self, host: usize) -> Option<f64> {
        let average = self.view.endpoints.get(host)?.latency().get()?;
        Some(average.value(self.now, self.view.decay?))
    }
}

/// Since 1970: the clock of [`super::endpoint::Status::healthy_since`].
pub(super) fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
