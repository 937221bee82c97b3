//! The client, and the translator, against a control plane that is not ours (`tests/support/peers`: grpcio and xds-protos).
//!
//! `FYKE_PYTHON` names a Python that has both; without it these tests have nobody to talk to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail loudly"
)]

use std::time::Duration;

use fyke_envoy::xds::{Address, Backoff, Client, Event, Mode, Node, ResourceType, Settings, Update, Verdict};
use fyke_envoy::{Resources, Schema, Severity, Translator};
use fyke_peers::ControlPlane;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

/// An application: it keeps what it takes, and refuses what cannot be translated.
struct Application {
    client: Client,
    translator: Translator,
    resources: Resources,
}

impl Application {
    fn start(plane: &ControlPlane, mode: Mode) -> Self {
        let schema = Schema::load().unwrap();
        let settings = Settings {
            mode,
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(50)),
            ..Settings::new(
                Address::Tcp(format!("127.0.0.1:{}", plane.port)),
                Node { id: "fyke-1".to_owned(), ..Node::default() },
            )
        };
        let client = Client::start(settings, schema.clone());
        Self {
            client,
            translator: Translator::new(schema),
            resources: Resources { control_plane: Some("test".to_owned()), ..Resources::default() },
        }
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(LONG, self.client.events.recv())
            .await
            .expect("something happens")
            .expect("the client runs")
    }

    /// The next update of a type, applied.
    async fn update(&mut self, kind: ResourceType) -> Update {
        loop {
            if let Event::Update(update, reply) = self.event().await {
                let verdict = self.apply(&update);
                if let Some(reply) = reply {
                    reply.send(verdict).unwrap();
                }
                if update.kind == kind {
                    return update;
                }
            }
        }
    }

    fn apply(&mut self, update: &Update) -> Verdict {
        let mut verdict = Verdict::default();
        for resource in &update.added {
            let findings = self.translator.check(update.kind.kind(), &resource.name, &resource.value);
            let refused = findings.iter().find(|finding| finding.severity == Severity::Refused);
            match refused {
                Some(finding) => verdict.refused.push((resource.name.clone(), finding.to_string())),
                None => self.resources.put(update.kind, &resource.name, resource.value.clone()),
            }
        }
        for name in &update.removed {
            self.resources.remove(update.kind, name);
        }
        verdict
    }

    fn config(&self) -> Value {
        let conversion = self.translator.translate(&self.resources);
        let refused: Vec<_> = conversion.refused().collect();
        assert!(refused.is_empty(), "{refused:#?}");
        conversion.config
    }
}

fn cluster(timeout: &str) -> Value {
    json!({ "name": "app", "type": "EDS", "connect_timeout": timeout, "eds_cluster_config": { "eds_config": { "ads": {}, "resource_api_version": "V3" } } })
}

fn endpoints(port: u16) -> Value {
    json!({ "cluster_name": "app", "endpoints": [{ "lb_endpoints": [
        { "endpoint": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } } } },
    ] }] })
}

fn listener() -> Value {
    json!({
        "name": "web",
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 8080 } },
        "filter_chains": [{ "filters": [{ "name": "hcm", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "web",
            "rds": { "route_config_name": "routes", "config_source": { "ads": {}, "resource_api_version": "V3" } },
            "http_filters": [{ "name": "router", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } }],
        } }] }],
    })
}

fn routes(prefix: &str) -> Value {
    json!({ "name": "routes", "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
        { "match": { "prefix": prefix }, "route": { "cluster": "app", "timeout": "3s" } },
    ] }] })
}

async fn everything(mode: Mode) {
    let Some(mut plane) = ControlPlane::start() else { return };
    let mut application = Application::start(&plane, mode);
    use ResourceType::{Cluster, Endpoints, Listener, RouteConfiguration};

    // Subscriptions follow what resources refer to.
    assert_eq!(plane.heard("request", Cluster.message())["node"], "fyke-1");
    plane.set(Endpoints.message(), "app", endpoints(9001));
    plane.set(RouteConfiguration.message(), "routes", routes("/a"));
    plane.set(Cluster.message(), "app", cluster("1s"));
    application.update(Cluster).await;
    plane.heard("ack", Cluster.message());
    assert_eq!(plane.heard("request", Endpoints.message())["names"], json!(["app"]));
    application.update(Endpoints).await;
    plane.set(Listener.message(), "web", listener());
    application.update(Listener).await;
    application.update(RouteConfiguration).await;
    plane.heard("ack", RouteConfiguration.message());
    let expected = json!({
        "listeners": { "web": { "address": "127.0.0.1:8080", "filters": ["request-id", "router"] } },
        "filters": {
            "request-id": { "module": "builtin:request-id", "config": { "forwarded": "keep" } },
            "router": { "module": "builtin:router", "config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
                { "match": { "path_prefix": "/a" }, "cluster": "app", "timeout": "3s" },
            ] }] } },
        },
        "clusters": { "app": { "endpoints": ["127.0.0.1:9001"], "load_balancer": "round_robin", "connect_timeout": "1s" } },
    });
    assert_eq!(application.config(), expected);

    // An update of endpoints alone.
    plane.set(Endpoints.message(), "app", endpoints(9002));
    application.update(Endpoints).await;
    assert_eq!(application.config()["clusters"]["app"]["endpoints"], json!(["127.0.0.1:9002"]));

    // What cannot be is refused by name; what is good beside it is taken. Then it is mended.
    plane.say(&json!({ "set": { Cluster.message(): {
        "app": cluster("2s"),
        "original": { "name": "original", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED" },
        "broken": "0aff",
    } } }));
    application.update(Cluster).await;
    let nack = plane.heard("nack", Cluster.message());
    let message = nack["message"].as_str().unwrap();
    assert!(message.contains("cluster \"original\": refused") && message.contains("ORIGINAL_DST"), "{message}");
    assert!(message.contains("not a message of type envoy.config.cluster.v3.Cluster"), "{message}");
    assert_eq!(application.config()["clusters"]["app"]["connect_timeout"], "2s");
    plane.say(&json!({ "set": { Cluster.message(): { "app": cluster("3s") } }, "remove": { Cluster.message(): ["original", "broken"] } }));
    application.update(Cluster).await;
    plane.heard("ack", Cluster.message());
    assert_eq!(application.config()["clusters"]["app"]["connect_timeout"], "3s");

    // A stream that is dropped is opened again, and says what it has.
    plane.say(&json!({ "drop": true }));
    let again = plane.heard("request", Cluster.message());
    match mode {
        Mode::StateOfTheWorld => assert_ne!(again["version"], ""),
        Mode::Delta => assert_eq!(again["initial"].as_object().unwrap().len(), 1),
    }
    plane.set(RouteConfiguration.message(), "routes", routes("/b"));
    application.update(RouteConfiguration).await;
    assert_eq!(
        application.config()["filters"]["router"]["config"]["virtual_hosts"][0]["routes"][0]["match"]["path_prefix"],
        "/b"
    );

    // What is removed is gone, with what only it referred to.
    plane.say(&json!({ "remove": { Listener.message(): ["web"] } }));
    assert_eq!(application.update(Listener).await.removed, ["web"]);
    assert_eq!(application.update(RouteConfiguration).await.removed, ["routes"]);
    assert!(application.config().get("listeners").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strange_control_plane_is_understood_in_states_of_the_world() {
    everything(Mode::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strange_control_plane_is_understood_in_changes() {
    everything(Mode::Delta).await;
}
