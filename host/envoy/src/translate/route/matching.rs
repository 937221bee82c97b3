//! `envoy.config.route.v3.RouteMatch`, and matchers of headers and parameters.

use serde_json::Value;

use crate::{
    reader::Reader,
    translate::common::{self, Matches},
    units::{self, Object},
};

const TEMPLATE: &str = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";

pub(super) fn translate(reader: &Reader<'_>) -> Object {
    let mut object = Object::default();
    path(reader, &mut object);
    if reader.boolean("case_sensitive") == Some(false) && !object.has("path_regex") && !object.is_empty() {
        object.set("ignore_case", true);
    }
    headers(reader, &mut object);
    let query: Vec<_> = reader.messages("query_parameters").iter().filter_map(parameter_matcher).collect();
    object.set_filled("query", query);
    if let Some(grpc) = reader.message("grpc") {
        drop(grpc);
        object.set("grpc", true);
    }
    if let Some(tls) = reader.message("tls_context") {
        let mut conditions = Object::default();
        conditions.set_some("presented", tls.boolean("presented"));
        conditions.set_some("validated", tls.boolean("validated"));
        object.set_filled("tls", conditions);
    }
    if let Some(fraction) = reader.message("runtime_fraction") {
        object.set("fraction", units::percent(common::runtime_fraction(&fraction)));
    }
    for matcher in reader.messages("dynamic_metadata") {
        matcher.refuse_whole("filters tell the router things as properties of the stream: `match.properties`");
    }
    let states: Vec<Value> = reader.messages("filter_state").into_iter().filter_map(state_matcher).collect();
    object.set_filled("properties", states);
    object
}

fn path(reader: &Reader<'_>, object: &mut Object) {
    if let Some(prefix) = reader.text("prefix") {
        // Everything begins so.
        if prefix != "/" && !prefix.is_empty() {
            object.set("path_prefix", prefix);
        }
        return;
    }
    if let Some(path) = reader.text("path") {
        return object.set("path", path);
    }
    if let Some(prefix) = reader.text("path_separated_prefix") {
        return object.set("path_separated_prefix", prefix);
    }
    if let Some(expression) = reader.message("safe_regex") {
        return object.set_some("path_regex", common::regex(&expression));
    }
    if let Some(connect) = reader.message("connect_matcher") {
        drop(connect);
        return object.set("connect", true);
    }
    let Some(policy) = reader.message("path_match_policy") else {
        return reader.refuse_here("says nothing about the path");
    };
    match policy.extension() {
        Some((TEMPLATE, template)) => object.set_some("path_template", template.text("path_template")),
        Some((other, config)) => config.refuse_whole(format!("paths are not matched by {other}")),
        None => {}
    }
}

fn headers(reader: &Reader<'_>, object: &mut Object) {
    let (mut conditions, mut method) = (Vec::new(), None);
    for matcher in reader.messages("headers") {
        let found = header_matcher(&matcher);
        // The method has a word of its own.
        match found.as_slice() {
            [only]
                if only["name"] == ":method"
                    && only.as_object().is_some_and(|only| only.len() == 2)
                    && method.is_none() =>
            {
                match only.get("exact") {
                    Some(exact) => method = Some(exact.clone()),
                    None => conditions.extend(found),
                }
            }
            _ => conditions.extend(found),
        }
    }
    object.set_some("method", method);
    object.set_filled("headers", conditions);
}

/// What filters in WebAssembly have set as a property; others leave nothing that the router could see.
fn state_matcher(reader: Reader<'_>) -> Option<Value> {
    let Some(key) = reader.text_or_empty("key").strip_prefix("wasm.").filter(|key| !key.is_empty()) else {
        reader.refuse_at("key", "only state that filters in WebAssembly have set is known, `wasm.NAME`");
        reader.leave();
        return None;
    };
    let Some(matcher) = reader.message("string_match") else {
        reader.refuse_here("is compared as a text: string_match");
        reader.leave();
        return None;
    };
    let matches = common::string_matcher(&matcher)?;
    let mut condition = Object::default();
    condition.set("path", vec![Value::from(key)]);
    condition.set(matches.kind, matches.text);
    condition.set_if("ignore_case", matches.ignore_case);
    Some(condition.into())
}

/// Conditions on one header, all of which must hold. Empty, with a finding: it cannot be said.
pub(in crate::translate) fn header_matcher(reader: &Reader<'_>) -> Vec<Value> {
    let name = reader.text_or_empty("name").to_ascii_lowercase();
    let invert = reader.flag("invert_match");
    let missing_as_empty = reader.flag("treat_missing_header_as_empty");
    let mut condition = Object::default();
    condition.set("name", name.clone());
    let matches = if let Some(matcher) = reader.message("string_match") {
        match common::string_matcher(&matcher) {
            Some(matches) => Some(matches),
            None => return Vec::new(),
        }
    } else if let Some(expression) = reader.message("safe_regex_match") {
        match common::regex(&expression) {
            Some(text) => Some(Matches { kind: "regex", text, ignore_case: false }),
            None => return Vec::new(),
        }
    } else {
        let older = [
            ("exact_match", "exact"),
            ("prefix_match", "prefix"),
            ("suffix_match", "suffix"),
            ("contains_match", "contains"),
        ];
        older.into_iter().find_map(|(key, kind)| {
            reader.text(key).map(|text| Matches { kind, text: text.to_owned(), ignore_case: false })
        })
    };
    let range = reader.message("range_match").map(|range| {
        let mut object = Object::default();
        object.set("start", range.signed("start").unwrap_or(0));
        object.set("end", range.signed("end").unwrap_or(0));
        object
    });
    match (matches, range) {
        (Some(matches), _) => {
            condition.set(matches.kind, matches.text);
            condition.set_if("ignore_case", matches.ignore_case);
        }
        (None, Some(range)) => condition.set("range", range),
        (None, None) => {
            let present = reader.boolean("present_match").unwrap_or(true);
            condition.set("present", present != invert);
            return vec![condition.into()];
        }
    }
    condition.set_if("treat_missing_as_empty", missing_as_empty);
    condition.set_if("invert", invert);
    let mut conditions = vec![condition.into()];
    if invert && !missing_as_empty {
        // In Envoy a header that is not there matches nothing, the opposite of something neither.
        let mut there = Object::default();
        there.set("name", name);
        there.set("present", true);
        conditions.push(there.into());
    }
    conditions
}

/// `envoy.config.route.v3.QueryParameterMatcher`; `None`, with a finding: it cannot be carried over.
pub(in crate::translate) fn parameter_matcher(reader: &Reader<'_>) -> Option<Value> {
    let mut condition = Object::default();
    condition.set("name", reader.text_or_empty("name"));
    match reader.message("string_match") {
        Some(matcher) => {
            let matches = common::string_matcher(&matcher)?;
            condition.set(matches.kind, matches.text);
            condition.set_if("ignore_case", matches.ignore_case);
        }
        None => condition.set("present", reader.boolean("present_match").unwrap_or(true)),
    }
    Some(condition.into())
}
