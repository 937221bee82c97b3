//! `envoy.extensions.filters.http.cors.v3` to `builtin:cors`.

use serde_json::Value;

use super::per_route::{Innermost, innermost};
use crate::{
    reader::Reader,
    translate::{common, route::Layers},
    units::{self, Object},
};

/// An origin that no page can have (RFC 6761, section 6.4): the filter wants one, and in Envoy only routes have policies.
const NOBODY: &str = "https://nobody.invalid";

/// The filter without a policy.
pub(super) fn nobody() -> Object {
    let mut definition = Object::default();
    definition.set("module", "builtin:cors");
    let mut config = Object::default();
    config.set("allow_origins", [NOBODY].map(Value::from).to_vec());
    definition.set("config", config);
    definition
}

pub(super) fn per_route(layers: &Layers<'_, '_>, name: &str) -> Option<Value> {
    if layers.is_said(name) {
        return match innermost(layers, name) {
            Innermost::Config(policy) => self::policy(&policy),
            Innermost::Disabled(_) => off(),
            Innermost::Nothing => None,
        };
    }
    // The older place, beside the route's action.
    let own = layers.action.and_then(|action| action.message("cors"));
    let policy = match (layers.route, own) {
        (Some(_), own) => own,
        (None, _) => layers.host.message("cors"),
    };
    self::policy(&policy?)
}

fn off() -> Option<Value> {
    let mut config = Object::default();
    config.set("allow_origins", [NOBODY].map(Value::from).to_vec());
    Some(config.into())
}

fn policy(reader: &Reader<'_>) -> Option<Value> {
    let enabled = reader.message("filter_enabled").map_or(100.0, |share| common::runtime_fraction(&share));
    if enabled <= 0.0 {
        for key in reader.keys() {
            reader.raw(key);
        }
        reader.ignore_here("is switched off");
        return off();
    }
    if enabled < 100.0 {
        reader.refuse_at("filter_enabled", "the policy is for all requests or for none");
    }
    if let Some(shadow) = reader.message("shadow_enabled") {
        shadow.ignore_whole("origins are not counted without being answered");
    }
    let mut config = Object::default();
    let origins: Vec<String> = reader.messages("allow_origin_string_match").iter().filter_map(origin).collect();
    let every = origins.iter().any(|origin| origin == "*");
    if origins.is_empty() {
        // The rest is about origins that there are not.
        for key in ["allow_methods", "allow_headers", "expose_headers", "allow_credentials", "max_age"] {
            reader.raw(key);
        }
        return off();
    }
    config.set("allow_origins", origins);
    config.set_filled("allow_methods", list(reader, "allow_methods"));
    config.set_filled("allow_headers", list(reader, "allow_headers"));
    config.set_filled("expose_headers", list(reader, "expose_headers"));
    if reader.boolean("allow_credentials") == Some(true) {
        if every {
            reader.refuse_at("allow_credentials", "cannot be given to every origin: name them");
        } else {
            config.set("allow_credentials", true);
        }
    }
    if let Some(age) = reader.text("max_age").filter(|age| !age.is_empty()) {
        match age.parse::<u64>() {
            Ok(seconds) => config.set("max_age", units::duration(std::time::Duration::from_secs(seconds))),
            Err(_) => reader.refuse_at("max_age", format!("{age:?} is no number of seconds")),
        }
    }
    reader.only("allow_private_network_access", false, "requests to private networks are not answered for");
    reader.ignore("forward_not_matching_preflights", "preflights of other origins go on to the upstream");
    Some(config.into())
}

fn list(reader: &Reader<'_>, key: &str) -> Vec<String> {
    let text = reader.text_or_empty(key).split(',');
    text.map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// An origin, or all below a domain.
fn origin(matcher: &Reader<'_>) -> Option<String> {
    let matches = common::string_matcher(matcher)?;
    let everything = match matches.kind {
        "exact" => matches.text == "*",
        "prefix" | "suffix" | "contains" => matches.text.is_empty(),
        _ => matches!(matches.text.as_str(), ".*" | "^.*$" | ".+"),
    };
    if everything {
        return Some("*".to_owned());
    }
    if matches.kind == "exact" && matches.text.contains("://") {
        return Some(matches.text);
    }
    if matches.kind == "regex"
        && let Some(origin) = below(&matches.text)
    {
        return Some(origin);
    }
    matcher
        .refuse_here(format!("{:?}: an origin is https://app.example.com, https://*.example.com or *", matches.text));
    None
}

/// `https://.*\.example\.com` as `https://*.example.com`.
fn below(expression: &str) -> Option<String> {
    let text = expression.strip_prefix('^').unwrap_or(expression);
    let text = text.strip_suffix('$').unwrap_or(text);
    let (scheme, host) = text.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let domain = [".*\\.", ".+\\.", "[^.]+\\.", "[a-z0-9-]+\\."].iter().find_map(|any| host.strip_prefix(any))?;
    let plain = domain.replace("\\.", ".");
    let literal = plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte));
    // A dot that is not escaped is any letter.
    let dots = domain.matches("\\.").count() == plain.matches('.').count();
    (literal && dots).then(|| format!("{scheme}://*.{plain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_for_all_below_a_domain_are_seen() {
        for (expression, origin) in [
            (r"https://.*\.example\.com", Some("https://*.example.com")),
            (r"^https://.+\.a\.example:8443$", Some("https://*.a.example:8443")),
            (r"https://.*.example.com", None),
            (r"https?://.*\.example\.com", None),
            (r"https://(a|b)\.example\.com", None),
        ] {
            assert_eq!(below(expression).as_deref(), origin, "{expression}");
        }
    }
}
