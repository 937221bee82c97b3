//! Loads, as a control plane that is not ours is told of them.

use std::{collections::BTreeMap, sync::Arc};

use fyke_peers::ControlPlane;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{Launch, Upstream, eventually, proxy::get};

const ENDPOINTS: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";
const REPORT: &str = "envoy.service.load_stats.v3.LoadStatsRequest";

/// Says no to `/bad`, and nothing to `/wait` until it is let.
async fn upstream(gate: &Arc<Semaphore>) -> Upstream {
    let gate = Arc::clone(gate);
    Upstream::scripted(move |mut conn, _, recorder| {
        let gate = Arc::clone(&gate);
        async move {
            while let Some(request) = conn.request().await {
                recorder.saw(&request);
                if request.path() == "/wait" {
                    gate.acquire().await.unwrap().forget();
                }
                let status = if request.path() == "/bad" { "500 No" } else { "200 OK" };
                let load = "endpoint-load-metrics: TEXT cpu_utilization=0.5, named_metrics.queue=3";
                let answer = format!("HTTP/1.1 {status}\r\n{load}\r\ncontent-length: 0\r\n\r\n");
                if conn.try_send(answer.into_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

fn assignment(zones: &[(&str, &Upstream)]) -> Value {
    let one = |(zone, upstream): &(&str, &Upstream)| {
        let address = json!({ "address": upstream.address.ip().to_string(), "port_value": upstream.address.port() });
        let endpoint = json!({ "endpoint": { "address": { "socket_address": address } } });
        json!({ "locality": { "zone": zone }, "lb_endpoints": [endpoint] })
    };
    json!({ "cluster_name": "users", "endpoints": zones.iter().map(one).collect::<Vec<_>>() })
}

/// Numbers of one thing, over all reports. What is under way is of the last one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    issued: u64,
    succeeded: u64,
    failed: u64,
    active: u64,
}

impl Sum {
    fn add(&mut self, stats: &Value) {
        self.issued += number(&stats["total_issued_requests"]);
        self.succeeded += number(&stats["total_successful_requests"]);
        self.failed += number(&stats["total_error_requests"]);
        self.active = number(&stats["total_requests_in_progress"]);
    }
}

/// 64 bits are text in JSON; nothing is left out.
fn number(value: &Value) -> u64 {
    value.as_str().map_or(0, |text| text.parse().unwrap())
}

/// All that was told.
#[derive(Debug, Default)]
struct Told {
    zones: BTreeMap<String, Sum>,
    endpoints: BTreeMap<u64, Sum>,
    /// Of the cluster `tight`.
    tight: Sum,
    dropped: u64,
    /// What endpoints said of their CPU, and of a figure of their own: how often, and the sum.
    cpu: (u64, f64),
    queue: (u64, f64),
}

/// Adds what was said of a figure.
fn add_figure(sum: &mut (u64, f64), stats: &Value) {
    sum.0 += number(&stats["num_requests_finished_with_metric"]);
    sum.1 += stats["total_metric_value"].as_f64().unwrap_or(0.0);
}

impl Told {
    fn all(&self) -> Sum {
        let mut all = Sum::default();
        for one in self.zones.values() {
            all.issued += one.issued;
            all.succeeded += one.succeeded;
            all.failed += one.failed;
            all.active += one.active;
        }
        all
    }

    /// Hears one report.
    fn hear(&mut self, plane: &ControlPlane) {
        let request = plane.heard("loads", REPORT)["request"].clone();
        self.zones.values_mut().chain(self.endpoints.values_mut()).for_each(|one| one.active = 0);
        let mut named = Vec::new();
        for cluster in request["cluster_stats"].as_array().into_iter().flatten() {
            named.push(cluster["cluster_name"].as_str().unwrap());
            let interval = cluster["load_report_interval"].as_str().unwrap().trim_end_matches('s');
            assert!(interval.parse::<f64>().unwrap() > 0.0, "{cluster}");
            self.dropped += number(&cluster["total_dropped_requests"]);
            if cluster["cluster_name"] == "tight" {
                cluster["upstream_locality_stats"].as_array().into_iter().flatten().for_each(|one| self.tight.add(one));
                continue;
            }
            assert_eq!((&cluster["cluster_name"], &cluster["cluster_service_name"]), (&json!("app"), &json!("users")));
            assert_eq!(number(&cluster["total_dropped_requests"]), 0, "{cluster}");
            for locality in cluster["upstream_locality_stats"].as_array().into_iter().flatten() {
                let zone = locality["locality"]["zone"].as_str().unwrap();
                self.zones.entry(zone.to_owned()).or_default().add(locality);
                add_figure(&mut self.cpu, &locality["cpu_utilization"]);
                for figure in locality["load_metric_stats"].as_array().into_iter().flatten() {
                    assert_eq!(figure["metric_name"], "named_metrics.queue");
                    add_figure(&mut self.queue, figure);
                }
                for endpoint in locality["upstream_endpoint_stats"].as_array().unwrap() {
                    let port = endpoint["address"]["socket_address"]["port_value"].as_u64().unwrap();
                    self.endpoints.entry(port).or_default().add(endpoint);
                }
            }
        }
        assert_eq!(named, ["app", "tight"], "{request}");
    }

    /// Hears reports until all of this was told, and two more, which tell nothing.
    fn until(&mut self, plane: &ControlPlane, all: Sum, dropped: u64) {
        while self.all() != all || self.dropped != dropped {
            self.hear(plane);
            let now = self.all();
            assert!(now.issued <= all.issued && now.succeeded <= all.succeeded && now.failed <= all.failed, "{self:?}");
        }
        (0..2).for_each(|_| self.hear(plane));
        assert_eq!((self.all(), self.dropped), (all, dropped));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_is_told_of_every_request_once() {
    let Some(mut plane) = ControlPlane::start() else { return };
    let gate = Arc::new(Semaphore::new(0));
    let (a, b, c) = (upstream(&gate).await, upstream(&gate).await, upstream(&gate).await);
    let zones = assignment(&[("a", &a), ("b", &b)]);
    plane.set(ENDPOINTS, "users", zones.clone());
    let yaml = format!(
        "node: {{ id: edge-1 }}\n\
         control_planes: {{ ads: {{ grpc: '127.0.0.1:{}', resources: [], load_reports: true }} }}\n\
         listeners: {{ web: {{ address: '127.0.0.1:0', cluster: app }}, tight: {{ address: '127.0.0.1:0', cluster: tight }} }}\n\
         clusters:\n  app: {{ discovery: {{ xds: ads, service: users }}, load_balancer: round_robin }}\n  \
         tight: {{ endpoints: ['{}'], circuit_breakers: {{ requests: 1 }} }}\n  other: {{ endpoints: ['{}'] }}\n",
        plane.port, c.address, b.address
    );
    let proxy = Launch::new(yaml).workers(2).start().await;
    let (web, tight) = (proxy.listener("web"), proxy.listener("tight"));
    let first = plane.heard("loads", REPORT)["request"].clone();
    let features = first["node"]["client_features"].to_string();
    assert!(features.contains("envoy.lrs.supports_send_all_clusters"), "{first}");
    assert!(first["node"]["id"] == "edge-1" && first.get("cluster_stats").is_none(), "{first}");
    // What was before somebody wanted to hear of it is not told.
    eventually("the endpoints", async || (get(web, "/", "").await.status() == 200).then_some(())).await;
    let before = (a.seen().len(), b.seen().len());

    let wants = json!({ "loads": {
        "clusters": ["app", "tight"], "load_reporting_interval": "0.1s", "report_endpoint_granularity": true,
    } });
    plane.say(&wants);
    let mut told = Told::default();
    told.hear(&plane);
    assert_eq!(told.all(), Sum::default());
    for _ in 0..20 {
        assert_eq!(get(web, "/", "").await.status(), 200);
    }
    for _ in 0..7 {
        assert_eq!(get(web, "/bad", "").await.status(), 500);
    }
    let holds = tokio::spawn(async move { get(tight, "/wait", "").await.status() });
    c.received(1).await;
    for _ in 0..3 {
        assert_eq!(get(tight, "/", "").await.status(), 503);
    }
    gate.add_permits(1);
    assert_eq!(holds.await.unwrap(), 200);
    let sent = Sum { issued: 27, succeeded: 20, failed: 7, active: 0 };
    told.until(&plane, sent, 3);
    assert_eq!((told.cpu, told.queue), ((27, 13.5), (27, 81.0)));
    assert_eq!((told.tight.issued, told.tight.succeeded, told.tight.failed), (1, 1, 0));
    for (zone, upstream, before) in [("a", &a, before.0), ("b", &b, before.1)] {
        let (seen, mut expected) = (upstream.seen(), Sum::default());
        for request in &seen[before..] {
            expected.issued += 1;
            *(if request.path() == "/bad" { &mut expected.failed } else { &mut expected.succeeded }) += 1;
        }
        assert!(expected.issued > 0, "both get some");
        assert_eq!(told.zones[zone], expected);
        assert_eq!(told.endpoints[&upstream.address.port().into()], expected);
    }
    let reports = proxy.page("/status").await["control_planes"]["ads"]["load_reports"].clone();
    assert!(reports["wanted"] == true && reports["sent"].as_u64().unwrap() > 1, "{reports}");

    // Under way for as long as it is.
    let waits = tokio::spawn(async move { get(web, "/wait", "").await.status() });
    told.until(&plane, Sum { issued: 28, active: 1, ..sent }, 3);
    gate.add_permits(1);
    assert_eq!(waits.await.unwrap(), 200);
    told.until(&plane, Sum { issued: 28, succeeded: 21, ..sent }, 3);

    // What comes while nobody listens is told to whoever listens next.
    let port = plane.port;
    drop(plane);
    eventually("the loss to be seen", async || {
        (proxy.page("/status").await["control_planes"]["ads"]["load_reports"]["wanted"] == false).then_some(())
    })
    .await;
    for _ in 0..5 {
        assert_eq!(get(web, "/", "").await.status(), 200);
    }
    let Some(mut plane) = ControlPlane::start_at(port) else { return };
    plane.set(ENDPOINTS, "users", zones);
    plane.say(&wants);
    assert!(plane.heard("loads", REPORT)["request"]["node"]["id"] == "edge-1");
    told.until(&plane, Sum { issued: 33, succeeded: 26, ..sent }, 3);
}
