//! From the configuration to the table. Every error carries its place; what comes out cannot be wrong.

use std::collections::BTreeMap;

use fyke_sdk::{ConfigError, Reply, RouteAction, RouteHandle, Routes, WeightedCluster, header_name, header_value};

use crate::action::{Action, Forward, HeaderChanges, HostRewrite, Redirect};
use crate::config::{self, Config};
use crate::index::Index;
use crate::matching::{Matcher, PathMatch};
use crate::rewrite::PathRewrite;
use crate::table::{Domains, Route, Table, VirtualHost};

pub fn table(config: Config, routes: &Routes) -> Result<Table, ConfigError> {
    let mut domains = Domains::default();
    let hosts = match (config.virtual_hosts, config.routes) {
        (Some(_), Some(_)) => {
            return Err(ConfigError::new("needs either `virtual_hosts` or bare `routes`, not both"));
        }
        (None, None) => {
            return Err(ConfigError::new("needs `routes`, or `virtual_hosts` with routes for each"));
        }
        (None, Some(bare)) => {
            domains.add("*", 0)?;
            vec![virtual_host(bare, "*", "", routes)?]
        }
        (Some(hosts), None) if hosts.is_empty() => {
            return Err(ConfigError::at("virtual_hosts", "must not be empty"));
        }
        (Some(hosts), None) => hosts
            .into_iter()
            .enumerate()
            .map(|(at, host)| {
                let place = format!("virtual_hosts[{at}]");
                let Some(first) = host.domains.first() else {
                    return Err(ConfigError::at(
                        format!("{place}.domains"),
                        "must not be empty; \"*\" is every domain",
                    ));
                };
                for (nth, domain) in host.domains.iter().enumerate() {
                    domains.add(domain, at).map_err(|error| error.under(format!("{place}.domains[{nth}]")))?;
                }
                let name = host.name.as_ref().unwrap_or(first);
                virtual_host(host.routes, name, &place, routes)
            })
            .collect::<Result<_, _>>()?,
    };
    Ok(Table { hosts, domains })
}

fn virtual_host(raw: Vec<config::Route>, name: &str, place: &str, routes: &Routes) -> Result<VirtualHost, ConfigError> {
    let dot = if place.is_empty() { "" } else { "." };
    let built = raw
        .into_iter()
        .enumerate()
        .map(|(at, raw)| {
            let place = format!("{place}{dot}routes[{at}]");
            route(raw, name, &place, routes).map_err(|error| error.under(&place))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let index = Index::build(built.iter().map(|route| &route.matcher.path));
    Ok(VirtualHost { routes: built, index })
}

fn route(mut raw: config::Route, virtual_host: &str, place: &str, routes: &Routes) -> Result<Route, ConfigError> {
    if raw.retry.is_some() {
        return Err(ConfigError::at("retry", "is not supported yet"));
    }
    one_action(&raw)?;
    let matcher = Matcher::build(std::mem::take(&mut raw.r#match)).map_err(|error| error.under("match"))?;
    let request_headers = changes(raw.request_headers.take(), true).map_err(|error| error.under("request_headers"))?;
    let response_headers =
        changes(raw.response_headers.take(), false).map_err(|error| error.under("response_headers"))?;
    let action = if let Some(redirect) = raw.redirect.take() {
        let redirect =
            self::redirect(redirect, &matcher.path, &response_headers).map_err(|error| error.under("redirect"))?;
        Action::Redirect(redirect, named(raw, virtual_host, place, routes)?)
    } else if let Some(respond) = raw.respond.take() {
        let reply = self::respond(respond, &response_headers).map_err(|error| error.under("respond"))?;
        Action::Respond(reply, named(raw, virtual_host, place, routes)?)
    } else {
        Action::Forward(forward(raw, &matcher.path, virtual_host, place, routes)?)
    };
    Ok(Route { matcher, action, request_headers, response_headers })
}

/// A route that goes nowhere: logs and later filters read its name and metadata.
fn named(raw: config::Route, virtual_host: &str, place: &str, routes: &Routes) -> Result<RouteHandle, ConfigError> {
    routes.define(&RouteAction {
        name: raw.name.unwrap_or_else(|| place.to_owned()),
        virtual_host: virtual_host.to_owned(),
        metadata: raw.metadata,
        ..RouteAction::default()
    })
}

/// Exactly one action, and nothing that it would ignore.
fn one_action(raw: &config::Route) -> Result<(), ConfigError> {
    let actions = [
        ("cluster", raw.cluster.is_some()),
        ("weighted_clusters", raw.weighted_clusters.is_some()),
        ("cluster_header", raw.cluster_header.is_some()),
        ("redirect", raw.redirect.is_some()),
        ("respond", raw.respond.is_some()),
    ];
    let given: Vec<&str> = actions.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect();
    match given.as_slice() {
        [action @ ("redirect" | "respond")] => {
            let useless = [
                ("rewrite", raw.rewrite.is_some()),
                ("timeout", raw.timeout.is_some()),
                ("request_headers", raw.request_headers.is_some()),
                ("filters", !raw.filters.is_empty()),
            ];
            match useless.iter().find(|(_, given)| *given) {
                Some((key, _)) => {
                    Err(ConfigError::at(*key, format!("means nothing with `{action}`: the request goes to no cluster")))
                }
                None => Ok(()),
            }
        }
        [_] => Ok(()),
        [] => Err(ConfigError::new("needs one of cluster, weighted_clusters, cluster_header, redirect and respond")),
        several => Err(ConfigError::new(format!("needs only one of {}", several.join(", ")))),
    }
}

fn forward(
    raw: config::Route,
    path: &PathMatch,
    virtual_host: &str,
    place: &str,
    routes: &Routes,
) -> Result<Forward, ConfigError> {
    let mut action = RouteAction {
        name: raw.name.unwrap_or_else(|| place.to_owned()),
        virtual_host: virtual_host.to_owned(),
        metadata: raw.metadata,
        filters: raw.filters,
        ..RouteAction::default()
    };
    if let Some(timeout) = raw.timeout {
        action.timeout = timeout;
    }
    let (path, host) = rewrite(raw.rewrite, path).map_err(|error| error.under("rewrite"))?;
    let mut key = "";
    if let Some(cluster) = raw.cluster {
        key = "cluster";
        action.cluster = Some(not_empty(cluster).map_err(|error| error.under("cluster"))?);
    }
    if let Some(weighted) = raw.weighted_clusters {
        key = "weighted_clusters";
        action.weighted_clusters = shares(weighted).map_err(|error| error.under("weighted_clusters"))?;
    }
    let cluster_header = match raw.cluster_header {
        Some(name) => Some(header_name(&name).map_err(|error| error.under("cluster_header"))?),
        None => None,
    };
    // The host knows only the action; with `filters` in it, the cluster need not be what it refused.
    let blamed = if action.filters.is_empty() { key } else { "" };
    let handle = routes.define(&action).map_err(|error| error.under(blamed))?;
    Ok(Forward { handle, cluster_header, path, host })
}

fn shares(raw: Vec<config::Weighted>) -> Result<Vec<WeightedCluster>, ConfigError> {
    let mut sum = 0_u32;
    let mut shares = Vec::with_capacity(raw.len());
    for (at, config::Weighted { cluster, weight }) in raw.into_iter().enumerate() {
        let cluster = not_empty(cluster).map_err(|error| error.under(format!("[{at}].cluster")))?;
        sum = sum.checked_add(weight).ok_or_else(|| ConfigError::new("the weights' sum must be below 2^32"))?;
        shares.push(WeightedCluster { cluster, weight });
    }
    if sum == 0 {
        return Err(ConfigError::new("at least one cluster needs a weight above zero"));
    }
    Ok(shares)
}

fn rewrite(
    raw: Option<config::Rewrite>,
    path: &PathMatch,
) -> Result<(Option<PathRewrite>, Option<HostRewrite>), ConfigError> {
    let Some(config::Rewrite { prefix, path: whole, regex, host, host_header }) = raw else {
        return Ok((None, None));
    };
    let host = match (host, host_header) {
        (Some(_), Some(_)) => {
            return Err(ConfigError::new("needs only one of host and host_header"));
        }
        (Some(host), None) => Some(HostRewrite::Literal(authority(host).map_err(|error| error.under("host"))?)),
        (None, Some(name)) => {
            Some(HostRewrite::Header(header_name(&name).map_err(|error| error.under("host_header"))?))
        }
        (None, None) => None,
    };
    if whole.as_ref().is_some_and(|whole| whole.contains(['?', '#'])) {
        return Err(ConfigError::at("path", "is the path only: the request's query stays"));
    }
    Ok((path_rewrite(prefix, whole, regex, path)?, host))
}

fn path_rewrite(
    prefix: Option<String>,
    whole: Option<String>,
    regex: Option<config::RegexRewrite>,
    path: &PathMatch,
) -> Result<Option<PathRewrite>, ConfigError> {
    if let Some(prefix) = &prefix {
        if matches!(path, PathMatch::Any | PathMatch::Regex(_)) {
            return Err(ConfigError::at(
                "prefix",
                "replaces what path_prefix, path_separated_prefix or path matched; there is none",
            ));
        }
        if prefix.contains(['?', '#']) {
            return Err(ConfigError::at("prefix", "must not contain '?' or '#'"));
        }
    }
    PathRewrite::build(prefix, whole, regex)
}

fn redirect(
    raw: config::Redirect,
    path: &PathMatch,
    response_headers: &HeaderChanges,
) -> Result<Redirect, ConfigError> {
    if !matches!(raw.code, 301 | 302 | 303 | 307 | 308) {
        return Err(ConfigError::at("code", format!("must be 301, 302, 303, 307 or 308, not {}", raw.code)));
    }
    if raw.scheme.as_ref().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(ConfigError::at("scheme", "must be http or https"));
    }
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
    let path = path_rewrite(raw.prefix, raw.path, raw.regex, path)?;
    if host.is_none() && raw.scheme.is_none() && raw.port.is_none() && path.is_none() && !raw.strip_query {
        return Err(ConfigError::new("changes nothing: the client would be sent in a circle"));
    }
    let mut headers = Vec::new();
    response_headers.apply_to(&mut headers);
    Ok(Redirect {
        code: raw.code,
        scheme: raw.scheme,
        host,
        port: raw.port,
        path,
        strip_query: raw.strip_query,
        headers,
    })
}

fn respond(raw: config::Respond, response_headers: &HeaderChanges) -> Result<Reply, ConfigError> {
    if !(200..=599).contains(&raw.status) {
        return Err(ConfigError::at("status", format!("must be from 200 to 599, not {}", raw.status)));
    }
    let mut headers = pairs(raw.headers, false).map_err(|error| error.under("headers"))?;
    if !raw.body.is_empty() && !headers.iter().any(|(name, _)| name == "content-type") {
        headers.push(("content-type".to_owned(), "text/plain".to_owned()));
    }
    response_headers.apply_to(&mut headers);
    let reply = Reply::new(raw.status).body(raw.body).details("direct_response");
    Ok(headers.into_iter().fold(reply, |reply, (name, value)| reply.header(name, value)))
}

fn changes(raw: Option<config::HeaderChanges>, request: bool) -> Result<HeaderChanges, ConfigError> {
    let config::HeaderChanges { set, add, remove } = raw.unwrap_or_default();
    let mut removed = Vec::with_capacity(remove.len());
    for (at, name) in remove.into_iter().enumerate() {
        removed.push(changed_name(&name, request).map_err(|error| error.under(format!("remove[{at}]")))?);
    }
    Ok(HeaderChanges {
        remove: removed,
        set: pairs(set, request).map_err(|error| error.under("set"))?,
        add: pairs(add, request).map_err(|error| error.under("add"))?,
    })
}

fn pairs(raw: BTreeMap<String, String>, request: bool) -> Result<Vec<(String, String)>, ConfigError> {
    raw.into_iter()
        .map(|(name, value)| {
            let lower = changed_name(&name, request).map_err(|error| error.under(&name))?;
            Ok((lower, header_value(value).map_err(|error| error.under(name))?))
        })
        .collect()
}

/// A header that a route may change.
fn changed_name(name: &str, request: bool) -> Result<String, ConfigError> {
    if name.starts_with(':') {
        return Err(ConfigError::new("pseudo headers are changed by `rewrite` only"));
    }
    if request && name.eq_ignore_ascii_case("host") {
        return Err(ConfigError::new("is `rewrite: { host: ... }`"));
    }
    header_name(name)
}

fn authority(host: String) -> Result<String, ConfigError> {
    if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(&byte)) {
        return Err(ConfigError::new(format!("\"{host}\" is not a host")));
    }
    Ok(host)
}

fn not_empty(name: String) -> Result<String, ConfigError> {
    if name.is_empty() { Err(ConfigError::new("must not be empty")) } else { Ok(name) }
}
