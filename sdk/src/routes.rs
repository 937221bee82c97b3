//! Routes: what a filter that routes defines once, in `configure`, and selects by number for each stream.
//!
//! The bytes are those of `fyke.route.define.v1` and `fyke.route.select.v1` in the host's `docs/extensions.md`. A route
//! is defined with everything that is known beforehand ([`RouteAction`]); what only a request can tell comes with its
//! selection ([`RouteOverrides`]). A selection without overrides is eight bytes and no allocation.

mod action;
mod retry;

use std::time::Duration;

pub use action::{Connect, HedgePolicy, InternalRedirect, Mirror, Priority, RouteAction, Upgrade, WeightedCluster};
pub use retry::{Backoff, HeaderMatch, HeaderTest, RateLimitedBackoff, ResetFormat, ResetHeader, RetryOn, RetryPolicy};

use crate::abi::{self, Status};
use crate::error::{ConfigError, Result};

/// Where routes are defined; from [`Env::routes`](crate::Env::routes).
#[derive(Debug)]
pub struct Routes {
    _private: (),
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self { _private: () }
    }

    /// Defines a route.
    ///
    /// # Errors
    /// When this host has no routes (it is not Fyke), or refuses this one: a cluster or filter that it does not know.
    /// The host keeps the exact reason and reports it together with the place that the error names.
    pub fn define(&self, action: &RouteAction) -> Result<RouteHandle, ConfigError> {
        let arguments = serde_json::to_vec(action).map_err(|error| ConfigError::new(error.to_string()))?;
        let answer = abi::call_foreign_function("fyke.route.define.v1", &arguments).map_err(|status| {
            ConfigError::new(match status {
                Status::NOT_FOUND => {
                    "this host has no routes that a filter can define (fyke.route.define.v1)".to_owned()
                }
                Status::BAD_ARGUMENT => match action.clusters() {
                    clusters if clusters.is_empty() => "the host refused the route".to_owned(),
                    clusters => format!("the host refused the route to {clusters}: is there such a cluster?"),
                },
                other => other.to_string(),
            })
        })?;
        match answer.as_slice().try_into() {
            Ok(bytes) => Ok(RouteHandle(u32::from_le_bytes(bytes))),
            Err(_) => Err(ConfigError::new("the host answered a route without a handle")),
        }
    }
}

/// A route that was defined. Valid for the life of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteHandle(u32);

/// What one selection changes about its route. What is `None` stays as the route has it.
///
/// ```
/// use fyke_sdk::RouteOverrides;
///
/// let overrides = RouteOverrides { cluster: Some(b"canary"), hash: Some(7), ..RouteOverrides::default() };
/// assert!(overrides.timeout.is_none());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RouteOverrides<'a> {
    /// The cluster. One that does not exist is answered with 503, `cluster_not_found`.
    pub cluster: Option<&'a [u8]>,
    /// From the end of the request to the end of the response, to the millisecond; zero: no limit.
    pub timeout: Option<Duration>,
    /// The host to present to the upstream, as `:authority`.
    pub host: Option<&'a [u8]>,
    /// What `ring_hash` and `maglev` pick an endpoint by.
    pub hash: Option<u64>,
    /// The endpoint, as `ip:port`. One that the cluster does not have, or that is not healthy, is passed over for the
    /// load balancer's.
    pub endpoint: Option<&'a [u8]>,
    /// When the request is sent again, instead of what the route says.
    pub retry: Option<&'a RetryPolicy>,
    /// When a second request is sent beside the first, instead of what the route says.
    pub hedge: Option<HedgePolicy>,
    /// The status that a timeout is answered with.
    pub timeout_status: Option<u16>,
}

impl RouteOverrides<'_> {
    fn flags(&self) -> u32 {
        u32::from(self.cluster.is_some())
            | u32::from(self.timeout.is_some()) << 1
            | u32::from(self.host.is_some()) << 2
            | u32::from(self.hash.is_some()) << 3
            | u32::from(self.endpoint.is_some()) << 4
            | u32::from(self.retry.is_some()) << 5
            | u32::from(self.hedge.is_some()) << 6
            | u32::from(self.timeout_status.is_some()) << 7
    }

    /// Appends the fields in the order of their bits.
    fn write(&self, arguments: &mut Vec<u8>) -> Result<()> {
        if let Some(cluster) = self.cluster {
            abi::push_field(arguments, cluster);
        }
        if let Some(timeout) = self.timeout {
            arguments.extend_from_slice(&whole_milliseconds(timeout).to_le_bytes());
        }
        if let Some(host) = self.host {
            abi::push_field(arguments, host);
        }
        if let Some(hash) = self.hash {
            arguments.extend_from_slice(&hash.to_le_bytes());
        }
        if let Some(endpoint) = self.endpoint {
            abi::push_field(arguments, endpoint);
        }
        if let Some(retry) = self.retry {
            abi::push_field(arguments, &serde_json::to_vec(retry)?);
        }
        if let Some(hedge) = self.hedge {
            arguments.extend_from_slice(&u32::from(hedge.on_per_try_timeout).to_le_bytes());
        }
        if let Some(status) = self.timeout_status {
            arguments.extend_from_slice(&u32::from(status).to_le_bytes());
        }
        Ok(())
    }
}

impl RouteHandle {
    pub(crate) fn select(self, overrides: &RouteOverrides<'_>) -> Result<()> {
        let flags = overrides.flags();
        let plain = (u64::from(flags) << 32 | u64::from(self.0)).to_le_bytes();
        if flags == 0 {
            // The usual case, without an allocation.
            abi::call_foreign_function(SELECT, &plain)?;
            return Ok(());
        }
        let mut arguments = plain.to_vec();
        overrides.write(&mut arguments)?;
        abi::call_foreign_function(SELECT, &arguments)?;
        Ok(())
    }
}

const SELECT: &str = "fyke.route.select.v1";

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn milliseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(whole_milliseconds(*duration))
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn optional_milliseconds<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => milliseconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}

/// For fields that are not sent when they say what the host takes for granted.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn a_plain_action_says_only_what_it_must() {
        assert_eq!(
            serde_json::to_value(RouteAction::to("app")).unwrap(),
            serde_json::json!({"name": "", "virtual_host": "", "cluster": "app", "timeout_ms": 15_000})
        );
    }

    #[test]
    fn every_part_of_an_action_has_its_place() {
        let action = RouteAction {
            idle_timeout: Some(Duration::from_secs(1)),
            max_stream_duration: Some(Duration::ZERO),
            retry: Some(RetryPolicy::on([RetryOn::Reset])),
            hedge: Some(HedgePolicy { on_per_try_timeout: true }),
            mirror: vec![Mirror { percent: 12.5, ..Mirror::to("shadow") }],
            endpoint_labels: [("stage".to_owned(), "canary".to_owned())].into(),
            priority: Priority::High,
            upgrades: vec![Upgrade { kind: "websocket".into(), enabled: true }],
            connect: Some(Connect {}),
            internal_redirect: Some(InternalRedirect::default()),
            auto_host: true,
            attempt_count_header: true,
            timeout_status: Some(204),
            ..RouteAction::to("app")
        };
        assert_eq!(
            serde_json::to_value(action).unwrap(),
            serde_json::json!({
                "name": "", "virtual_host": "", "cluster": "app", "timeout_ms": 15_000, "idle_timeout_ms": 1000,
                "max_stream_duration_ms": 0,
                "retry": {"on": ["reset"], "attempts": 1, "avoid_previous_hosts": true, "host_attempts": 3},
                "hedge": {"on_per_try_timeout": true}, "mirror": [{"cluster": "shadow", "percent": 12.5}],
                "endpoint_labels": {"stage": "canary"}, "priority": "high",
                "upgrades": [{"type": "websocket", "enabled": true}], "connect": {},
                "internal_redirect": {"codes": [302], "max_hops": 1, "cross_scheme": false},
                "auto_host": true, "attempt_count_header": true, "timeout_status": 204,
            })
        );
    }

    #[test]
    fn overrides_follow_the_order_of_their_bits() {
        World::reset();
        World::with(|world| world.effective = 7);
        let retry = RetryPolicy::on([RetryOn::ServerError]);
        let all = RouteOverrides {
            cluster: Some(b"c"),
            timeout: Some(Duration::from_millis(2)),
            host: Some(b"hh"),
            hash: Some(3),
            endpoint: Some(b"1.2.3.4:5"),
            retry: Some(&retry),
            hedge: Some(HedgePolicy { on_per_try_timeout: true }),
            timeout_status: Some(204),
        };
        RouteHandle(1).select(&all).unwrap();
        let json = serde_json::to_vec(&retry).unwrap();
        let mut expected = Vec::new();
        abi::push_field(&mut expected, b"c");
        expected.extend_from_slice(&2_u64.to_le_bytes());
        abi::push_field(&mut expected, b"hh");
        expected.extend_from_slice(&3_u64.to_le_bytes());
        abi::push_field(&mut expected, b"1.2.3.4:5");
        abi::push_field(&mut expected, &json);
        expected.extend_from_slice(&1_u32.to_le_bytes());
        expected.extend_from_slice(&204_u32.to_le_bytes());
        assert_eq!(World::with(|world| world.stream_mut(7).route.clone()), Some((1, 0xff, expected)));
        let some = RouteOverrides { hash: Some(1), timeout_status: Some(1), ..RouteOverrides::default() };
        RouteHandle(2).select(&some).unwrap();
        let fields = [&1_u64.to_le_bytes()[..], &1_u32.to_le_bytes()].concat();
        assert_eq!(World::with(|world| world.stream_mut(7).route.clone()), Some((2, 0b1000_1000, fields)));
    }
}
