//! `envoy.config.route.v3.RateLimit`: what is limited, as `builtin:rate-limit` says it.

use serde_json::Value;

use crate::{
    reader::Reader,
    translate::{
        headers::{Changes, Maker},
        route::{header_matcher, parameter_matcher},
    },
    units::Object,
};

/// One entry of a descriptor: where its value comes from.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its key.
    pub key: String,
    /// `from:`
    pub source: Value,
    /// The value, where it is always the same.
    pub constant: Option<String>,
    pub default: Option<String>,
}

/// What one `RateLimit` makes of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Descriptor {
    pub entries: Vec<Entry>,
    /// `when:`
    pub conditions: Vec<Value>,
    /// `cost:`
    pub cost: Option<u64>,
}

/// `None`: it is another stage's, or cannot be said, which is a finding then.
pub(super) fn descriptor(reader: &Reader<'_>, stage: u64) -> Option<Descriptor> {
    if reader.unsigned("stage").unwrap_or(0) != stage {
        for key in reader.keys() {
            reader.raw(key);
        }
        return None;
    }
    reader.ignore("disable_key", "there is no runtime that could switch limits off");
    let mut descriptor = Descriptor::default();
    if let Some(addend) = reader.message("hits_addend") {
        descriptor.cost = addend.unsigned("number").filter(|cost| *cost > 0);
    }
    let mut whole = true;
    for action in reader.messages("actions") {
        whole &= self::action(&action, &mut descriptor);
    }
    whole.then_some(descriptor)
}

/// False, with a finding: it cannot be said.
fn action(action: &Reader<'_>, descriptor: &mut Descriptor) -> bool {
    let mut dynamic = |key: String, source: Value| {
        descriptor.entries.push(Entry { key, source, constant: None, default: None });
        true
    };
    let named = |reader: &Reader<'_>, default: &str| {
        let key = reader.text_or_empty("descriptor_key");
        if key.is_empty() { default.to_owned() } else { key.to_owned() }
    };
    if let Some(header) = action.message("request_headers") {
        let name = header.text_or_empty("header_name").to_ascii_lowercase();
        if optional(&header) {
            return false;
        }
        return dynamic(named(&header, &name), one("request_header", &name));
    }
    if let Some(parameter) = action.message("query_parameters") {
        let name = parameter.text_or_empty("query_parameter_name").to_owned();
        if optional(&parameter) {
            return false;
        }
        return dynamic(named(&parameter, &name), one("query", &name));
    }
    if let Some(address) = action.message("remote_address") {
        drop(address);
        return dynamic("remote_address".to_owned(), Value::from("remote_address"));
    }
    if let Some(mask) = action.message("masked_remote_address") {
        let mut bits = Object::default();
        bits.set("ipv4", mask.bounded("v4_prefix_mask_len", 0, 32).unwrap_or(32));
        bits.set("ipv6", mask.bounded("v6_prefix_mask_len", 0, 128).unwrap_or(128));
        let mut source = Object::default();
        source.set("masked_address", bits);
        return dynamic("masked_remote_address".to_owned(), source.into());
    }
    if let Some(metadata) = action.message("metadata") {
        return self::metadata(&metadata, descriptor);
    }
    let mut constant = |key: String, value: &str| {
        let source = one("value", value);
        descriptor.entries.push(Entry { key, source, constant: Some(value.to_owned()), default: None });
    };
    if let Some(generic) = action.message("generic_key") {
        let value = generic.text_or_empty("descriptor_value");
        constant(named(&generic, "generic_key"), value);
        return true;
    }
    if let Some(matched) = action.message("header_value_match") {
        constant(named(&matched, "header_match"), matched.text_or_empty("descriptor_value"));
        let conditions: Vec<Value> = matched.messages("headers").iter().flat_map(header_matcher).collect();
        return expected(&matched, &conditions, "request_header", descriptor);
    }
    if let Some(matched) = action.message("query_parameter_value_match") {
        constant(named(&matched, "query_match"), matched.text_or_empty("descriptor_value"));
        let parameters = matched.messages("query_parameters");
        let conditions: Vec<Value> = parameters.iter().filter_map(parameter_matcher).collect();
        return expected(&matched, &conditions, "query", descriptor);
    }
    for key in ["source_cluster", "destination_cluster", "dynamic_metadata", "extension"] {
        action.refuse(key, "limits know headers, parameters, addresses, metadata of routes and constants");
    }
    false
}

/// An entry that is left out where its value is missing cannot be said.
fn optional(reader: &Reader<'_>) -> bool {
    let optional = reader.flag("skip_if_absent");
    if optional {
        reader.refuse_at("skip_if_absent", "a rule is not about requests of which a part of its key is missing");
    }
    optional
}

fn one(kind: &str, name: &str) -> Value {
    let mut source = Object::default();
    source.set(kind, name);
    source.into()
}

fn metadata(reader: &Reader<'_>, descriptor: &mut Descriptor) -> bool {
    if reader.text("source") != Some("ROUTE_ENTRY") {
        reader.refuse_at("source", "only the route's metadata is known to limits");
        for key in reader.keys() {
            reader.raw(key);
        }
        return false;
    }
    if optional(reader) {
        return false;
    }
    let mut path = Vec::new();
    if let Some(key) = reader.message("metadata_key") {
        path.push(key.text_or_empty("key").to_owned());
        path.extend(key.messages("path").iter().filter_map(|segment| segment.text("key").map(str::to_owned)));
    }
    let default = reader.text("default_value").filter(|value| !value.is_empty()).map(str::to_owned);
    let key = reader.text_or_empty("descriptor_key").to_owned();
    descriptor.entries.push(Entry { key, source: one("route_metadata", &path.join(".")), constant: None, default });
    true
}

/// Conditions of the router as those of limits.
fn expected(reader: &Reader<'_>, conditions: &[Value], kind: &str, descriptor: &mut Descriptor) -> bool {
    let expects = reader.boolean("expect_match").unwrap_or(true);
    if !expects && conditions.len() != 1 {
        reader.refuse_at("expect_match", "only one condition can be turned round");
        return false;
    }
    for condition in conditions {
        let Some(mut converted) = self::condition(condition, kind) else {
            reader.refuse_here(format!("a limit has no such condition: {condition}"));
            return false;
        };
        if !expects {
            converted.set("not", !converted.has("not"));
        }
        descriptor.conditions.push(converted.into());
    }
    true
}

fn condition(router: &Value, kind: &str) -> Option<Object> {
    let router = router.as_object()?;
    let mut object = Object::default();
    object.set("from", one(kind, router.get("name")?.as_str()?));
    for (key, value) in router {
        let text = value.as_str().unwrap_or_default();
        match key.as_str() {
            "name" => {}
            "exact" => object.set("is", text),
            "prefix" => object.set("prefix", text),
            "suffix" => object.set("regex", format!("{}$", regex_lite::escape(text))),
            "contains" => object.set("regex", regex_lite::escape(text)),
            // Theirs are searched for, the router's match everything.
            "regex" => object.set("regex", format!("^(?:{text})$")),
            "present" => object.set("present", value.clone()),
            "invert" => object.set_if("not", value.as_bool() == Some(true)),
            _ => return None,
        }
    }
    Some(object)
}

/// A rule of its own for a descriptor. `global`: the service decides.
pub(super) fn rule(name: &str, descriptor: &Descriptor, global: bool) -> Object {
    let mut rule = Object::default();
    rule.set("name", name);
    rule.set_filled("when", descriptor.conditions.clone());
    let parts = descriptor.entries.iter().map(|entry| {
        let mut part = Object::default();
        part.set("from", entry.source.clone());
        if global {
            part.set("as", entry.key.clone());
        }
        part.set_some("default", entry.default.clone());
        Value::from(part)
    });
    rule.set_filled("key", parts.collect::<Vec<_>>());
    rule.set_if("global", global);
    rule.set_some("cost", descriptor.cost);
    rule
}

/// What Envoy tells clients who are over a limit, whoever counts: the rest of `answer:`.
pub(super) fn answer(reader: &Reader<'_>, mut answer: Object) -> Value {
    let mut headers = Changes::default();
    for option in reader.messages("response_headers_to_add") {
        headers.option(&option, Maker::Filter);
    }
    answer.set_filled("headers", headers.values());
    answer.set("retry_after", false);
    answer.set("ratelimit", "never");
    if reader.text("enable_x_ratelimit_headers").is_some_and(|version| version != "OFF") {
        answer.set("x_ratelimit", "always");
    }
    if !reader.flag("rate_limited_as_resource_exhausted") {
        answer.set("grpc_resource_exhausted", false);
    }
    answer.into()
}
