//! `envoy.config.cluster.v3.CircuitBreakers` to `circuit_breakers:`.

use crate::{
    reader::Reader,
    translate::common,
    units::{self, Object},
};

pub(super) fn translate(reader: &Reader<'_>, config: &mut Object) {
    let Some(breakers) = reader.message("circuit_breakers") else { return };
    let (mut object, mut high) = (Object::default(), Object::default());
    for thresholds in breakers.messages("thresholds") {
        let object = if thresholds.text("priority") == Some("HIGH") { &mut high } else { &mut object };
        limits(&thresholds, object);
        budget(&thresholds, object);
        thresholds.ignore("track_remaining", "what remains is always told");
    }
    for thresholds in breakers.messages("per_host_thresholds") {
        if thresholds.text("priority") == Some("HIGH") {
            thresholds.refuse_whole("connections to one endpoint are limited whatever their requests' priority");
            continue;
        }
        let most = thresholds.bounded("max_connections", 1, u32::MAX.into());
        object.set_some("connections_per_endpoint", most);
    }
    object.set_some("high", high.filled());
    config.set_some("circuit_breakers", object.filled());
}

fn limits(thresholds: &Reader<'_>, object: &mut Object) {
    object.set_some("connections", thresholds.bounded("max_connections", 1, u32::MAX.into()));
    object.set_some("pending", thresholds.unsigned("max_pending_requests"));
    object.set_some("requests", thresholds.bounded("max_requests", 1, u32::MAX.into()));
    if !thresholds.has("retry_budget") {
        object.set_some("retries", thresholds.unsigned("max_retries"));
    } else {
        // Envoy looks at the budget only.
        thresholds.raw("max_retries");
    }
}

fn budget(thresholds: &Reader<'_>, object: &mut Object) {
    let Some(budget) = thresholds.message("retry_budget") else { return };
    let share = budget.message("budget_percent").map_or(20.0, |share| common::percent(&share));
    object.set("retry_budget", units::percent(share));
    object.set_some("retry_minimum", budget.unsigned("min_retry_concurrency"));
}
