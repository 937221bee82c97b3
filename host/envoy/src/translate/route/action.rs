//! What becomes of a request: `RouteAction`, `RedirectAction`, `DirectResponseAction`.

use serde_json::Value;

use super::{
    Surroundings,
    filters::{self, Layers},
    policy,
};
use crate::{
    place::Place,
    reader::Reader,
    translate::{common, context::Context, format, headers::Changes},
    units::{self, Object},
};

const TEMPLATE: &str = "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig";

/// A route that sends requests somewhere.
pub(super) fn forward(
    context: &Context<'_>,
    action: &Reader<'_>,
    around: &Surroundings,
    layers: &Layers<'_, '_>,
    buffer: Option<u64>,
    connects: bool,
    object: &mut Object,
) {
    if !target(context, action, (around, layers), object) {
        return;
    }
    object.set_filled("rewrite", rewrite(action));
    object.set_if("auto_host", action.boolean("auto_host_rewrite") == Some(true));
    object.set_if("append_x_forwarded_host", action.flag("append_x_forwarded_host"));
    object.set_some("timeout", action.duration("timeout").map(units::duration));
    let idle = action.duration("idle_timeout").map(units::duration).or_else(|| around.idle_timeout.clone());
    object.set_some("idle_timeout", idle);
    let mut stream = None;
    let mut grpc = None;
    if let Some(limits) = action.message("max_stream_duration") {
        stream = limits.duration("max_stream_duration").map(units::duration);
        grpc = grpc_timeout(&limits, "grpc_timeout_header_max", "grpc_timeout_header_offset");
    }
    let older = grpc_timeout(action, "max_grpc_timeout", "grpc_timeout_offset");
    object.set_some("max_stream_duration", stream);
    object.set_some("grpc_timeout", grpc.or(older));
    match action.message("retry_policy") {
        Some(retry) => object.set_some("retry", policy::retry(&retry, buffer)),
        None if buffer.is_some() => action.ignore_here("a body that is kept for nothing has no limit"),
        None => {}
    }
    if let Some(hedge) = action.message("hedge_policy") {
        object.set_some("hedge", policy::hedge(&hedge));
    }
    object.set_filled("mirror", policy::mirrors(context, action.messages("request_mirror_policies")));
    object.set_filled("hash", policy::hash(action));
    if let Some(labels) = action.message("metadata_match") {
        object.set_filled("endpoint_labels", common::labels(&labels));
    }
    object.set_some("priority", action.text("priority").filter(|priority| *priority == "HIGH").map(|_| "high"));
    policy::upgrades(action, around, connects, object);
    if let Some(redirects) = action.message("internal_redirect_policy") {
        object.set("internal_redirect", policy::internal_redirect(&redirects));
    }
}

/// Where to. False: nowhere that is known, and the answer says so.
fn target(
    context: &Context<'_>,
    action: &Reader<'_>,
    around: (&Surroundings, &Layers<'_, '_>),
    object: &mut Object,
) -> bool {
    let status = match action.text("cluster_not_found_response_code") {
        Some("NOT_FOUND") => 404,
        Some("INTERNAL_SERVER_ERROR") => 500,
        _ => 503,
    };
    if let Some(cluster) = action.text("cluster") {
        if context.routes_to(cluster, &action.place().key("cluster")) {
            object.set("cluster", cluster);
            return true;
        }
    } else if let Some(header) = action.text("cluster_header") {
        if let Some(header) = naming(action, header) {
            object.set("cluster_header", header);
            return true;
        }
    } else if let Some(weighted) = action.message("weighted_clusters") {
        let clusters = self::weighted(context, &weighted, around);
        if !clusters.is_empty() {
            object.set("weighted_clusters", clusters);
            if let Some(header) = weighted.text("header_name") {
                let mut by = Object::default();
                by.set("header", header.to_ascii_lowercase());
                object.set("weighted_by", by);
            } else if weighted.boolean("use_hash_policy") == Some(true) {
                object.set("weighted_by", "hash");
            }
            weighted.ignore("total_weight", "shares are of the sum of weights");
            weighted.ignore("runtime_key_prefix", "no layer of a runtime sets all of them: weights are those written");
            return true;
        }
        weighted.leave();
    } else {
        for key in ["cluster_specifier_plugin", "inline_cluster_specifier_plugin"] {
            action.refuse(key, "a cluster is named, or chosen by weight or by a header");
        }
    }
    // As Envoy answers while there is no such cluster.
    let mut respond = Object::default();
    respond.set("status", status);
    object.set("respond", respond);
    // The rest is about the cluster that is not there.
    for key in action.keys() {
        action.raw(key);
    }
    false
}

/// A header that names a cluster. `None`, with a finding: it cannot.
fn naming(reader: &Reader<'_>, header: &str) -> Option<String> {
    if header.starts_with(':') {
        let reason = "a cluster is named by a header of the request's own, not by a pseudo-header";
        reader.refuse_at("cluster_header", reason);
        return None;
    }
    Some(header.to_ascii_lowercase())
}

/// Sets where one of several destinations sends requests: a cluster named under `key` that is `known`, or the header that names it. `None`: it
/// has neither, which is reported, and is left out.
pub(super) fn destination<'a>(
    reader: Reader<'a>,
    key: &str,
    known: impl FnOnce(&str, &Place) -> bool,
    object: &mut Object,
) -> Option<Reader<'a>> {
    let found = match (reader.text_or_empty(key), reader.text_or_empty("cluster_header")) {
        ("", "") => {
            reader.refuse_whole("names no cluster");
            return None;
        }
        ("", header) => naming(&reader, header).map(|header| ("cluster_header", header)),
        (name, _) => known(name, &reader.place().key(key)).then(|| ("cluster", name.to_owned())),
    };
    let Some((member, value)) = found else {
        reader.leave();
        return None;
    };
    object.set(member, value);
    Some(reader)
}

fn weighted(
    context: &Context<'_>,
    reader: &Reader<'_>,
    (around, layers): (&Surroundings, &Layers<'_, '_>),
) -> Vec<Value> {
    let mut list = Vec::new();
    for cluster in reader.messages("clusters") {
        let mut object = Object::default();
        let known = |name: &str, place: &Place| context.routes_to(name, place);
        let Some(cluster) = destination(cluster, "name", known, &mut object) else { continue };
        object.set("weight", cluster.unsigned("weight").unwrap_or(0));
        object.set_some("host", cluster.text("host_rewrite_literal"));
        object.set_filled("request_headers", Changes::of(&cluster, "request").into_object());
        object.set_filled("response_headers", Changes::of(&cluster, "response").into_object());
        if let Some(labels) = cluster.message("metadata_match") {
            object.set_filled("endpoint_labels", common::labels(&labels));
        }
        let Layers { table, host, route, action, .. } = *layers;
        let layers = Layers { table, host, route, action, cluster: Some(&cluster) };
        object.set_filled("filters", filters::translate(context, around, &layers));
        list.push(object.into());
    }
    list
}

fn rewrite(action: &Reader<'_>) -> Object {
    let mut object = Object::default();
    object.set_some("prefix", action.text("prefix_rewrite").filter(|prefix| !prefix.is_empty()));
    if let Some(expression) = action.message("regex_rewrite") {
        object.set_some("regex", common::substitution(&expression));
    }
    if let Some(policy) = action.message("path_rewrite_policy") {
        match policy.extension() {
            Some((TEMPLATE, template)) => object.set_some("path_template", template.text("path_template_rewrite")),
            Some((other, config)) => config.refuse_whole(format!("paths are not rewritten by {other}")),
            None => {}
        }
    }
    object.set_some("host", action.text("host_rewrite_literal").filter(|host| !host.is_empty()));
    object.set_some("host_header", action.text("host_rewrite_header").map(str::to_ascii_lowercase));
    if let Some(expression) = action.message("host_rewrite_path_regex") {
        object.set_some("host_regex", common::substitution(&expression));
    }
    object
}

fn grpc_timeout(reader: &Reader<'_>, max: &str, offset: &str) -> Option<Value> {
    let (most, less) = (reader.duration(max), reader.duration(offset));
    // Without a maximum the header is not looked at.
    let most = most?;
    let mut object = Object::default();
    if !most.is_zero() {
        object.set("max", units::duration(most));
    }
    object.set_some("offset", less.filter(|offset| !offset.is_zero()).map(units::duration));
    Some(object.into())
}

pub(super) fn redirect(reader: &Reader<'_>) -> Value {
    let mut object = Object::default();
    object.set_if("https", reader.boolean("https_redirect") == Some(true));
    object.set_some("scheme", reader.text("scheme_redirect").filter(|scheme| !scheme.is_empty()));
    object.set_some("host", reader.text("host_redirect").filter(|host| !host.is_empty()));
    object.set_some("port", reader.bounded("port_redirect", 1, 65_535));
    object.set_some("path", reader.text("path_redirect").filter(|path| !path.is_empty()));
    object.set_some("prefix", reader.text("prefix_rewrite").filter(|prefix| !prefix.is_empty()));
    if let Some(expression) = reader.message("regex_rewrite") {
        object.set_some("regex", common::substitution(&expression));
    }
    object.set_if("strip_query", reader.flag("strip_query"));
    let code = match reader.text("response_code") {
        Some("FOUND") => Some(302),
        Some("SEE_OTHER") => Some(303),
        Some("TEMPORARY_REDIRECT") => Some(307),
        Some("PERMANENT_REDIRECT") => Some(308),
        _ => None,
    };
    object.set_some("code", code);
    object.into()
}

pub(super) fn respond(reader: &Reader<'_>) -> Value {
    let mut object = Object::default();
    object.set_some("status", reader.bounded("status", 200, 599));
    if let Some(body) = reader.message("body") {
        object.set_some("body", common::inline_text(&body));
    }
    if let Some(body) = reader.message("body_format") {
        let text = match body.message("text_format_source") {
            Some(source) => common::inline_text(&source),
            None => body.text("text_format").map(str::to_owned),
        };
        if let Some(content) = body.text("content_type") {
            let mut headers = Object::default();
            headers.set("content-type", content);
            object.set("headers", headers);
        }
        if let Some(text) = text {
            match format::problem(&text, format::IN_HEADERS) {
                Some(problem) => body.refuse_here(problem),
                None => object.set("body_format", text),
            }
        }
    }
    object.into()
}
