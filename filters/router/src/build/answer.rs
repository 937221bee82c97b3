//! Routes that are answered here.

use fyke_sdk::{ConfigError, Template};

use super::{Scope, authority};
use crate::action::{Body, Respond};
use crate::config;
use crate::headers::{Of, Value, values};
use crate::matching::PathMatch;
use crate::redirect::Redirect;
use crate::rewrite::PathRewrite;

pub fn redirect(raw: config::Redirect, path: &PathMatch) -> Result<Redirect, ConfigError> {
    if !matches!(raw.code, 301 | 302 | 303 | 307 | 308) {
        return Err(ConfigError::at("code", format!("must be 301, 302, 303, 307 or 308, not {}", raw.code)));
    }
    let scheme = match (raw.scheme, raw.https) {
        (Some(_), true) => return Err(ConfigError::new("needs only one of https and scheme")),
        (Some(scheme), false) if scheme != "http" && scheme != "https" => {
            return Err(ConfigError::at("scheme", "must be http or https"));
        }
        (scheme, false) => scheme,
        (None, true) => Some("https".to_owned()),
    };
    if raw.port == Some(0) {
        return Err(ConfigError::at("port", "must be from 1 to 65535"));
    }
    let host = match raw.host {
        Some(host) => {
            let host = authority(host).map_err(|error| error.under("host"))?;
            if crate::table::strip_port(host.as_bytes()).len() != host.len() {
                return Err(ConfigError::at("host", "must not name a port; use `port`"));
            }
            Some(host)
        }
        None => None,
    };
    let path = path_rewrite(raw.prefix, raw.path, raw.regex, None, path)?;
    if host.is_none() && scheme.is_none() && raw.port.is_none() && path.is_none() && !raw.strip_query {
        return Err(ConfigError::new("changes nothing: the client would be sent in a circle"));
    }
    Ok(Redirect { code: raw.code, scheme, host, port: raw.port, path, strip_query: raw.strip_query })
}

pub fn respond(raw: config::Respond, scope: &Scope<'_>) -> Result<Respond, ConfigError> {
    if !(200..=599).contains(&raw.status) {
        return Err(ConfigError::at("status", format!("must be from 200 to 599, not {}", raw.status)));
    }
    let body = match (raw.body_format, raw.body) {
        (Some(_), body) if !body.is_empty() => {
            return Err(ConfigError::new("needs only one of body and body_format"));
        }
        (Some(format), _) => {
            fits(&format, scope).map_err(|error| error.under("body_format"))?;
            Body::Template(Template::parse(&format).map_err(|message| ConfigError::at("body_format", message))?)
        }
        (None, body) => {
            fits(&body, scope).map_err(|error| error.under("body"))?;
            Body::Literal(body)
        }
    };
    let mut headers = values(raw.headers, Of::Response).map_err(|error| error.under("headers"))?;
    let empty = matches!(&body, Body::Literal(text) if text.is_empty());
    if !empty && !headers.iter().any(|(name, _)| name == "content-type") {
        headers.push(("content-type".to_owned(), Value::Literal("text/plain".to_owned())));
    }
    Ok(Respond { status: raw.status, headers, body })
}

fn fits(text: &str, scope: &Scope<'_>) -> Result<(), ConfigError> {
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    if length > scope.longest_body {
        return Err(ConfigError::new(format!(
            "has {length} bytes, more than `max_direct_response_body` ({} bytes)",
            scope.longest_body
        )));
    }
    Ok(())
}

pub fn path_rewrite(
    prefix: Option<String>,
    whole: Option<String>,
    regex: Option<config::RegexRewrite>,
    template: Option<String>,
    matched: &PathMatch,
) -> Result<Option<PathRewrite>, ConfigError> {
    if let Some(prefix) = &prefix {
        if !matched.has_prefix() {
            return Err(ConfigError::at(
                "prefix",
                "replaces what path_prefix, path_separated_prefix or path matched; there is none",
            ));
        }
        if prefix.contains(['?', '#']) {
            return Err(ConfigError::at("prefix", "must not contain '?' or '#'"));
        }
    }
    PathRewrite::build(prefix, whole, regex, template, matched.template())
}
