//! What the moment of a pick contributes.

/// What a pick needs to know of a request. The default asks for nothing in particular.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// What the policies by hash go by; without it they choose at random. Envoy: `hash_policy`.
    pub hash: Option<u64>,
    /// Labels of the subset wanted, in any order. Envoy: `metadata_match`.
    pub labels: &'a [(&'a str, &'a str)],
    /// The host of a session. Envoy: `LoadBalancerContext::overrideHostToSelect`.
    pub override_host: Option<Override>,
    /// Hosts that failed the request before; one of them is taken only when there is no other. Envoy:
    /// `envoy.retry_host_predicates.previous_hosts`.
    pub avoid: &'a [usize],
    /// Hosts whose priorities rather get nothing of it. Envoy: `envoy.retry_priorities.previous_priorities`.
    pub avoid_priorities_of: &'a [usize],
    /// Milliseconds on any clock that never goes back, the one of [`Host::healthy_since`](crate::cluster::balance::Host::healthy_since).
    pub now_ms: u64,
}

/// The host that a request should go to, by index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Override {
    /// This one or another one.
    Preferred(usize),
    /// This one or none.
    Strict(usize),
}

/// What a worker knows of the load on hosts.
pub trait Load {
    /// Requests in flight to `host`.
    fn active(&self, host: usize) -> u32;
    /// Latency of `host` in milliseconds, as [`Ewma::value`](crate::cluster::balance::Ewma::value) tells; `None` before the first answer.
    fn latency(&self, host: usize) -> Option<f64>;
}
