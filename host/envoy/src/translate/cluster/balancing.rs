//! How a cluster's endpoints are chosen: `lb_policy`, `load_balancing_policy`, and what goes with them.

use serde_json::{Map, Value};

use super::discovery::Found;
use crate::{
    reader::Reader,
    translate::common,
    units::{self, Object},
};

const EXTENSIONS: &str = "envoy.extensions.load_balancing_policies.";

pub(super) fn translate(reader: &Reader<'_>, found: &Found, config: &mut Object) {
    let mut balancer = Balancer::default();
    older(reader, &mut balancer);
    if let Some(policy) = reader.message("load_balancing_policy") {
        self::policies(&policy, &mut balancer);
    }
    balancer.write(config);
    config.set_some("overprovisioning", found.assignment.overprovisioning.clone());
    if balancer.weighted_zones {
        let zones: Map<String, Value> =
            found.assignment.zones.iter().map(|(zone, weight)| (zone.clone(), Value::from(*weight))).collect();
        config.set_filled("zone_weights", zones);
    }
}

/// What is known of the choice.
#[derive(Debug, Default)]
struct Balancer {
    name: Option<&'static str>,
    settings: Object,
    panic_threshold: Option<f64>,
    zone_aware: Option<Value>,
    weighted_zones: bool,
    slow_start: Option<Value>,
    subsets: Option<Value>,
    bounded_load: Option<String>,
}

impl Balancer {
    fn write(&self, config: &mut Object) {
        let name = self.name.unwrap_or("round_robin");
        let mut settings = self.settings.clone();
        if matches!(name, "ring_hash" | "maglev") {
            settings.set_some("bounded_load", self.bounded_load.clone());
        }
        match settings.filled() {
            Some(settings) => {
                let mut object = Object::default();
                object.set(name, settings);
                config.set("load_balancer", object);
            }
            None => config.set("load_balancer", name),
        }
        config.set_some("panic_threshold", self.panic_threshold.map(units::percent));
        config.set_some("zone_aware", self.zone_aware.clone());
        config.set_some("slow_start", self.slow_start.clone());
        config.set_some("subsets", self.subsets.clone());
    }
}

fn older(reader: &Reader<'_>, balancer: &mut Balancer) {
    balancer.name = match reader.text("lb_policy") {
        None | Some("ROUND_ROBIN") => Some("round_robin"),
        Some("LEAST_REQUEST") => Some("least_request"),
        Some("RANDOM") => Some("random"),
        Some("RING_HASH") => Some("ring_hash"),
        Some("MAGLEV") => Some("maglev"),
        // The other field says which.
        Some("LOAD_BALANCING_POLICY_CONFIG") => None,
        Some(other) => {
            reader.refuse_at("lb_policy", format!("{other} is not supported"));
            None
        }
    };
    if let Some(ring) = reader.message("ring_hash_lb_config") {
        self::ring(&ring, balancer);
    }
    if let Some(maglev) = reader.message("maglev_lb_config") {
        balancer.settings.set_some("table_size", maglev.bounded("table_size", 2, 5_000_011));
    }
    if let Some(least) = reader.message("least_request_lb_config") {
        self::least_request(&least, balancer);
    }
    if let Some(turns) = reader.message("round_robin_lb_config") {
        self::slow_start(&turns, balancer);
    }
    if let Some(common) = reader.message("common_lb_config") {
        self::common_config(&common, balancer);
    }
    if let Some(subsets) = reader.message("lb_subset_config") {
        balancer.subsets = self::subsets(&subsets);
    }
}

fn common_config(common: &Reader<'_>, balancer: &mut Balancer) {
    balancer.panic_threshold = common.message("healthy_panic_threshold").map(|share| common::percent(&share));
    locality(common, balancer);
    consistent(common, balancer);
    common.ignore("update_merge_window", "endpoints change without a window");
    if let Some(status) = common.message("override_host_status") {
        status.ignore_whole("a route's `endpoint_header` takes healthy endpoints");
    }
}

/// Which zones get how much.
fn locality(reader: &Reader<'_>, balancer: &mut Balancer) {
    if let Some(weighted) = reader.message("locality_weighted_lb_config") {
        drop(weighted);
        balancer.weighted_zones = true;
    }
    if let Some(aware) = reader.message("zone_aware_lb_config") {
        let mut object = Object::default();
        let enabled = aware.message("routing_enabled").map(|share| common::percent(&share));
        object.set_some("enabled", enabled.map(units::percent));
        object.set_some("minimum_endpoints", aware.bounded("min_cluster_size", 0, u32::MAX.into()));
        balancer.zone_aware = Some(object.into());
    }
}

fn consistent(reader: &Reader<'_>, balancer: &mut Balancer) {
    if let Some(hashing) = reader.message("consistent_hashing_lb_config") {
        hashing.only("use_hostname_for_hashing", false, "endpoints are hashed by their addresses");
        self::bounded(&hashing, balancer);
    }
}

fn bounded(reader: &Reader<'_>, balancer: &mut Balancer) {
    if let Some(factor) = reader.bounded("hash_balance_factor", 100, 100_000) {
        #[expect(clippy::cast_precision_loss, reason = "at most 100,000")]
        let load = units::increase(factor as f64 - 100.0);
        balancer.bounded_load = Some(load);
    }
}

fn ring(ring: &Reader<'_>, balancer: &mut Balancer) {
    if let Some(function @ ("MURMUR_HASH_2" | "DEFAULT_HASH")) = ring.text("hash_function")
        && function == "MURMUR_HASH_2"
    {
        ring.refuse_at("hash_function", "endpoints are hashed with xxHash64 only");
    }
    for (key, name) in [("minimum_ring_size", "minimum_size"), ("maximum_ring_size", "maximum_size")] {
        balancer.settings.set_some(name, ring.bounded(key, 1, 8_388_608));
    }
}

fn least_request(least: &Reader<'_>, balancer: &mut Balancer) {
    balancer.settings.set_some("choices", least.bounded("choice_count", 2, 1000));
    if let Some(bias) = least.message("active_request_bias") {
        balancer.settings.set_some("active_request_bias", common::runtime_double(&bias));
    }
    self::slow_start(least, balancer);
}

fn slow_start(reader: &Reader<'_>, balancer: &mut Balancer) {
    let Some(slow) = reader.message("slow_start_config") else { return };
    let Some(window) = slow.limit("slow_start_window") else {
        slow.refuse_here("has no window");
        return;
    };
    let mut object = Object::default();
    object.set("window", units::duration(window));
    let aggression = slow.message("aggression").and_then(|aggression| common::runtime_double(&aggression));
    object.set_some("aggression", aggression);
    let share = slow.message("min_weight_percent").map(|share| common::percent(&share));
    object.set_some("minimum_weight", share.map(units::percent));
    balancer.slow_start = Some(object.into());
}

fn load_weights(reader: &Reader<'_>, balancer: &mut Balancer) {
    let settings = &mut balancer.settings;
    settings.set_some("blackout", reader.duration("blackout_period").map(units::duration));
    settings.set_some("expiration", reader.limit("weight_expiration_period").map(units::duration));
    settings.set_some("update", reader.limit("weight_update_period").map(units::duration));
    settings.set_some("error_penalty", reader.number("error_utilization_penalty"));
    settings.set_filled("metrics", reader.texts("metric_names_for_computing_utilization"));
    let period = reader.limit("oob_reporting_period");
    if reader.boolean("enable_oob_load_report") == Some(true) {
        // What Envoy asks for where nothing is said.
        settings.set("out_of_band", period.map_or_else(|| "10s".to_owned(), units::duration));
    }
}

fn subsets(reader: &Reader<'_>) -> Option<Value> {
    let mut object = Object::default();
    let mut keys = Vec::new();
    for selector in reader.messages("subset_selectors") {
        keys.push(Value::from(selector.texts("keys")));
        selector.only("fallback_policy", "NOT_DEFINED", "the fallback is the same for all lists of keys");
        selector.only(
            "single_host_per_subset",
            false,
            "subsets may have several endpoints, of which one is balanced to",
        );
    }
    object.set("keys", keys.clone());
    let fallback = match reader.text("fallback_policy") {
        Some("ANY_ENDPOINT") => Some("any"),
        Some("DEFAULT_SUBSET") => Some("default"),
        _ => None,
    };
    object.set_some("fallback", fallback);
    let labels = reader.raw("default_subset").and_then(Value::as_object);
    let labels: Map<String, Value> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), common::label(value)?.into())))
        .collect();
    if fallback == Some("default") {
        object.set("default", labels);
    }
    if keys.is_empty() {
        reader.refuse_at("subset_selectors", "is empty: then nothing chooses a subset");
        return None;
    }
    Some(object.into())
}

/// `load_balancing_policy`: the first that is known is taken, as in Envoy.
fn policies(reader: &Reader<'_>, balancer: &mut Balancer) {
    let mut taken = false;
    for policy in reader.messages("policies") {
        let Some(extension) = policy.message("typed_extension_config") else { continue };
        extension.text("name");
        let Some((kind, config)) = extension.any("typed_config") else { continue };
        let known = kind.strip_prefix(EXTENSIONS).unwrap_or_default();
        if taken {
            config.ignore_whole("an earlier policy of the list is taken");
            continue;
        }
        taken = self::policy(known, config, balancer);
    }
    if !taken {
        reader.refuse_here("none of the policies is supported");
    }
}

fn policy(kind: &str, config: Reader<'_>, balancer: &mut Balancer) -> bool {
    balancer.name = Some(match kind {
        "round_robin.v3.RoundRobin" => "round_robin",
        "random.v3.Random" => "random",
        "least_request.v3.LeastRequest" => "least_request",
        "ring_hash.v3.RingHash" => "ring_hash",
        "maglev.v3.Maglev" => "maglev",
        "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin" => "client_side_weighted_round_robin",
        "wrr_locality.v3.WrrLocality" => {
            balancer.weighted_zones = true;
            if let Some(inner) = config.message("endpoint_picking_policy") {
                self::policies(&inner, balancer);
            }
            return true;
        }
        _ => {
            let reason = format!("the policy {} is not known: a later one of the list is taken", config.type_name());
            config.ignore_whole(reason);
            return false;
        }
    });
    if let Some(locality) = config.message("locality_lb_config") {
        self::locality(&locality, balancer);
    }
    if let Some(weighted) = config.message("locality_weighted_lb_config") {
        drop(weighted);
        balancer.weighted_zones = true;
    }
    match kind {
        "round_robin.v3.RoundRobin" => self::slow_start(&config, balancer),
        "least_request.v3.LeastRequest" => {
            self::least_request(&config, balancer);
            config.only("selection_method", "N_CHOICES", "the least busy of some is taken, not of all");
        }
        "ring_hash.v3.RingHash" => {
            self::ring(&config, balancer);
            config.only("use_hostname_for_hashing", false, "endpoints are hashed by their addresses");
            self::bounded(&config, balancer);
            self::consistent(&config, balancer);
        }
        "maglev.v3.Maglev" => {
            balancer.settings.set_some("table_size", config.bounded("table_size", 2, 5_000_011));
            self::consistent(&config, balancer);
        }
        "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin" => {
            self::load_weights(&config, balancer);
            self::slow_start(&config, balancer);
        }
        _ => {}
    }
    true
}
