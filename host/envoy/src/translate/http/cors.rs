//! `envoy.extensions.filters.http.cors.v3` to `builtin:cors`.

use serde_json::Value;

use super::per_route::{Innermost, innermost};
use crate::{
    reader::Reader,
    translate::{
        common::{self, Matches},
        route::Layers,
    },
    units::{self, Object},
};

/// An origin that no page can have (RFC 6761, section 6.4): the filter wants one, and in Envoy only routes have policies.
const NOBODY: &str = "https://nobody.invalid";

/// Every origin.
const EVERY: &str = "*";

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
    let origins: Vec<Value> = reader.messages("allow_origin_string_match").iter().filter_map(origin).collect();
    let every = origins.iter().any(|origin| origin == EVERY);
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

/// An entry of `allow_origins`; `None`, with a finding: there is none for it.
fn origin(matcher: &Reader<'_>) -> Option<Value> {
    let matches = common::string_matcher(matcher)?;
    if takes_every(&matches) {
        return Some(EVERY.into());
    }
    if matches.text.is_empty() {
        matcher.ignore_here("no origin is empty");
        return None;
    }
    if let Some(plain) = plain(&matches) {
        return Some(plain.into());
    }
    let mut entry = Object::default();
    entry.set(matches.kind, matches.text);
    entry.set_if("ignore_case", matches.ignore_case);
    Some(entry.into())
}

/// Envoy asks each matcher about `*` before it asks about the origin: one that takes it takes every origin, `\*` as well as `.*`.
fn takes_every(matches: &Matches) -> bool {
    match matches.kind {
        "exact" => matches.text == EVERY,
        "prefix" | "suffix" | "contains" => EVERY.contains(&matches.text),
        _ => regex_lite::Regex::new(&format!("^(?:{})$", matches.text)).is_ok_and(|regex| regex.is_match(EVERY)),
    }
}

/// As plain text, where that says the same of every origin that browsers send, whose letters are small ones.
fn plain(matches: &Matches) -> Option<String> {
    match matches.kind {
        "exact" => {
            let (scheme, host) = matches.text.split_once("://")?;
            let literal =
                |text: &str| !text.is_empty() && text.bytes().all(|byte| is_literal(byte, matches.ignore_case));
            (literal(scheme) && literal(host)).then(|| matches.text.clone())
        }
        "regex" => below(&matches.text),
        _ => None,
    }
}

/// Whether a byte of plain text stands for itself. Plain text is compared without regard to case.
fn is_literal(byte: u8, ignore_case: bool) -> bool {
    byte.is_ascii_lowercase()
        || byte.is_ascii_digit()
        || b"-+.:_[]".contains(&byte)
        || (ignore_case && byte.is_ascii_uppercase())
}

/// `https://.*\.example\.com` as `https://*.example.com`.
fn below(expression: &str) -> Option<String> {
    let text = expression.strip_prefix('^').unwrap_or(expression);
    let text = text.strip_suffix('$').unwrap_or(text);
    let (scheme, host) = text.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    // `[^.]+\.` is one label, and `*.` any number of them.
    let domain = [".*\\.", ".+\\."].iter().find_map(|any| host.strip_prefix(any))?;
    let plain = domain.replace("\\.", ".");
    let literal =
        plain.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:".contains(&byte));
    // A dot that is not escaped is any letter.
    let dots = domain.matches("\\.").count() == plain.matches('.').count();
    (literal && dots && !plain.is_empty()).then(|| format!("{scheme}://*.{plain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(kind: &'static str, text: &str) -> Matches {
        Matches { kind, text: text.to_owned(), ignore_case: false }
    }

    #[test]
    fn expressions_for_all_below_a_domain_are_seen() {
        for (expression, origin) in [
            (r"https://.*\.example\.com", Some("https://*.example.com")),
            (r"^https://.+\.a\.example:8443$", Some("https://*.a.example:8443")),
            (r"https://.*.example.com", None),
            (r"https://[^.]+\.example\.com", None),
            (r"https://[a-z0-9-]+\.example\.com", None),
            (r"https://.*\.Example\.com", None),
            (r"https://.*\.", None),
            (r"https?://.*\.example\.com", None),
            (r"https://(a|b)\.example\.com", None),
        ] {
            assert_eq!(below(expression).as_deref(), origin, "{expression}");
        }
    }

    #[test]
    fn what_takes_an_asterisk_takes_every_origin() {
        for (kind, text, every) in [
            ("exact", "*", true),
            ("exact", "https://*.example.com", false),
            ("exact", "", false),
            ("prefix", "*", true),
            ("prefix", "", true),
            ("prefix", "https://", false),
            ("suffix", "*", true),
            ("contains", "*", true),
            ("contains", "a", false),
            ("regex", ".*", true),
            ("regex", "^.+$", true),
            ("regex", r"\*", true),
            ("regex", r"https://a|\*", true),
            ("regex", "https://.*", false),
            ("regex", "https?://(.*)", false),
        ] {
            assert_eq!(takes_every(&matches(kind, text)), every, "{kind} {text}");
        }
    }

    #[test]
    fn only_whole_origins_in_small_letters_are_plain_text() {
        for text in ["https://a.example.com", "http://localhost:3000", "http://[::1]:3000", "moz-extension://a_b"] {
            assert_eq!(plain(&matches("exact", text)).as_deref(), Some(text));
        }
        for text in
            ["https://*.example.com", "https://A.example.com", "https://a/", "https://", "null", "https://b\u{fc}"]
        {
            assert_eq!(plain(&matches("exact", text)), None, "{text}");
        }
        let folded = Matches { ignore_case: true, ..matches("exact", "https://A.example.com") };
        assert_eq!(plain(&folded).as_deref(), Some("https://A.example.com"));
        assert_eq!(plain(&matches("prefix", "https://a.example.com")), None);
    }
}
