//! Istio's standard labels, as rules in the words of this filter's own configuration.
//!
//! What Istio learns by its metadata exchange this proxy learns from certificates, from its own `node.metadata` (in Istio's keys: `WORKLOAD_NAME`,
//! `NAMESPACE`, `CLUSTER_ID`, `LABELS`) and from the labels of endpoints. The rest is `unknown`, until a rule of the operator says better:
//! those come first.

use std::collections::BTreeMap;

use fyke_sdk::FilterConfig;
use serde::Deserialize;

use super::{Identity, Map, Operation, Rule, Source};

/// Istio's labels and names.
#[derive(Debug, Clone, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Istio {
    /// On which side of the conversation this proxy stands. Default: `destination`.
    pub reporter: Reporter,
}

/// Whose proxy this is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Reporter {
    /// The server's: clients of all kinds come to it.
    #[default]
    Destination,
    /// The client's: it goes to servers of all kinds.
    Source,
}

/// All of Istio's labels, in its order.
#[must_use]
pub fn rules(istio: &Istio) -> Vec<Rule> {
    let mut rules = match istio.reporter {
        Reporter::Destination => {
            let mut rules = vec![fixed("reporter", "destination")];
            rules.extend(unknown("source", &["workload"]));
            rules.push(rule("source_workload_namespace", Source::Caller(Identity::Namespace), "unknown"));
            rules.push(rule("source_principal", Source::Caller(Identity::Id), "unknown"));
            rules.extend(unknown("source", &["app", "version", "canonical_service"]));
            rules.push(fixed("source_canonical_revision", "latest"));
            rules.extend(unknown("source", &["cluster"]));
            rules.extend(of_node("destination", "connection.uri_san_local_certificate"));
            rules.push(node("destination_service_namespace", &["NAMESPACE"], "unknown"));
            rules
        }
        Reporter::Source => {
            let mut rules = vec![fixed("reporter", "source")];
            rules.extend(of_node("source", "upstream.uri_san_local_certificate"));
            let namespaces = ["destination_workload_namespace", "destination_service_namespace"];
            for label in namespaces {
                rules.push(open(rule(label, Source::Callee(Identity::Namespace), "")));
                rules.push(endpoint(label, "namespace", "unknown"));
            }
            rules.push(rule("destination_principal", Source::Callee(Identity::Id), "unknown"));
            for (label, key, default) in [
                ("destination_workload", "workload", "unknown"),
                ("destination_app", "app", "unknown"),
                ("destination_version", "version", "unknown"),
                ("destination_canonical_service", "app", "unknown"),
                ("destination_canonical_revision", "version", "latest"),
                ("destination_cluster", "cluster", "unknown"),
            ] {
                rules.push(endpoint(label, key, default));
            }
            rules
        }
    };
    // Connections have no host, and when they begin no cluster either: the service of our own node is known before.
    let own = match istio.reporter {
        Reporter::Destination => Some(&["LABELS", "service.istio.io/canonical-name"]),
        Reporter::Source => None,
    };
    rules.push(open(rule("destination_service", Source::Host, "")));
    rules.extend(own.map(|keys| open(node("destination_service", keys, ""))));
    rules.push(rule("destination_service", Source::Cluster, "unknown"));
    rules.extend(own.map(|keys| open(node("destination_service_name", keys, ""))));
    rules.push(open(rule("destination_service_name", Source::Cluster, "")));
    rules.push(rule("destination_service_name", Source::Host, "unknown"));
    rules.push(rule("request_protocol", Source::Protocol, "unknown"));
    rules.push(rule("response_code", Source::ResponseCode, "0"));
    // Empty where it is no gRPC, as Istio has it.
    rules.push(open(rule("grpc_response_status", Source::GrpcStatus, "")));
    rules.push(rule("response_flags", Source::ResponseFlags, "-"));
    rules.push(match istio.reporter {
        Reporter::Destination => security(),
        Reporter::Source => fixed("connection_security_policy", "unknown"),
    });
    rules
}

fn rule(label: &str, from: Source, default: &str) -> Rule {
    Rule {
        label: Some(label.to_owned()),
        from,
        regex: None,
        value: None,
        then: Vec::new(),
        default: Some(default.to_owned()),
        maximum_length: None,
    }
}

/// Without a default: the next rule for the label is asked.
fn open(rule: Rule) -> Rule {
    Rule { default: None, ..rule }
}

fn fixed(label: &str, value: &str) -> Rule {
    open(rule(label, Source::Value(value.to_owned()), ""))
}

fn unknown(side: &str, labels: &[&str]) -> impl Iterator<Item = Rule> {
    labels.iter().map(move |label| fixed(&format!("{side}_{label}"), "unknown"))
}

fn node(label: &str, keys: &[&str], default: &str) -> Rule {
    let path = ["node", "metadata"].iter().chain(keys).map(|part| (*part).to_owned()).collect();
    rule(label, Source::PropertyPath(path), default)
}

fn endpoint(label: &str, key: &str, default: &str) -> Rule {
    rule(label, Source::Property(format!("upstream_host_metadata.{key}")), default)
}

/// Our own side.
fn of_node(side: &str, certificate: &str) -> Vec<Rule> {
    let label = |name: &str| format!("{side}_{name}");
    vec![
        node(&label("workload"), &["WORKLOAD_NAME"], "unknown"),
        node(&label("workload_namespace"), &["NAMESPACE"], "unknown"),
        rule(&label("principal"), Source::Property(certificate.to_owned()), "unknown"),
        node(&label("app"), &["LABELS", "app"], "unknown"),
        node(&label("version"), &["LABELS", "version"], "unknown"),
        node(&label("canonical_service"), &["LABELS", "service.istio.io/canonical-name"], "unknown"),
        node(&label("canonical_revision"), &["LABELS", "service.istio.io/canonical-revision"], "latest"),
        node(&label("cluster"), &["CLUSTER_ID"], "unknown"),
    ]
}

fn security() -> Rule {
    let values = [("true", "mutual_tls"), ("false", "none")];
    let values: BTreeMap<String, String> =
        values.into_iter().map(|(from, to)| (from.to_owned(), to.to_owned())).collect();
    let then = vec![Operation::Map(Map { values, other: None })];
    Rule { then, ..rule("connection_security_policy", Source::Property("connection.mtls".to_owned()), "unknown") }
}
