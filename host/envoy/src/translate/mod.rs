//! From Envoy's resources to Fyke's configuration.
//!
//! Each part reads one message with a [`Reader`], which makes a finding of every field that it was not asked for, and
//! writes what Fyke calls the same. Nothing here does I/O.
//!
//! | module | reads |
//! |---|---|
//! | `bootstrap` | the rest of a bootstrap file: node, admin, sinks of statistics, control planes |
//! | `cluster` | clusters, their endpoints, health checks and policies |
//! | `listener` | listeners, filter chains, filters of connections |
//! | `http` | the HTTP connection manager and its filters |
//! | `route` | route configurations |
//! | `rbac` | who may do what, of requests and of connections |
//! | `on_demand` | clusters that come when somebody needs one |
//! | `runtime` | layers of a runtime, which settle what others read |
//! | `common`, `tls`, `format` | what all of them have in them |

pub(crate) mod bootstrap;
mod cluster;
mod common;
mod context;
mod extension;
mod format;
mod headers;
mod http;
mod listener;
mod on_demand;
mod rbac;
mod resources;
mod route;
mod runtime;
mod tls;

use std::sync::Arc;

use serde_json::Value;

use crate::{
    canonical::from_json,
    finding::{Finding, Findings, Severity},
    place::{Place, ResourceKind},
    reader::{Reader, report},
    schema::Schema,
    text::{Format, Unreadable, parse},
    units::Object,
    yaml,
};
use context::Context;
use on_demand::OnDemand;
pub use resources::Resources;
use runtime::Runtime;

/// Keeps data that a resource brings with it where a configuration can refer to it: certificates and keys from a control
/// plane, modules inside of a file. Without one they are refused by name.
pub trait InlineFiles: Send + Sync {
    /// The path of a file with this content. `what` is a name for it, of letters, digits and dashes; keys must be readable by nobody else.
    ///
    /// # Errors
    /// Why it could not be written.
    fn keep(&self, what: &str, content: &[u8]) -> Result<String, String>;
}

/// Fyke's configuration, and what of Envoy's is not in it.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// The configuration, in the order in which it is to be written.
    pub config: Value,
    /// What was not carried over; those that matter more come first.
    pub findings: Vec<Finding>,
}

impl Conversion {
    /// The configuration in YAML, findings in front as comments.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            for line in finding.to_string().lines() {
                text.push_str("# ");
                text.push_str(line);
                text.push('\n');
            }
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&yaml::print(&self.config));
        text
    }

    /// Those that change what the proxy does.
    pub fn refused(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == crate::Severity::Refused)
    }
}

/// Translates Envoy's resources. Cheap to clone.
#[derive(Clone)]
pub struct Translator {
    schema: Schema,
    inline: Option<Arc<dyn InlineFiles>>,
    on_demand: bool,
}

impl std::fmt::Debug for Translator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Translator").field("inline", &self.inline.is_some()).finish_non_exhaustive()
    }
}

impl Translator {
    /// By these descriptors.
    #[must_use]
    pub fn new(schema: Schema) -> Self {
        Self { schema, inline: None, on_demand: false }
    }

    /// With a place for data that resources bring with them.
    #[must_use]
    pub fn with_inline_files(self, inline: Arc<dyn InlineFiles>) -> Self {
        Self { inline: Some(inline), ..self }
    }

    /// For a proxy that asks its control plane for clusters when somebody needs one, or does not.
    #[must_use]
    pub fn with_clusters_on_demand(self, on_demand: bool) -> Self {
        Self { on_demand, ..self }
    }

    /// What resources look like.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// A bootstrap file.
    ///
    /// # Errors
    /// The text is no YAML, or no JSON, or not an object.
    pub fn convert(&self, bootstrap: &str, format: Format) -> Result<Conversion, Unreadable> {
        let value = parse(bootstrap, format)?;
        if !value.is_object() {
            return Err(Unreadable::Content(
                "a bootstrap is an object: `static_resources:`, `admin:` and so on".to_owned(),
            ));
        }
        let value = from_json(&self.schema, "envoy.config.bootstrap.v3.Bootstrap", value);
        let findings = Findings::default();
        let (resources, rest) = Resources::of_bootstrap(value, &findings);
        let runtime = bootstrap::runtime(&rest);
        let resources = runtime.settle(&resources);
        for key in runtime.unnamed() {
            let place = Place::resource(ResourceKind::Bootstrap, "").key("layered_runtime");
            // Envoy reads these itself, and they limit or switch something.
            let effective = ["overload.", "envoy.resource_limits.", "ratelimit."];
            let severity = if effective.iter().any(|prefix| key.starts_with(prefix)) {
                Severity::Refused
            } else {
                Severity::Ignored
            };
            let reason = format!("{key}: no field of these resources names it, and nothing else reads it here");
            report(&findings, &place, severity, reason);
        }
        let context = self.context(&resources, &findings);
        let config = context.whole(Some(&rest));
        drop(context);
        Ok(Conversion { config, findings: findings.finish() })
    }

    /// Everything that a control plane has sent, as one configuration of `listeners`, `filters`, `clusters`, `sinks` and what else follows
    /// from them.
    #[must_use]
    pub fn translate(&self, resources: &Resources) -> Conversion {
        let findings = Findings::default();
        let runtime = Runtime::of(resources.runtime.values());
        let settled = (!runtime.is_empty()).then(|| runtime.settle(resources));
        let context = self.context(settled.as_ref().unwrap_or(resources), &findings);
        let config = context.whole(None);
        drop(context);
        Conversion { config, findings: findings.finish() }
    }

    /// What is wrong with one resource, in canonical form, whatever others there are.
    #[must_use]
    pub fn check(&self, kind: ResourceKind, name: &str, resource: &Value) -> Vec<Finding> {
        let findings = Findings::default();
        let resources = Resources::default();
        let mut context = self.context(&resources, &findings);
        context.alone = true;
        context.check(kind, name, resource);
        drop(context);
        findings.finish()
    }

    /// One cluster, by itself: its name and its configuration without endpoints of EDS.
    #[must_use]
    pub fn cluster(&self, resources: &Resources, cluster: &Value) -> (Option<(String, Value)>, Vec<Finding>) {
        let findings = Findings::default();
        let context = self.context(resources, &findings);
        let translated = cluster::translate(&context, cluster, 0).map(|cluster| (cluster.name, cluster.config.into()));
        drop(context);
        (translated, findings.finish())
    }

    /// The endpoints of an assignment, as `endpoints:` of a cluster has them. These change all the time, and need no new configuration.
    #[must_use]
    pub fn endpoints(&self, assignment: &Value) -> (Vec<Value>, Vec<Finding>) {
        let findings = Findings::default();
        let name = assignment.get("cluster_name").and_then(Value::as_str).unwrap_or_default();
        let place = Place::resource(ResourceKind::Endpoints, name);
        let endpoints = match Reader::new(assignment, place, &findings) {
            Some(reader) => cluster::endpoints::assignment(reader, cluster::endpoints::Names::Refused).endpoints,
            None => Vec::new(),
        };
        (endpoints, findings.finish())
    }

    fn context<'a>(&'a self, resources: &'a Resources, findings: &'a Findings) -> Context<'a> {
        let context = Context::new(resources, findings, self.inline.as_deref());
        context.brings.replace(self.on_demand.then(OnDemand::default));
        context
    }
}

impl Context<'_> {
    /// The whole configuration. `rest` is what a bootstrap has beside its resources.
    fn whole(&self, rest: Option<&Value>) -> Value {
        let mut top = Object::default();
        if let Some(name) = rest.and_then(bootstrap::control_plane_name) {
            self.control_plane.replace(Some(name));
            // What any listener says of it holds for all.
            self.brings.replace(self.resources.listeners.iter().find_map(OnDemand::wanted));
        }
        let mut clusters = Object::default();
        for (index, cluster) in self.resources.clusters.iter().enumerate() {
            let Some(translated) = cluster::translate(self, cluster, index) else { continue };
            if clusters.has(&translated.name) {
                let place = Place::resource(ResourceKind::Cluster, &translated.name);
                self.refuse(&place, "another cluster is called the same");
                continue;
            }
            self.know(&translated);
            clusters.set(&translated.name, translated.config);
        }
        if let Some(rest) = rest {
            bootstrap::before(self, rest, &mut top);
        }
        let mut listeners = Object::default();
        for (index, listener) in self.resources.listeners.iter().enumerate() {
            let Some((name, config)) = listener::translate(self, listener, index) else { continue };
            if listeners.has(&name) {
                let place = Place::resource(ResourceKind::Listener, &name);
                self.refuse(&place, "another listener is called the same");
                continue;
            }
            listeners.set(&name, config);
        }
        if let (Some(on_demand), Some(_)) = (*self.brings.borrow(), rest) {
            on_demand.write(self, &mut top);
        }
        top.set_filled("listeners", listeners);
        top.set_filled("filters", self.filters.take().into_value());
        top.set_filled("clusters", self.spoken(clusters));
        self.finish(&mut top);
        top.into()
    }

    fn check(&self, kind: ResourceKind, name: &str, resource: &Value) {
        let place = Place::resource(kind, name);
        match kind {
            ResourceKind::Cluster => drop(cluster::translate(self, resource, 0)),
            ResourceKind::Listener => drop(listener::translate(self, resource, 0)),
            ResourceKind::Endpoints => {
                if let Some(reader) = Reader::new(resource, place, self.findings) {
                    drop(cluster::endpoints::assignment(reader, cluster::endpoints::Names::Refused));
                }
            }
            ResourceKind::RouteConfiguration => {
                if let Some(reader) = Reader::new(resource, place, self.findings) {
                    drop(route::translate(self, reader, &route::Surroundings::unknown()));
                }
            }
            ResourceKind::Secret => tls::check_secret(self, resource, place),
            ResourceKind::ExtensionConfiguration => http::check_extension(self, resource, place),
            ResourceKind::Runtime => {
                if let Some((key, reason)) = resource.get("layer").and_then(runtime::problem) {
                    self.refuse(&place.key("layer").key(&key), reason);
                }
            }
            ResourceKind::Bootstrap => {}
        }
    }
}
