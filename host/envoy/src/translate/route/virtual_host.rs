//! `envoy.config.route.v3.VirtualHost`

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Surroundings, action, filters, matching, policy};
use crate::{
    reader::Reader,
    translate::{common, context::Context, headers::Changes},
    units::Object,
};

pub(super) fn translate(
    context: &Context<'_>,
    host: &Reader<'_>,
    table: &Reader<'_>,
    around: &Surroundings,
    taken: &mut BTreeSet<String>,
) -> Option<Value> {
    let mut object = Object::default();
    object.set_some("name", host.text("name").filter(|name| !name.is_empty()));
    let domains = domains(host, taken);
    object.set("domains", domains.clone());
    let tls = match host.text("require_tls") {
        Some("EXTERNAL_ONLY") => Some("external_only"),
        Some("ALL") => Some("all"),
        _ => None,
    };
    object.set_some("require_tls", tls);
    object.set_filled("request_headers", Changes::of(host, "request").into_object());
    object.set_filled("response_headers", Changes::of(host, "response").into_object());
    if let Some(retry) = host.message("retry_policy") {
        object.set_some("retry", policy::retry(&retry, buffer(host)));
    } else if host.has("per_request_buffer_limit_bytes") || host.has("request_body_buffer_limit") {
        buffer(host);
    }
    if let Some(hedge) = host.message("hedge_policy") {
        object.set_some("hedge", policy::hedge(&hedge));
    }
    let own = host.messages("request_mirror_policies");
    let mirrors = if own.is_empty() { table.messages("request_mirror_policies") } else { own };
    object.set_filled("mirror", policy::mirrors(context, mirrors));
    object.set_if("include_request_attempt_count", host.flag("include_request_attempt_count"));
    for cluster in host.messages("virtual_clusters") {
        cluster.ignore_whole("virtual clusters are statistics: `builtin:stats-tags` counts by whatever requests have");
    }
    let layers = filters::Layers { table, host, route: None, action: None, cluster: None };
    let configured = filters::translate(context, around, &layers);
    object.set_filled("filters", configured);
    let mut routes = Vec::new();
    for route in host.messages("routes") {
        routes.extend(self::route(context, &route.unit(), host, table, around));
    }
    // Read by every route that takes it over.
    host.raw("rate_limits");
    host.raw("cors");
    host.raw("typed_per_filter_config");
    object.set("routes", routes);
    (!domains.is_empty()).then(|| object.into())
}

/// The largest body that is kept for another try.
fn buffer(reader: &Reader<'_>) -> Option<u64> {
    let old = reader.unsigned("per_request_buffer_limit_bytes");
    reader.unsigned("request_body_buffer_limit").or(old)
}

/// Domains, each of one virtual host. A port of any number is no port.
fn domains(host: &Reader<'_>, taken: &mut BTreeSet<String>) -> Vec<String> {
    let mut own = BTreeSet::new();
    let mut domains = Vec::new();
    for (index, domain) in host.texts("domains").into_iter().enumerate() {
        let lower = domain.to_ascii_lowercase();
        let bare = match lower.strip_suffix(":*") {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => lower.clone(),
        };
        let place = host.place().key("domains").index(index);
        let stars = bare.matches('*').count();
        if bare.is_empty() || stars > 1 || (stars == 1 && !bare.starts_with('*') && !bare.ends_with('*')) {
            crate::reader::report(
                host.findings(),
                &place,
                crate::Severity::Refused,
                format!("{domain:?} is no domain"),
            );
            continue;
        }
        if !own.insert(bare.clone()) {
            // `a.com` and `a.com:*` are the same here.
            continue;
        }
        if !taken.insert(bare.clone()) {
            let reason =
                format!("{domain:?} is another virtual host's as well; without a port every port is meant here");
            crate::reader::report(host.findings(), &place, crate::Severity::Refused, reason);
            continue;
        }
        domains.push(bare);
    }
    if host.has("matcher") {
        host.refuse("matcher", "trees of matchers are not supported: write routes");
    }
    domains
}

fn route(
    context: &Context<'_>,
    route: &Reader<'_>,
    host: &Reader<'_>,
    table: &Reader<'_>,
    around: &Surroundings,
) -> Option<Value> {
    let mut object = Object::default();
    object.set_some("name", route.text("name").filter(|name| !name.is_empty()));
    let Some(matcher) = route.message("match") else {
        route.refuse_at("match", "is missing");
        return None;
    };
    let refused = context.findings.refused();
    let conditions = matching::translate(&matcher);
    let connects = conditions.has("connect");
    drop(matcher);
    // A route that takes more requests than it was to would send them astray.
    let whole = context.findings.refused() == refused;
    object.set_filled("match", conditions);
    let action = route.message("route");
    let layers = filters::Layers { table, host, route: Some(route), action: action.as_ref(), cluster: None };
    match &action {
        Some(action) => action::forward(context, action, around, &layers, buffer(route), connects, &mut object),
        None => {
            if buffer(route).is_some() {
                route.report_at("per_request_buffer_limit_bytes", crate::Severity::Ignored, "nothing is sent anywhere");
            }
            if let Some(redirect) = route.message("redirect") {
                object.set("redirect", action::redirect(&redirect));
            } else if let Some(respond) = route.message("direct_response") {
                object.set("respond", action::respond(&respond));
            } else {
                for key in ["filter_action", "non_forwarding_action"] {
                    route.refuse(key, "a route sends requests to a cluster, redirects or answers them");
                }
                if !["filter_action", "non_forwarding_action"].iter().any(|key| route.has(key)) {
                    route.refuse_here("does nothing: no `route`, `redirect` or `direct_response`");
                }
                return None;
            }
        }
    }
    object.set_filled("request_headers", Changes::of(route, "request").into_object());
    object.set_filled("response_headers", Changes::of(route, "response").into_object());
    if let Some(metadata) = route.message("metadata") {
        object.set_filled("metadata", common::metadata(&metadata));
    }
    route.ignore("stat_prefix", "routes are counted by their name");
    let mut configured = Map::new();
    configured.extend(filters::translate(context, around, &layers));
    filters::tracing(around, route, &mut configured);
    object.set_filled("filters", configured);
    if let Some(action) = &action {
        // Read by whoever limits rates or answers preflights.
        filters::leftovers(around, action);
    }
    whole.then(|| object.into())
}
