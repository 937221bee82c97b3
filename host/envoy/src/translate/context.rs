//! What the parts of a translation know of each other.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{InlineFiles, Resources, cluster::Cluster, on_demand::OnDemand};
use crate::{
    finding::{Findings, Severity},
    place::Place,
    reader::report,
    units::Object,
};

pub(super) struct Context<'a> {
    pub resources: &'a Resources,
    pub findings: &'a Findings,
    pub inline: Option<&'a dyn InlineFiles>,
    /// One resource is looked at by itself: what it refers to may be anywhere.
    pub alone: bool,
    pub filters: RefCell<FilterSet>,
    /// Stands in front of the names of sinks.
    prefix: String,
    pub sinks: RefCell<BTreeMap<String, Value>>,
    pub tracing: RefCell<Option<Value>>,
    clusters: RefCell<BTreeMap<String, Known>>,
    uses: RefCell<Uses>,
    /// Clusters that are not here are asked for when somebody needs one, and waited for as long as some filter says.
    pub brings: RefCell<Option<OnDemand>>,
    /// The control plane that EDS, RDS and so on are asked of, when resources say `ads`.
    pub control_plane: RefCell<Option<String>>,
}

/// What others need to know of a cluster.
#[derive(Debug, Clone)]
struct Known {
    address: Option<String>,
    tls: Option<Value>,
    http: bool,
}

#[derive(Debug, Default)]
struct Uses {
    http: BTreeSet<String>,
    tcp: BTreeSet<String>,
}

/// Filters by name; the same one is there once, whoever asks for it.
#[derive(Debug, Default)]
pub(super) struct FilterSet {
    filters: Map<String, Value>,
    /// Stands in front of all names.
    prefix: String,
}

impl FilterSet {
    /// The name that a filter has now: the one that is asked for, unless another filter has it, or it is in the same `chain` already.
    pub fn add(&mut self, wanted: &str, filter: Value, chain: &[String]) -> String {
        for number in 1_usize.. {
            let prefix = &self.prefix;
            let name = if number == 1 { format!("{prefix}{wanted}") } else { format!("{prefix}{wanted}-{number}") };
            match self.filters.get(&name) {
                Some(there) if *there == filter && !chain.contains(&name) => return name,
                Some(_) => {}
                None => {
                    self.filters.insert(name.clone(), filter);
                    return name;
                }
            }
        }
        wanted.to_owned()
    }

    pub fn into_value(self) -> Value {
        Value::Object(self.filters)
    }
}

impl<'a> Context<'a> {
    pub fn new(resources: &'a Resources, findings: &'a Findings, inline: Option<&'a dyn InlineFiles>) -> Self {
        Self {
            resources,
            findings,
            inline,
            alone: false,
            filters: RefCell::new(FilterSet { prefix: resources.prefix.clone(), ..FilterSet::default() }),
            prefix: resources.prefix.clone(),
            sinks: RefCell::default(),
            tracing: RefCell::default(),
            clusters: RefCell::default(),
            uses: RefCell::default(),
            brings: RefCell::default(),
            control_plane: RefCell::new(resources.control_plane.clone()),
        }
    }

    pub fn refuse(&self, place: &Place, reason: impl Into<String>) {
        report(self.findings, place, Severity::Refused, reason);
    }

    /// A cluster is part of the configuration.
    pub fn know(&self, cluster: &Cluster) {
        let known = Known { address: cluster.address.clone(), tls: cluster.tls.clone(), http: cluster.http };
        self.clusters.borrow_mut().insert(cluster.name.clone(), known);
    }

    /// Whether there is such a cluster. Of a resource that is looked at by itself nobody knows.
    pub fn has_cluster(&self, name: &str) -> bool {
        self.alone || self.clusters.borrow().contains_key(name)
    }

    /// Requests are sent to a cluster. False, with a finding: there is none of that name.
    pub fn sends_requests(&self, cluster: &str, place: &Place) -> bool {
        self.uses.borrow_mut().http.insert(cluster.to_owned());
        self.is_there(cluster, place)
    }

    /// A route leads to a cluster, which may come when it is needed.
    pub fn routes_to(&self, cluster: &str, place: &Place) -> bool {
        self.uses.borrow_mut().http.insert(cluster.to_owned());
        self.brings.borrow().is_some() || self.is_there(cluster, place)
    }

    /// A listener leads to a cluster, which may come when it is needed.
    pub fn connects_to(&self, cluster: &str, place: &Place) -> bool {
        self.uses.borrow_mut().tcp.insert(cluster.to_owned());
        self.brings.borrow().is_some() || self.is_there(cluster, place)
    }

    /// Connections are, as they are.
    pub fn sends_bytes(&self, cluster: &str, place: &Place) -> bool {
        self.uses.borrow_mut().tcp.insert(cluster.to_owned());
        self.is_there(cluster, place)
    }

    fn is_there(&self, cluster: &str, place: &Place) -> bool {
        let there = self.has_cluster(cluster);
        if !there {
            self.refuse(place, format!("there is no cluster {cluster:?}"));
        }
        there
    }

    /// The address of a cluster that the proxy itself talks to, with `https://` where it has TLS.
    pub fn address_of(&self, cluster: &str, place: &Place) -> Option<String> {
        if self.alone {
            return Some("127.0.0.1:4317".to_owned());
        }
        let known = self.clusters.borrow().get(cluster).cloned();
        let Some(known) = known else {
            self.refuse(place, format!("there is no cluster {cluster:?}"));
            return None;
        };
        let Some(address) = known.address else {
            self.refuse(place, format!("cluster {cluster:?} has no address that is known now"));
            return None;
        };
        Some(if known.tls.is_some() { format!("https://{address}") } else { address })
    }

    /// `tls:` of a cluster.
    pub fn tls_of(&self, cluster: &str) -> Option<Value> {
        self.clusters.borrow().get(cluster)?.tls.clone()
    }

    /// Clusters that only connections are sent to take no requests.
    pub fn spoken(&self, clusters: Object) -> Value {
        let mut clusters: Map<String, Value> = clusters.into();
        let (uses, known) = (self.uses.borrow(), self.clusters.borrow());
        for (name, cluster) in &mut clusters {
            let bytes = uses.tcp.contains(name) && !uses.http.contains(name);
            let says_http = known.get(name).is_some_and(|known| known.http);
            if let (true, false, Some(cluster)) = (bytes, says_http, cluster.as_object_mut()) {
                cluster.insert("protocol".to_owned(), Value::from("tcp"));
            }
        }
        Value::Object(clusters)
    }

    pub fn finish(&self, top: &mut Object) {
        let sinks: Map<String, Value> = self.sinks.take().into_iter().collect();
        top.set_filled("sinks", sinks);
        top.set_some("tracing", self.tracing.take());
    }

    /// A sink with this definition; its name is made of `wanted`.
    pub fn sink(&self, wanted: &str, sink: &Value) -> String {
        let mut sinks = self.sinks.borrow_mut();
        if let Some((name, _)) = sinks.iter().find(|(_, there)| *there == sink) {
            return name.clone();
        }
        let mut name = format!("{}{wanted}", self.prefix);
        let mut number = 1;
        while sinks.contains_key(&name) {
            number += 1;
            name = format!("{}{wanted}-{number}", self.prefix);
        }
        sinks.insert(name.clone(), sink.clone());
        name
    }

    /// A file with data that is written inside of a resource. `None`, with a finding: there is no place for it.
    pub fn keep(&self, what: &str, content: &[u8], place: &Place) -> Option<String> {
        let Some(inline) = self.inline else {
            self.refuse(place, "is written into the file: put it into a file of its own, and name that (`fyke convert --files FOLDER` does)");
            return None;
        };
        match inline.keep(what, content) {
            Ok(path) => Some(path),
            Err(reason) => {
                self.refuse(place, format!("could not be kept: {reason}"));
                None
            }
        }
    }
}
