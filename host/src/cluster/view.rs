//! The endpoints of a cluster as one worker sees them, until the membership or somebody's health changes.

use std::{
    cell::OnceCell,
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
    endpoint::SharedEndpoint,
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
    /// Those that this worker has had to do with: of ten thousand that come at once, few.
    endpoints: Vec<OnceCell<Rc<LocalEndpoint>>>,
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
        Self::after(None, Instant::now(), shared).0
    }

    /// The newest one, and the endpoints that are not in it any more. Those that are keep their pools.
    #[must_use]
    pub fn next(&self, shared: &SharedCluster) -> (Self, Vec<Rc<LocalEndpoint>>) {
        Self::after(Some(self), self.epoch, shared)
    }

    fn after(before: Option<&Self>, epoch: Instant, shared: &SharedCluster) -> (Self, Vec<Rc<LocalEndpoint>>) {
        let membership = shared.membership();
        // Where only somebody's health has changed, everybody is where it was. The others are found by what they share.
        let stays = |place: usize, local: &Rc<LocalEndpoint>| {
            membership.endpoints.get(place).is_some_and(|one| Arc::ptr_eq(one, &local.shared))
        };
        let known = before.into_iter().flat_map(|before| before.endpoints.iter().enumerate());
        let known = known.filter_map(|(place, cell)| Some((place, cell.get()?)));
        let moved = known.filter(|(place, local)| !stays(*place, local));
        let mut moved: HashMap<_, _> = moved.map(|(_, local)| (Arc::as_ptr(&local.shared), Rc::clone(local))).collect();
        let endpoint = |(place, one): (usize, &Arc<SharedEndpoint>)| {
            let same = before.and_then(|before| before.known(place)).filter(|local| Arc::ptr_eq(one, &local.shared));
            match same {
                Some(same) => OnceCell::from(Rc::clone(same)),
                None if moved.is_empty() => OnceCell::new(),
                None => moved.remove(&Arc::as_ptr(one)).map_or_else(OnceCell::new, OnceCell::from),
            }
        };
        let endpoints = membership.endpoints.iter().enumerate().map(endpoint).collect();
        let balancing = &shared.settings.balancing;
        let decay = match &balancing.policy {
            Policy::PeakEwma(ewma) => Some(ewma.decay),
            _ => None,
        };
        let starts_slowly = balancing.slow_start.is_some();
        (Self { membership, endpoints, starts_slowly, decay, epoch }, moved.into_values().collect())
    }

    /// Which one it is.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.membership.version
    }

    /// What all workers know of them.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Endpoints that this worker has had to do with.
    pub fn in_use(&self) -> impl Iterator<Item = &Rc<LocalEndpoint>> {
        self.endpoints.iter().filter_map(OnceCell::get)
    }

    /// The endpoint at a place of the list.
    fn at(&self, place: usize) -> Option<&Rc<LocalEndpoint>> {
        let shared = self.membership.endpoints.get(place)?;
        Some(self.endpoints.get(place)?.get_or_init(|| LocalEndpoint::new(Arc::clone(shared))))
    }

    /// The same, if this worker has had to do with it.
    fn known(&self, place: usize) -> Option<&Rc<LocalEndpoint>> {
        self.endpoints.get(place)?.get()
    }

    /// The one that the balancer chooses.
    ///
    /// # Errors
    /// Why there is none.
    pub fn pick(&self, choice: &Choice, local: &mut Local) -> Result<&Rc<LocalEndpoint>, NoHost> {
        let tried = self.tried(choice);
        let mut picked = self.pick_avoiding(choice, &tried, local)?;
        // As Envoy does it: a few times, and never for the price of another priority or of one that is not well.
        if let Some((labels, attempts)) = &choice.avoid_labels {
            for _ in 0..*attempts {
                if !picked.shared.has_labels(labels) {
                    break;
                }
                picked = self.pick_avoiding(choice, &tried, local)?;
            }
        }
        Ok(picked)
    }

    /// The one that the balancer chooses among those that are what is asked for. Labels count whether or not there are subsets by them.
    ///
    /// # Errors
    /// Why there is none.
    pub fn pick_strictly(&self, choice: &Choice, local: &mut Local) -> Result<&Rc<LocalEndpoint>, NoHost> {
        let mut avoid = self.tried(choice);
        if choice.labels.is_some() {
            let all = self.membership.endpoints.iter().enumerate();
            avoid.extend(all.filter(|(_, endpoint)| !endpoint.meets(choice)).map(|(place, _)| place));
        }
        let picked = self.pick_avoiding(choice, &avoid, local)?;
        if picked.shared.meets(choice) {
            return Ok(picked);
        }
        Err(if choice.endpoint.is_some() { NoHost::Override } else { NoHost::Labels })
    }

    /// The places of those that the request was sent to.
    fn tried(&self, choice: &Choice) -> Places {
        choice.avoid.iter().filter_map(|address| self.membership.find(*address)).collect()
    }

    /// One of `avoid` only where there is nothing else.
    fn pick_avoiding(&self, choice: &Choice, avoid: &[usize], local: &mut Local) -> Result<&Rc<LocalEndpoint>, NoHost> {
        let labels: SmallVec<[(&str, &str); 4]> =
            choice.labels.iter().flat_map(|labels| labels.iter()).map(|(key, value)| (&**key, &**value)).collect();
        let wanted = choice.endpoint.and_then(|address| self.membership.find(address));
        let request = balance::Request {
            hash: choice.hash,
            labels: &labels,
            override_host: wanted.map(Override::Preferred),
            avoid,
            avoid_priorities_of: if choice.avoid_priorities { avoid } else { &[] },
            now_ms: if self.starts_slowly { milliseconds() } else { 0 },
        };
        let now = if self.decay.is_some() { self.epoch.elapsed() } else { Duration::ZERO };
        let load = Loads { view: self, now };
        let endpoints = &self.membership.endpoints;
        let usable = |host: usize| endpoints.get(host).is_some_and(|endpoint| endpoint.status.is_usable());
        let host = self.membership.plan.pick(&request, local, &load, &usable)?;
        self.at(host).ok_or(NoHost::Empty)
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
        self.view.known(host).map_or(0, |endpoint| endpoint.active())
    }

    fn latency(&self, host: usize) -> Option<f64> {
        let average = self.view.known(host)?.latency().get()?;
        Some(average.value(self.now, self.view.decay?))
    }
}

/// Since 1970: the clock of [`super::endpoint::Status::healthy_since`].
pub(super) fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
