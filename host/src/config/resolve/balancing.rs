//! How requests are spread over a cluster.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{Resolver, place::Place};
use crate::{
    cluster::{
        balance::{
            Fallback, LeastRequest, Locality, Maglev, PeakEwma, Policy, RingHash, Selection, Selector, Settings,
            SlowStart, Subsets, ZoneAware,
        },
        load::LoadWeights,
    },
    config::{
        raw,
        units::{Increase, Percent},
    },
};

impl Resolver<'_, '_> {
    pub(super) fn balancing(&mut self, raw: &raw::Cluster, place: &Place<'_>) -> Settings {
        let default = Settings::default();
        let policy = self.policy(&raw.load_balancer, &place.key("load_balancer"));
        if raw.zone_aware.is_some() && !raw.zone_weights.is_empty() {
            let place = place.key("zone_weights");
            self.diagnostics.error(
                place.span,
                &place.path,
                "`zone_weights` is instead of `zone_aware`: take one of them out",
            );
        }
        let locality = match &raw.zone_aware {
            Some(zone_aware) => {
                let default = ZoneAware::default();
                Locality::ZoneAware(ZoneAware {
                    routing_enabled: zone_aware.enabled.map_or(default.routing_enabled, whole),
                    minimum_cluster_size: zone_aware.minimum_endpoints.unwrap_or(default.minimum_cluster_size),
                    direct: default.direct,
                })
            }
            None if raw.zone_weights.is_empty() => Locality::Ignore,
            None => Locality::Weighted,
        };
        let slow_start = raw.slow_start.as_ref().map(|slow| {
            let default = SlowStart::default();
            let place = place.key("slow_start").key("window");
            SlowStart {
                window: self.timeout(Some(slow.window), default.window, &place),
                aggression: slow.aggression.unwrap_or(default.aggression),
                minimum_weight: slow.minimum_weight.map_or(default.minimum_weight, whole),
            }
        });
        if slow_start.is_some() && !matches!(policy, Policy::RoundRobin | Policy::LeastRequest(_)) {
            let place = place.key("slow_start");
            self.diagnostics.error(place.span, &place.path, "only `round_robin` and `least_request` can start slowly");
        }
        let load_weights = self.load_weights(&raw.load_balancer, &place.key("load_balancer")).map(Arc::new);
        let subsets = raw.subsets.as_ref().map(|subsets| self.subsets(subsets, &place.key("subsets")));
        Settings {
            policy,
            panic_threshold: raw.panic_threshold.map_or(default.panic_threshold, whole),
            overprovisioning_factor: raw.overprovisioning.map_or(default.overprovisioning_factor, factor),
            locality,
            slow_start,
            subsets,
            load_weights,
            ..default
        }
    }

    fn policy(&mut self, raw: &raw::LoadBalancer, place: &Place<'_>) -> Policy {
        let settings = match raw {
            raw::LoadBalancer::Name(name) => {
                return match name {
                    raw::Policy::RoundRobin => Policy::RoundRobin,
                    raw::Policy::LeastRequest => Policy::LeastRequest(LeastRequest::default()),
                    raw::Policy::Random => Policy::Random,
                    raw::Policy::RingHash => Policy::RingHash(RingHash::default()),
                    raw::Policy::Maglev => Policy::Maglev(Maglev::default()),
                    raw::Policy::PeakEwma => Policy::PeakEwma(PeakEwma::default()),
                    // By weights that are made meanwhile: `load_weights`.
                    raw::Policy::ClientSideWeightedRoundRobin => Policy::RoundRobin,
                };
            }
            raw::LoadBalancer::Settings(settings) => settings,
        };
        match settings {
            raw::PolicySettings::RoundRobin(_) | raw::PolicySettings::ClientSideWeightedRoundRobin(_) => {
                Policy::RoundRobin
            }
            raw::PolicySettings::Random(_) => Policy::Random,
            raw::PolicySettings::LeastRequest(raw) => {
                let default = LeastRequest::default();
                Policy::LeastRequest(LeastRequest {
                    selection: raw.choices.map_or(default.selection, Selection::Choices),
                    bias: raw.active_request_bias.unwrap_or(default.bias),
                })
            }
            raw::PolicySettings::RingHash(raw) => {
                let default = RingHash::default();
                let ring = RingHash {
                    minimum_size: raw.minimum_size.unwrap_or(default.minimum_size),
                    maximum_size: raw.maximum_size.unwrap_or(default.maximum_size),
                    balance_factor: raw.bounded_load.map_or(default.balance_factor, factor),
                };
                if ring.minimum_size > ring.maximum_size {
                    let place = place.key("ring_hash").key("minimum_size");
                    self.diagnostics.error(place.span, &place.path, "`minimum_size` is above `maximum_size`");
                }
                Policy::RingHash(ring)
            }
            raw::PolicySettings::Maglev(raw) => {
                let default = Maglev::default();
                let table_size = raw.table_size.unwrap_or(default.table_size);
                if !is_prime(table_size) {
                    let place = place.key("maglev").key("table_size");
                    let message = format!("{table_size} is no prime, and the table's size must be one");
                    self.diagnostics.error_with_help(
                        place.span,
                        &place.path,
                        &message,
                        "primes are 251, 4093, 65537, 655373",
                    );
                }
                Policy::Maglev(Maglev {
                    table_size,
                    balance_factor: raw.bounded_load.map_or(default.balance_factor, factor),
                })
            }
            raw::PolicySettings::PeakEwma(raw) => {
                let default = PeakEwma::default();
                let place = place.key("peak_ewma");
                Policy::PeakEwma(PeakEwma {
                    decay: self.timeout(raw.decay, default.decay, &place.key("decay")),
                    default_latency: self.timeout(
                        raw.default_latency,
                        default.default_latency,
                        &place.key("default_latency"),
                    ),
                })
            }
        }
    }

    /// Where weights are made of what endpoints report.
    fn load_weights(&mut self, raw: &raw::LoadBalancer, place: &Place<'_>) -> Option<LoadWeights> {
        let default = LoadWeights::default();
        let raw = match raw {
            raw::LoadBalancer::Name(raw::Policy::ClientSideWeightedRoundRobin) => return Some(default),
            raw::LoadBalancer::Settings(raw::PolicySettings::ClientSideWeightedRoundRobin(raw)) => raw,
            raw::LoadBalancer::Name(_) | raw::LoadBalancer::Settings(_) => return None,
        };
        let place = place.key("client_side_weighted_round_robin");
        for (index, name) in raw.metrics.iter().enumerate() {
            let known = matches!(name.as_str(), "cpu_utilization" | "mem_utilization" | "application_utilization")
                || matches!(name.split_once('.'), Some(("utilization" | "named_metrics", key)) if !key.is_empty());
            if !known {
                let place = place.key("metrics").index(index);
                let message = format!("`{name}` is no figure of a load report");
                let help = "they are cpu_utilization, mem_utilization, application_utilization, utilization.NAME and named_metrics.NAME";
                self.diagnostics.error_with_help(place.span, &place.path, &message, help);
            }
        }
        let least = Duration::from_millis(100);
        Some(LoadWeights {
            blackout: raw.blackout.map_or(default.blackout, |blackout| blackout.0),
            expiration: self.timeout(raw.expiration, default.expiration, &place.key("expiration")),
            update: self.timeout(raw.update, default.update, &place.key("update")).max(least),
            error_penalty: raw.error_penalty.unwrap_or(default.error_penalty),
            metrics: raw.metrics.clone(),
            out_of_band: raw
                .out_of_band
                .map(|period| self.timeout(Some(period), least, &place.key("out_of_band")).max(least)),
        })
    }

    fn subsets(&mut self, raw: &raw::Subsets, place: &Place<'_>) -> Subsets {
        let mut seen = BTreeSet::new();
        for (index, keys) in raw.keys.iter().enumerate() {
            let place = place.key("keys").index(index);
            let sorted: BTreeSet<_> = keys.iter().collect();
            if sorted.is_empty() || sorted.len() != keys.len() {
                self.diagnostics.error(place.span, &place.path, "a list of labels has at least one, and each once");
            } else if !seen.insert(sorted) {
                self.diagnostics.error(place.span, &place.path, "these labels are listed already");
            }
        }
        let fallback = match raw.fallback {
            raw::SubsetFallback::None => Fallback::None,
            raw::SubsetFallback::Any => Fallback::Any,
            raw::SubsetFallback::Default => Fallback::Default,
        };
        if (fallback == Fallback::Default) == raw.default.is_empty() {
            let place = place.key("default");
            let message = "`default` are the labels for `fallback: default`: one does not make sense without the other";
            self.diagnostics.error(place.span, &place.path, message);
        }
        let selectors = raw.keys.iter().map(|keys| Selector { keys: keys.clone(), fallback: None });
        Subsets { selectors: selectors.collect(), fallback, default_labels: raw.default.clone() }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
pub(super) fn whole(percent: Percent) -> u32 {
    percent.0.round() as u32
}

/// `+40%` is a factor of 140 in Envoy's integers.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is not negative")]
fn factor(increase: Increase) -> u32 {
    (100.0 + increase.0).round() as u32
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_told_from_others() {
        let primes: Vec<_> = (0..30).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65537) && is_prime(5_000_011) && !is_prime(65536));
    }
}
