//! Routes that lead to a cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use fyke_sdk::{ConfigError, Priority, RouteAction, WeightedCluster, header_name};
use serde_json::{Map, Value};

use super::{Defaults, Scope, answer, authority, changes, not_empty, policy};
use crate::action::{Destination, Forward, ForwardedHost, HostRewrite, Retry};
use crate::config;
use crate::envoy::GrpcTimeout;
use crate::hash::HashPolicy;
use crate::headers::Of;
use crate::matching::{Matcher, PathMatch};
use crate::rewrite::{PathRewrite, Substitution};
use crate::weighted::{By, Choice, Target, WeightedClusters};

pub fn forward(
    mut raw: config::Route,
    matcher: &Matcher,
    place: &str,
    defaults: &Defaults,
    scope: &Scope<'_>,
) -> Result<Forward, ConfigError> {
    let hash = HashPolicy::build(std::mem::take(&mut raw.hash)).map_err(|error| error.under("hash"))?;
    let (path, host) = rewrite(raw.rewrite.take(), &matcher.path).map_err(|error| error.under("rewrite"))?;
    if raw.auto_host && host.is_some() {
        return Err(ConfigError::at("auto_host", "excludes host, host_header and host_regex of `rewrite`"));
    }
    let mut peculiar = Vec::new();
    let weighted = raw.weighted_clusters.take().map(|raw| choices(raw, &mut peculiar)).transpose();
    let weighted = weighted.map_err(|error| error.under("weighted_clusters"))?.map(|choices| {
        let by = by(raw.weighted_by.take(), &hash).map_err(|error| error.under("weighted_by"))?;
        Ok::<_, ConfigError>(WeightedClusters { choices, by, differ: !peculiar.is_empty() })
    });
    let mut weighted = weighted.transpose()?;
    let changes_host = host.is_some()
        || raw.auto_host
        || weighted.as_ref().is_some_and(|weighted| weighted.choices.iter().any(|choice| choice.host.is_some()));
    if raw.append_x_forwarded_host && !changes_host {
        return Err(ConfigError::at("append_x_forwarded_host", "needs a host that changes: `rewrite` or `auto_host`"));
    }
    let named = |name: Option<String>, key: &'static str| {
        name.map(|name| header_name(&name).map_err(|error| error.under(key))).transpose()
    };
    let cluster_header = named(raw.cluster_header.take(), "cluster_header")?;
    let endpoint_header = named(raw.endpoint_header.take(), "endpoint_header")?;
    let grpc_timeout = raw.grpc_timeout.take();
    let forwarded_host = if raw.append_x_forwarded_host { ForwardedHost::Appended } else { ForwardedHost::Untouched };
    let retry = policy::retry(raw.retry.take(), scope)?.or_else(|| defaults.retry.clone());
    let redirects = policy::redirects(raw.internal_redirect.as_ref());
    let (action, key) = action(raw, matcher, weighted.as_ref(), retry.as_ref(), place, defaults, scope)?;
    // The host knows only the action: with filters and mirrors in it, the cluster need not be what it refused.
    let blamed = if action.filters.is_empty() && action.mirror.is_empty() { key } else { "" };
    let handle = scope.routes.define(&action).map_err(|error| error.under(blamed))?;
    for Peculiar { at, endpoint_labels, filters } in peculiar {
        let mut own = action.clone();
        own.endpoint_labels.extend(endpoint_labels);
        own.filters.extend(filters);
        let defined = scope.routes.define(&own).map_err(|error| error.under(format!("weighted_clusters[{at}]")))?;
        if let Some(choice) = weighted.as_mut().and_then(|weighted| weighted.choices.get_mut(at)) {
            choice.handle = Some(defined);
        }
    }
    let to = match (cluster_header, weighted) {
        (Some(name), _) => Destination::Header(name),
        (None, Some(weighted)) if weighted.is_needed() => Destination::Weighted(weighted),
        (None, _) => Destination::Defined,
    };
    Ok(Forward {
        handle,
        to,
        path,
        host,
        forwarded_host,
        hash,
        endpoint_header,
        timeout: action.timeout,
        retry,
        redirects,
        grpc_timeout: grpc_timeout
            .map(|raw| GrpcTimeout { max: raw.max, offset: raw.offset.unwrap_or(Duration::ZERO) }),
    })
}

/// What the host is told, and the key that named the cluster.
fn action(
    raw: config::Route,
    matcher: &Matcher,
    weighted: Option<&WeightedClusters>,
    retry: Option<&Retry>,
    place: &str,
    defaults: &Defaults,
    scope: &Scope<'_>,
) -> Result<(RouteAction, &'static str), ConfigError> {
    let own_hedge = policy::hedge(raw.hedge);
    let mut action = RouteAction {
        name: raw.name.unwrap_or_else(|| place.to_owned()),
        virtual_host: defaults.name.clone(),
        idle_timeout: raw.idle_timeout,
        max_stream_duration: raw.max_stream_duration,
        retry: retry.map(|retry| retry.policy.clone()),
        hedge: own_hedge.or(defaults.hedge),
        mirror: policy::mirror(raw.mirror)?.unwrap_or_else(|| defaults.mirror.clone()),
        endpoint_labels: policy::labels(raw.endpoint_labels, "endpoint_labels")?,
        priority: match raw.priority {
            Some(config::Priority::High) => Priority::High,
            Some(config::Priority::Default) | None => Priority::Default,
        },
        upgrades: policy::upgrades(raw.upgrades, matcher.is_for_connect())?,
        connect: policy::connect(raw.connect),
        internal_redirect: policy::internal_redirect(raw.internal_redirect)?,
        auto_host: raw.auto_host,
        attempt_count_header: defaults.attempt_count_header,
        metadata: raw.metadata,
        filters: merged(raw.filters, &defaults.filters),
        ..RouteAction::default()
    };
    action.timeout = raw.timeout.unwrap_or(action.timeout);
    policy::check_hedge(own_hedge, action.retry.as_ref(), scope)?;
    let mut key = "";
    if let Some(cluster) = raw.cluster {
        key = "cluster";
        action.cluster = Some(not_empty(cluster).map_err(|error| error.under("cluster"))?);
    }
    if let Some(weighted) = weighted {
        key = "weighted_clusters";
        // Where the router chooses, the weights are none of the host's, which refuses a sum of zero.
        let least = u32::from(weighted.is_needed());
        let share = |choice: &Choice| match &choice.target {
            Target::Cluster(name) => Some(WeightedCluster { cluster: name.clone(), weight: choice.weight.max(least) }),
            Target::Header(_) => None,
        };
        action.weighted_clusters = weighted.choices.iter().filter_map(share).collect();
    }
    Ok((action, key))
}

/// The virtual host's configuration of later filters counts where the route has none.
fn merged(own: Map<String, Value>, defaults: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = defaults.clone();
    merged.extend(own);
    merged
}

/// What one of the clusters has that the host must be told.
struct Peculiar {
    at: usize,
    endpoint_labels: BTreeMap<String, String>,
    filters: Map<String, Value>,
}

fn choices(raw: Vec<config::Weighted>, peculiar: &mut Vec<Peculiar>) -> Result<Vec<Choice>, ConfigError> {
    let mut sum = 0_u32;
    let mut choices = Vec::with_capacity(raw.len());
    for (at, raw) in raw.into_iter().enumerate() {
        let under = |error: ConfigError| error.under(format!("[{at}]"));
        let target = match (raw.cluster, raw.cluster_header) {
            (Some(name), None) => Target::Cluster(not_empty(name).map_err(|error| under(error.under("cluster")))?),
            (None, Some(name)) => {
                Target::Header(header_name(&name).map_err(|error| under(error.under("cluster_header")))?)
            }
            _ => return Err(under(ConfigError::new("needs one of cluster and cluster_header"))),
        };
        sum = sum.checked_add(raw.weight).ok_or_else(|| ConfigError::new("the weights' sum must be below 2^32"))?;
        let endpoint_labels = policy::labels(raw.endpoint_labels, "endpoint_labels").map_err(under)?;
        if !endpoint_labels.is_empty() || !raw.filters.is_empty() {
            peculiar.push(Peculiar { at, endpoint_labels, filters: raw.filters });
        }
        choices.push(Choice {
            handle: None,
            target,
            weight: raw.weight,
            host: raw.host.map(authority).transpose().map_err(|error| under(error.under("host")))?,
            request_headers: changes(raw.request_headers, Of::Request).map_err(under)?,
            response_headers: changes(raw.response_headers, Of::Response).map_err(under)?,
        });
    }
    if sum == 0 {
        return Err(ConfigError::new("at least one cluster needs a weight above zero"));
    }
    Ok(choices)
}

fn by(raw: Option<config::WeightedBy>, hash: &HashPolicy) -> Result<By, ConfigError> {
    match raw {
        None | Some(config::WeightedBy::Random) => Ok(By::Random),
        Some(config::WeightedBy::Hash) if hash.is_empty() => Err(ConfigError::new("needs the route's `hash`")),
        Some(config::WeightedBy::Hash) => Ok(By::Hash),
        Some(config::WeightedBy::Header(name)) => {
            Ok(By::Header(header_name(&name).map_err(|error| error.under("header"))?))
        }
    }
}

fn rewrite(
    raw: Option<config::Rewrite>,
    matched: &PathMatch,
) -> Result<(Option<PathRewrite>, Option<HostRewrite>), ConfigError> {
    let Some(config::Rewrite { prefix, path, path_template, regex, host, host_header, host_regex }) = raw else {
        return Ok((None, None));
    };
    let host = match (host, host_header, host_regex) {
        (Some(host), None, None) => Some(HostRewrite::Literal(authority(host).map_err(|error| error.under("host"))?)),
        (None, Some(name), None) => {
            Some(HostRewrite::Header(header_name(&name).map_err(|error| error.under("host_header"))?))
        }
        (None, None, Some(regex)) => {
            Some(HostRewrite::Regex(Substitution::build(&regex).map_err(|error| error.under("host_regex"))?))
        }
        (None, None, None) => None,
        _ => return Err(ConfigError::new("needs only one of host, host_header and host_regex")),
    };
    if path.as_ref().is_some_and(|path| path.contains(['?', '#'])) {
        return Err(ConfigError::at("path", "is the path only: the request's query stays"));
    }
    Ok((answer::path_rewrite(prefix, path, regex, path_template, matched)?, host))
}
