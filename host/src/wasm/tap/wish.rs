//! Which streams somebody wants to see, and what of them nobody sees.

use std::{borrow::Cow, time::Duration};

use fyke_engine::Map as _;

use super::Report;
use crate::{
    config::secrets::MASK,
    wasm::exchange::{Exchange, Kind},
};

/// A field, or a parameter of a query, whose name contains one of these carries credentials.
const SECRET: [&str; 10] =
    ["authorization", "cookie", "token", "secret", "password", "passwd", "api-key", "api_key", "apikey", "signature"];

/// Fields of a request that are told.
const FIELDS: usize = 64;
/// Bytes of each.
const FIELD: usize = 512;

/// Which streams: those of which all that is said holds. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// `404`, or the first digit of a class: `5` for 5xx.
    pub status: Option<u16>,
    /// The method.
    pub method: Option<String>,
    /// What the path that the client asked for begins with.
    pub path_prefix: Option<String>,
    /// Fields of the request, in lower case, with their values or any.
    pub headers: Vec<(String, Option<String>)>,
    /// The route.
    pub route: Option<String>,
    /// The listener.
    pub listener: Option<String>,
    /// The cluster.
    pub cluster: Option<String>,
    /// Only what took as long.
    pub min_latency: Option<Duration>,
    /// Streams that are looked at in a second; without one all are.
    pub rate: Option<u32>,
    /// Filters are asked to say what they are about to do to a request.
    pub explains: bool,
}

impl Wish {
    /// Whether a stream that begins so may be one of them.
    pub(super) fn may_fit(&self, exchange: &Exchange) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        if !is(&self.listener, &exchange.connection.listener) {
            return false;
        }
        if exchange.kind == Kind::Tcp {
            return self.method.is_none()
                && self.path_prefix.is_none()
                && self.headers.is_empty()
                && self.status.is_none();
        }
        if self.method.is_none() && self.path_prefix.is_none() && self.headers.is_empty() {
            return true;
        }
        let mut prefix = self.path_prefix.is_none();
        let mut method = self.method.is_none();
        let mut headers = vec![false; self.headers.len()];
        exchange.request_head.for_each(&mut |name, value| match name {
            b":path" => prefix |= self.path_prefix.as_ref().is_some_and(|wanted| value.starts_with(wanted.as_bytes())),
            b":method" => {
                method |= self.method.as_ref().is_some_and(|wanted| value.eq_ignore_ascii_case(wanted.as_bytes()))
            }
            name => {
                for ((key, wanted), found) in self.headers.iter().zip(&mut headers) {
                    *found |= name.eq_ignore_ascii_case(key.as_bytes())
                        && wanted.as_ref().is_none_or(|wanted| value == wanted.as_bytes());
                }
            }
        });
        prefix && method && headers.iter().all(|found| *found)
    }

    /// Whether a stream that has ended so is one of them, if it could be when it began.
    pub(super) fn fits(&self, report: &Report) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        let status = self.status.is_none_or(|wanted| {
            report.status.is_some_and(|status| if wanted < 10 { status / 100 == wanted } else { status == wanted })
        });
        status
            && is(&self.route, report.outcome.route_name())
            && is(&self.cluster, report.outcome.cluster.as_deref())
            && self.min_latency.is_none_or(|least| report.duration >= least)
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|word| name.contains(word))
}

/// The value of a header field as it may be shown.
pub(super) fn masked<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    match name {
        ":path" | "referer" | "location" => masked_path(value).into(),
        name if is_secret(name) => MASK.into(),
        _ => value.into(),
    }
}

/// The first fields of a head as they may be shown.
pub(super) fn shown(head: &[(String, String)]) -> Vec<(String, String)> {
    let one = |(name, value): &(String, String)| {
        let shown = masked(name, value);
        (name.clone(), shown.get(..shown.floor_char_boundary(FIELD)).unwrap_or_default().to_owned())
    };
    head.iter().take(FIELDS).map(one).collect()
}

/// A path as it may be shown: parameters of its query that carry credentials are masked.
pub(super) fn masked_path(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else { return path.to_owned() };
    let shown = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}={MASK}"),
        _ => pair.to_owned(),
    });
    format!("{path}?{}", shown.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_credentials_is_not_shown() {
        for (name, value, shown) in [
            ("authorization", "Bearer x", "***"),
            ("Set-Cookie", "a=b", "***"),
            ("x-amz-security-token", "x", "***"),
            ("x-user", "alice", "alice"),
            (":path", "/a?API_KEY=x&y=token&password", "/a?API_KEY=***&y=token&password"),
            ("location", "https://b/?access_token=x", "https://b/?access_token=***"),
        ] {
            assert_eq!(masked(name, value), shown, "{name}: {value}");
        }
    }
}
