//! From the configuration to the table. Every error carries its place; what comes out cannot be wrong.
//!
//! | file | owns |
//! |---|---|
//! | `build.rs` | the router, its virtual hosts, and which action a route has |
//! | `build/forward.rs` | what goes to a cluster |
//! | `build/answer.rs` | redirects and answers |
//! | `build/policy.rs` | what the host executes: retries and the like |

mod answer;
mod forward;
mod policy;

use fyke_sdk::{ConfigError, HedgePolicy, Mirror, RouteAction, RouteHandle, Routes};
use serde_json::{Map, Value};

use crate::action::{Action, Retry};
use crate::config::{self, Config, RequireTls};
use crate::headers::{HeaderChanges, Of};
use crate::index::Index;
use crate::matching::Matcher;
use crate::table::{Domains, EnvoyHeaders, Route, Table, VirtualHost};

/// Envoy's `max_direct_response_body_size_bytes`.
const LONGEST_BODY: u64 = 4096;

/// What holds for the whole router.
struct Scope<'a> {
    routes: &'a Routes,
    envoy_headers: EnvoyHeaders,
    longest_body: u64,
}

/// What a virtual host says for its routes.
#[derive(Default)]
struct Defaults {
    name: String,
    /// `virtual_hosts[3].`, or nothing.
    place: String,
    retry: Option<Retry>,
    hedge: Option<HedgePolicy>,
    mirror: Vec<Mirror>,
    filters: Map<String, Value>,
    attempt_count_header: bool,
}

pub fn table(config: Config, routes: &Routes) -> Result<Table, ConfigError> {
    let envoy_headers = if config.envoy_headers.is_some() { EnvoyHeaders::Honoured } else { EnvoyHeaders::Passed };
    let longest_body = config.max_direct_response_body.unwrap_or(LONGEST_BODY);
    let scope = Scope { routes, envoy_headers, longest_body };
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
            vec![bare_routes(bare, &scope)?]
        }
        (Some(hosts), None) if hosts.is_empty() => {
            return Err(ConfigError::at("virtual_hosts", "must not be empty"));
        }
        (Some(hosts), None) => hosts
            .into_iter()
            .enumerate()
            .map(|(at, host)| virtual_host(host, at, &mut domains, &scope))
            .collect::<Result<_, _>>()?,
    };
    Ok(Table {
        hosts,
        domains,
        request_headers: changes(config.request_headers, Of::Request)?,
        response_headers: changes(config.response_headers, Of::Response)?,
        envoy_headers,
    })
}

fn bare_routes(raw: Vec<config::Route>, scope: &Scope<'_>) -> Result<VirtualHost, ConfigError> {
    let defaults = Defaults { name: "*".to_owned(), ..Defaults::default() };
    let (routes, index) = self::routes(raw, &defaults, scope)?;
    Ok(VirtualHost {
        name: defaults.name,
        routes,
        index,
        require_tls: RequireTls::None,
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
    })
}

fn virtual_host(
    raw: config::VirtualHost,
    at: usize,
    domains: &mut Domains,
    scope: &Scope<'_>,
) -> Result<VirtualHost, ConfigError> {
    let place = format!("virtual_hosts[{at}]");
    let Some(first) = raw.domains.first() else {
        return Err(ConfigError::at(format!("{place}.domains"), "must not be empty; \"*\" is every domain"));
    };
    for (nth, domain) in raw.domains.iter().enumerate() {
        domains.add(domain, at).map_err(|error| error.under(format!("{place}.domains[{nth}]")))?;
    }
    let name = raw.name.as_ref().unwrap_or(first).clone();
    let under = |error: ConfigError| error.under(&place);
    let defaults = Defaults {
        name,
        place: format!("{place}."),
        retry: policy::retry(raw.retry, scope).map_err(under)?,
        hedge: policy::hedge(raw.hedge),
        mirror: policy::mirror(raw.mirror).map_err(under)?.unwrap_or_default(),
        filters: raw.filters,
        attempt_count_header: raw.include_request_attempt_count,
    };
    let request_headers = changes(raw.request_headers, Of::Request).map_err(under)?;
    let response_headers = changes(raw.response_headers, Of::Response).map_err(under)?;
    let (routes, index) = routes(raw.routes, &defaults, scope)?;
    let name = defaults.name;
    Ok(VirtualHost { name, routes, index, require_tls: raw.require_tls, request_headers, response_headers })
}

fn routes(raw: Vec<config::Route>, defaults: &Defaults, scope: &Scope<'_>) -> Result<(Vec<Route>, Index), ConfigError> {
    let built = raw
        .into_iter()
        .enumerate()
        .map(|(at, raw)| {
            let place = format!("{}routes[{at}]", defaults.place);
            route(raw, &place, defaults, scope).map_err(|error| error.under(&place))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let index = Index::build(built.iter().map(|route| route.matcher.path.key()));
    Ok((built, index))
}

fn route(mut raw: config::Route, place: &str, defaults: &Defaults, scope: &Scope<'_>) -> Result<Route, ConfigError> {
    one_action(&raw)?;
    let name = raw.name.as_deref().unwrap_or(place).into();
    if raw.connect.is_some() && raw.r#match.connect != Some(true) {
        return Err(ConfigError::at("connect", "means nothing without `match: { connect: true }`"));
    }
    let matcher = Matcher::build(std::mem::take(&mut raw.r#match)).map_err(|error| error.under("match"))?;
    let request_headers = changes(raw.request_headers.take(), Of::Request)?;
    let response_headers = changes(raw.response_headers.take(), Of::Response)?;
    let action = if let Some(redirect) = raw.redirect.take() {
        let redirect = answer::redirect(redirect, &matcher.path).map_err(|error| error.under("redirect"))?;
        Action::Redirect(redirect, named(raw, place, defaults, scope)?)
    } else if let Some(respond) = raw.respond.take() {
        let respond = answer::respond(respond, scope).map_err(|error| error.under("respond"))?;
        Action::Respond(respond, named(raw, place, defaults, scope)?)
    } else {
        Action::Forward(Box::new(forward::forward(raw, &matcher, place, defaults, scope)?))
    };
    Ok(Route { name, matcher, action, request_headers, response_headers })
}

/// A route that goes nowhere: logs and later filters read its name and metadata.
fn named(raw: config::Route, place: &str, defaults: &Defaults, scope: &Scope<'_>) -> Result<RouteHandle, ConfigError> {
    scope.routes.define(&RouteAction {
        name: raw.name.unwrap_or_else(|| place.to_owned()),
        virtual_host: defaults.name.clone(),
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
        [action @ ("redirect" | "respond")] => match of_a_cluster(raw).into_iter().find(|(_, given)| *given) {
            Some((key, _)) => {
                Err(ConfigError::at(key, format!("means nothing with `{action}`: the request goes to no cluster")))
            }
            None => Ok(()),
        },
        [action @ ("cluster" | "cluster_header")] if raw.weighted_by.is_some() => {
            Err(ConfigError::at("weighted_by", format!("means nothing with `{action}`")))
        }
        [_] => Ok(()),
        [] => Err(ConfigError::new("needs one of cluster, weighted_clusters, cluster_header, redirect and respond")),
        several => Err(ConfigError::new(format!("needs only one of {}", several.join(", ")))),
    }
}

/// What means something where a cluster is involved, and whether it is given.
fn of_a_cluster(raw: &config::Route) -> [(&'static str, bool); 20] {
    [
        ("weighted_by", raw.weighted_by.is_some()),
        ("rewrite", raw.rewrite.is_some()),
        ("auto_host", raw.auto_host),
        ("append_x_forwarded_host", raw.append_x_forwarded_host),
        ("timeout", raw.timeout.is_some()),
        ("idle_timeout", raw.idle_timeout.is_some()),
        ("max_stream_duration", raw.max_stream_duration.is_some()),
        ("grpc_timeout", raw.grpc_timeout.is_some()),
        ("retry", raw.retry.is_some()),
        ("hedge", raw.hedge.is_some()),
        ("mirror", raw.mirror.is_some()),
        ("hash", !raw.hash.is_empty()),
        ("endpoint_labels", !raw.endpoint_labels.is_empty()),
        ("endpoint_header", raw.endpoint_header.is_some()),
        ("priority", raw.priority.is_some()),
        ("upgrades", !raw.upgrades.is_empty()),
        ("connect", raw.connect.is_some()),
        ("internal_redirect", raw.internal_redirect.is_some()),
        ("request_headers", raw.request_headers.is_some()),
        ("filters", !raw.filters.is_empty()),
    ]
}

fn changes(raw: Option<config::HeaderChanges>, of: Of) -> Result<HeaderChanges, ConfigError> {
    let key = match of {
        Of::Request => "request_headers",
        Of::Response => "response_headers",
    };
    HeaderChanges::build(raw, of).map_err(|error| error.under(key))
}

fn authority(host: String) -> Result<String, ConfigError> {
    if !crate::action::is_host(host.as_bytes()) {
        return Err(ConfigError::new(format!("\"{host}\" is not a host")));
    }
    Ok(host)
}

fn not_empty(name: String) -> Result<String, ConfigError> {
    if name.is_empty() { Err(ConfigError::new("must not be empty")) } else { Ok(name) }
}
