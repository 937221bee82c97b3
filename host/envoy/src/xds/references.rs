//! Which other resources a resource needs: what it names with a source that is a control plane.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::ResourceType;

/// The resources that a resource in canonical form refers to, each once, in order.
#[must_use]
pub fn references(kind: ResourceType, resource: &Value) -> Vec<(ResourceType, String)> {
    let mut found = BTreeSet::new();
    if kind == ResourceType::Cluster {
        found.extend(endpoints(resource).map(|name| (ResourceType::Endpoints, name)));
    }
    // Endpoints refer to nothing, and are many.
    if !matches!(kind, ResourceType::Endpoints | ResourceType::Runtime) {
        walk(resource, None, &mut found);
    }
    found.into_iter().collect()
}

/// The assignment of a cluster of EDS.
fn endpoints(cluster: &Value) -> Option<String> {
    if cluster.get("type").and_then(Value::as_str) != Some("EDS") {
        return None;
    }
    let config = cluster.get("eds_cluster_config")?;
    let service = config.get("service_name").and_then(Value::as_str).filter(|name| !name.is_empty());
    service.or_else(|| cluster.get("name")?.as_str()).map(str::to_owned)
}

/// Messages in the configuration that name a resource by `*_config_name` or `name`, beside a source. `name` is that of the filter around.
fn walk(value: &Value, around: Option<&str>, found: &mut BTreeSet<(ResourceType, String)>) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| walk(item, around, found)),
        Value::Object(object) => {
            let name = object.get("name").and_then(Value::as_str).or(around);
            if let Some(route) = text(object, "route_config_name").filter(|_| object.contains_key("config_source")) {
                found.insert((ResourceType::RouteConfiguration, route));
            }
            // A secret without a source is a static one, of the bootstrap.
            if let Some(secret) = text(object, "name").filter(|_| object.contains_key("sds_config")) {
                found.insert((ResourceType::Secret, secret));
            }
            if let (Some(name), Some(Value::Object(discovery))) = (name, object.get("config_discovery"))
                && discovery.contains_key("config_source")
            {
                found.insert((ResourceType::ExtensionConfiguration, name.to_owned()));
            }
            for (key, value) in object {
                // Metadata is anybody's.
                if key != "metadata" {
                    walk(value, name, found);
                }
            }
        }
        _ => {}
    }
}

fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn clusters_of_eds_name_an_assignment() {
        let plain = json!({ "name": "a", "type": "EDS", "eds_cluster_config": { "eds_config": { "ads": {} } } });
        let service = json!({ "name": "a", "type": "EDS", "eds_cluster_config": { "service_name": "b" } });
        let fixed = json!({ "name": "a", "load_assignment": { "cluster_name": "a" } });
        assert_eq!(references(ResourceType::Cluster, &plain), [(ResourceType::Endpoints, "a".to_owned())]);
        assert_eq!(references(ResourceType::Cluster, &service), [(ResourceType::Endpoints, "b".to_owned())]);
        assert!(references(ResourceType::Cluster, &fixed).is_empty());
    }

    #[test]
    fn listeners_name_routes_secrets_and_filters() {
        let ads = json!({ "ads": {} });
        let listener = json!({ "name": "l", "metadata": { "route_config_name": "not-one", "config_source": {} }, "filter_chains": [{
            "transport_socket": { "typed_config": { "common_tls_context": { "tls_certificate_sds_secret_configs": [
                { "name": "cert", "sds_config": ads }, { "name": "static" },
            ] } } },
            "filters": [{ "name": "hcm", "typed_config": {
                "rds": { "config_source": ads, "route_config_name": "routes" },
                "http_filters": [{ "name": "wasm", "config_discovery": { "config_source": ads } }, { "name": "router" }],
            } }],
        }] });
        let expected = [
            (ResourceType::RouteConfiguration, "routes".to_owned()),
            (ResourceType::Secret, "cert".to_owned()),
            (ResourceType::ExtensionConfiguration, "wasm".to_owned()),
        ];
        assert_eq!(references(ResourceType::Listener, &listener), expected);
    }
}
