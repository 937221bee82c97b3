//! Filters that a route may have a word about.

use serde_json::Value;

use super::{cors, ext_authz, fault, header_mutation, local_rate_limit, rate_limit, tracing};
use crate::{
    reader::Reader,
    translate::{
        context::Context,
        rbac,
        route::{Layers, Mentions},
    },
};

/// A filter of a chain.
pub(in crate::translate) struct PerRoute {
    /// What Envoy's configuration calls it.
    pub envoy_name: String,
    /// What Fyke's does.
    pub name: String,
    pub kind: Kind,
}

/// What is needed to translate what a route says about it.
pub(in crate::translate) enum Kind {
    Cors,
    Fault,
    Rbac,
    LocalRateLimit,
    RateLimit(rate_limit::Base),
    ExtAuthz(ext_authz::Base),
    Headers(Box<header_mutation::Base>),
    /// Its configuration for all routes.
    Tracing(Value),
    Wasm,
}

impl Kind {
    /// Whether the filter does anything: some only do what routes say.
    pub fn is_of_use(&self, name: &str, mentions: &Mentions) -> bool {
        match self {
            Self::Cors => mentions.cors || mentions.filters.contains(name),
            Self::Headers(base) => !base.is_empty() || mentions.filters.contains(name),
            _ => true,
        }
    }

    /// Whether some route says something about the filter, which so has to stand behind the router.
    pub fn needs_route(&self, name: &str, mentions: &Mentions) -> bool {
        let limited = matches!(self, Self::RateLimit(_) | Self::LocalRateLimit) && mentions.rate_limits;
        let cors = matches!(self, Self::Cors) && mentions.cors;
        let traced = matches!(self, Self::Tracing(_)) && mentions.tracing;
        limited || cors || traced || mentions.filters.contains(name)
    }
}

impl PerRoute {
    /// `filters.NAME` of a virtual host or route; `None`: what is around it counts.
    pub fn translate(&self, context: &Context<'_>, layers: &Layers<'_, '_>) -> Option<Value> {
        let said = layers.is_said(&self.envoy_name);
        match &self.kind {
            Kind::Cors => cors::per_route(layers, &self.envoy_name),
            Kind::Fault => said.then(|| fault::per_route(layers, &self.envoy_name))?,
            Kind::Rbac => said.then(|| rbac::per_route(layers, &self.envoy_name))?,
            Kind::Headers(base) => said.then(|| header_mutation::per_route(base, layers, &self.envoy_name)),
            Kind::ExtAuthz(base) => said.then(|| ext_authz::per_route(context, base, layers, &self.envoy_name))?,
            Kind::LocalRateLimit => local_rate_limit::per_route(layers, &self.envoy_name),
            Kind::RateLimit(base) => rate_limit::per_route(base, layers, &self.envoy_name),
            Kind::Tracing(_) => None,
            Kind::Wasm => {
                if said {
                    for config in layers.configs(&self.envoy_name) {
                        config.refuse_whole("Envoy's Wasm filters know no configuration for a route");
                    }
                }
                None
            }
        }
    }

    pub fn tracing(&self) -> Option<&Value> {
        match &self.kind {
            Kind::Tracing(config) => Some(config),
            _ => None,
        }
    }

    pub fn limits_rates(&self) -> bool {
        matches!(self.kind, Kind::RateLimit(_) | Kind::LocalRateLimit)
    }

    pub fn answers_preflights(&self) -> bool {
        matches!(self.kind, Kind::Cors)
    }
}

/// The configuration of a route that traces otherwise.
pub(in crate::translate) fn traced(
    base: &Value,
    tracing: Option<&Reader<'_>>,
    decorator: Option<&Reader<'_>>,
) -> Value {
    tracing::per_route(base, tracing, decorator)
}

/// The innermost configuration that is not switched off, and whether it is: `envoy.config.route.v3.FilterConfig` may be around it.
pub(in crate::translate) enum Innermost<'a> {
    Nothing,
    Disabled(Reader<'a>),
    Config(Reader<'a>),
}

pub(in crate::translate) fn innermost<'a>(layers: &Layers<'_, 'a>, name: &str) -> Innermost<'a> {
    let mut configs = layers.configs(name);
    let Some(last) = configs.pop() else { return Innermost::Nothing };
    for outer in configs {
        // An inner one takes its place; it is translated where it counts.
        outer.leave();
    }
    unwrapped(last)
}

/// What is in a `FilterConfig`, or is none.
pub(super) fn unwrapped(reader: Reader<'_>) -> Innermost<'_> {
    if reader.type_name() != "envoy.config.route.v3.FilterConfig" {
        return Innermost::Config(reader);
    }
    reader.raw("is_optional");
    if reader.flag("disabled") {
        if let Some(config) = reader.message("config") {
            config.leave();
        }
        return Innermost::Disabled(reader);
    }
    match reader.message("config") {
        Some(config) => Innermost::Config(config),
        None => Innermost::Nothing,
    }
}
