//! `envoy.config.cluster.v3.OutlierDetection` to `outlier_detection:`.

use serde_json::Value;

use crate::{
    reader::Reader,
    units::{self, Object},
};

pub(super) fn translate(reader: &Reader<'_>, config: &mut Object) {
    let Some(outliers) = reader.message("outlier_detection") else { return };
    let mut object = Object::default();
    object.set_some("consecutive_5xx", count(&outliers, "consecutive_5xx", "enforcing_consecutive_5xx", 100));
    let gateway = ("consecutive_gateway_failure", "enforcing_consecutive_gateway_failure");
    if enforced(&outliers, gateway.1, 0) {
        object.set("consecutive_gateway_failure", outliers.unsigned(gateway.0).unwrap_or(5));
    } else {
        // Not enforced by default, so its number says nothing.
        outliers.raw(gateway.0);
    }
    local_origin(&outliers, &mut object);
    for (key, name) in
        [("interval", "interval"), ("base_ejection_time", "ejection"), ("max_ejection_time", "max_ejection")]
    {
        object.set_some(name, outliers.limit(key).map(units::duration));
    }
    object.set_some("jitter", outliers.duration("max_ejection_time_jitter").map(units::duration));
    let most = outliers.bounded("max_ejection_percent", 0, 100);
    object.set_some("max_ejected", most.map(|share| format!("{share}%")));
    object.set_some("success_rate", success_rate(&outliers));
    object.set_some("failure_percentage", failure_percentage(&outliers));
    if outliers.boolean("always_eject_one_host") == Some(false) {
        let reason = "one endpoint may always be ejected, however few there are";
        outliers.report_at("always_eject_one_host", crate::Severity::Ignored, reason);
    }
    let reason = "an endpoint that passes a health check comes back";
    outliers.only("successful_active_health_check_uneject_host", true, reason);
    config.set("outlier_detection", object);
}

/// Whether a detector ejects what it finds. Envoy may do so in a share of the cases.
fn enforced(reader: &Reader<'_>, key: &str, default: u64) -> bool {
    match reader.unsigned(key).unwrap_or(default) {
        0 => false,
        100 => true,
        share => {
            reader.refuse_at(key, format!("{share}%: a detector ejects always or never"));
            true
        }
    }
}

/// A number of failures; 0 is never.
fn count(reader: &Reader<'_>, key: &str, enforcing: &str, default: u64) -> Option<u64> {
    let number = reader.unsigned(key);
    if enforced(reader, enforcing, default) { number } else { Some(0) }
}

fn local_origin(reader: &Reader<'_>, object: &mut Object) {
    let apart = reader.flag("split_external_local_origin_errors");
    let number = reader.unsigned("consecutive_local_origin_failure");
    let ejects = enforced(reader, "enforcing_consecutive_local_origin_failure", 100);
    if apart {
        object.set("consecutive_local_origin_failure", if ejects { number.unwrap_or(5) } else { 0 });
    }
    reader.ignore_all(
        &["enforcing_local_origin_success_rate", "enforcing_failure_percentage_local_origin"],
        "rates count failures to connect together with answers",
    );
}

fn success_rate(reader: &Reader<'_>) -> Option<Value> {
    let mut object = Object::default();
    if !enforced(reader, "enforcing_success_rate", 100) {
        object.set("enabled", false);
    }
    object.set_some("minimum_endpoints", reader.unsigned("success_rate_minimum_hosts"));
    object.set_some("requests", reader.unsigned("success_rate_request_volume"));
    let deviations = reader.bounded("success_rate_stdev_factor", 0, 1_000_000);
    #[expect(clippy::cast_precision_loss, reason = "at most a million")]
    object.set_some("deviations", deviations.map(|thousandths| thousandths as f64 / 1000.0));
    object.filled()
}

fn failure_percentage(reader: &Reader<'_>) -> Option<Value> {
    let threshold = reader.bounded("failure_percentage_threshold", 0, 100);
    let minimum = reader.unsigned("failure_percentage_minimum_hosts");
    let requests = reader.unsigned("failure_percentage_request_volume");
    if !enforced(reader, "enforcing_failure_percentage", 0) {
        return None;
    }
    let mut object = Object::default();
    object.set_some("threshold", threshold.map(|share| format!("{share}%")));
    object.set_some("minimum_endpoints", minimum);
    object.set_some("requests", requests);
    Some(object.into())
}
