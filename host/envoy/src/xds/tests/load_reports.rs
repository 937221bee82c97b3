//! Reports of loads, and a control plane that wants them, or does not know what they are.

use std::time::Duration;

use tokio::sync::mpsc;

use super::server::{Call, Server};
use crate::xds::{
    Address, Backoff, ClusterLoad, Counts, EndpointLoad, Figure, Figures, LoadReporter, Loads, LocalityLoad, Node,
    Notice, Settings, Wanted,
    load_reports::{ClusterStats, LoadStatsRequest, LoadStatsResponse},
};

/// An application with one cluster, each of whose reports counts one more request than the one before.
struct Application {
    told: mpsc::UnboundedSender<Said>,
    reports: u64,
}

#[derive(Debug, PartialEq)]
enum Said {
    Follows(Wanted),
    Notice(Notice),
}

impl Loads for Application {
    fn follow(&mut self, wanted: &Wanted) {
        let _ = self.told.send(Said::Follows(wanted.clone()));
    }

    fn report(&mut self, wanted: &Wanted) -> Vec<ClusterLoad> {
        self.reports += 1;
        let counts = Counts { issued: self.reports, succeeded: 2, failed: 3, active: 4 };
        let figures: Figures = [("cpu_utilization", 0.5), ("named_metrics.queue", 7.0)]
            .map(|(name, total)| (name.to_owned(), Figure { count: 2, total }))
            .into();
        let endpoint = EndpointLoad { address: "[::1]:80".parse().unwrap(), counts, figures: figures.clone() };
        let endpoints = if wanted.endpoints { vec![endpoint] } else { Vec::new() };
        let locality = LocalityLoad { zone: "eu-1a".to_owned(), priority: 1, counts, figures, endpoints };
        vec![ClusterLoad {
            name: "app".to_owned(),
            service: "users".to_owned(),
            dropped: 5,
            elapsed: Duration::from_millis(1_500),
            localities: vec![locality],
        }]
    }

    fn tell(&mut self, notice: Notice) {
        let _ = self.told.send(Said::Notice(notice));
    }
}

fn start(server: &Server) -> (LoadReporter, mpsc::UnboundedReceiver<Said>) {
    let node = Node { id: "me".to_owned(), zone: "eu-1a".to_owned(), ..Node::default() };
    let settings = Settings {
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(5)),
        headers: vec![("authorization".to_owned(), "Bearer t".to_owned())],
        ..Settings::new(Address::Tcp(server.address.to_string()), node)
    };
    let (told, heard) = mpsc::unbounded_channel();
    (LoadReporter::start(settings, Application { told, reports: 0 }), heard)
}

async fn heard(said: &mut mpsc::UnboundedReceiver<Said>) -> Said {
    let next = tokio::time::timeout(Duration::from_secs(60), said.recv());
    next.await.expect("something is said").expect("the task runs")
}

fn wants(clusters: &[&str], endpoints: bool) -> LoadStatsResponse {
    LoadStatsResponse {
        clusters: clusters.iter().map(|name| (*name).to_owned()).collect(),
        load_reporting_interval: Some(prost_types::Duration { seconds: 0, nanos: 1 }),
        report_endpoint_granularity: endpoints,
        send_all_clusters: false,
    }
}

async fn report(call: &mut Call) -> ClusterStats {
    let mut request: LoadStatsRequest = call.read().await;
    assert!(request.node.is_none(), "it was said");
    request.cluster_stats.remove(0)
}

#[tokio::test]
async fn what_is_wanted_is_reported_until_something_else_is() {
    let mut server = Server::start(None).await;
    let (reporter, mut said) = start(&server);
    let mut call = server.call().await;
    assert_eq!(call.path, "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats");
    assert_eq!(call.headers["authorization"], "Bearer t");
    let first: LoadStatsRequest = call.read().await;
    let node = first.node.unwrap();
    assert_eq!((&*node.id, node.locality.unwrap().zone.as_str()), ("me", "eu-1a"));
    assert!(node.client_features.iter().any(|feature| feature == "envoy.lrs.supports_send_all_clusters"));
    assert!(first.cluster_stats.is_empty());

    call.write(&wants(&["app"], true)).await;
    let Said::Follows(wanted) = heard(&mut said).await else { panic!("nothing is followed") };
    assert!(wanted.has("app") && !wanted.has("other") && wanted.endpoints);
    assert_eq!(heard(&mut said).await, Said::Notice(Notice::Wanted));
    let stats = report(&mut call).await;
    assert_eq!((&*stats.cluster_name, &*stats.cluster_service_name), ("app", "users"));
    assert_eq!(stats.total_dropped_requests, 5);
    assert_eq!(stats.load_report_interval, Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }));
    let locality = &stats.upstream_locality_stats[0];
    assert_eq!((locality.locality.as_ref().unwrap().zone.as_str(), locality.priority), ("eu-1a", 1));
    let counts = [locality.total_issued_requests, locality.total_successful_requests, locality.total_error_requests];
    assert_eq!((counts, locality.total_requests_in_progress), ([1, 2, 3], 4));
    let cpu = locality.cpu_utilization.as_ref().unwrap();
    assert_eq!((cpu.num_requests_finished_with_metric, cpu.total_metric_value), (2, 0.5));
    assert!(locality.mem_utilization.is_none());
    let [queue] = &locality.load_metric_stats[..] else { panic!("{locality:?}") };
    assert_eq!((&*queue.metric_name, queue.total_metric_value), ("named_metrics.queue", 7.0));
    let endpoint = &locality.upstream_endpoint_stats[0];
    assert_eq!(endpoint.load_metric_stats.len(), 2);
    let socket = endpoint.address.as_ref().unwrap().socket_address.as_ref().unwrap();
    assert_eq!((&*socket.address, socket.port_value, endpoint.total_issued_requests), ("::1", 80, 1));
    assert_eq!(report(&mut call).await.upstream_locality_stats[0].total_issued_requests, 2);

    // Without endpoints, and then nothing at all: the call stays.
    call.write(&wants(&["app"], false)).await;
    while !report(&mut call).await.upstream_locality_stats[0].upstream_endpoint_stats.is_empty() {}
    call.write(&wants(&[], false)).await;
    loop {
        match heard(&mut said).await {
            Said::Follows(wanted) if wanted.is_nothing() => break,
            said => assert!(!matches!(said, Said::Notice(Notice::Lost { .. })), "{said:?}"),
        }
    }
    assert!(said.try_recv().is_err());
    drop(reporter);
    while !call.is_over().await {}
}

#[tokio::test]
async fn a_control_plane_that_does_not_implement_it_is_asked_again() {
    let mut server = Server::start(None).await;
    let (_reporter, mut said) = start(&server);
    for _ in 0..3 {
        let mut call = server.call().await;
        let _: LoadStatsRequest = call.read().await;
        call.end("12", "Method not found!").await;
        let Said::Notice(Notice::Lost { reason, .. }) = heard(&mut said).await else { panic!("nothing is lost") };
        assert_eq!(reason, "the control plane does not implement the call (status 12): Method not found!");
    }
    // Now it does, and goes away in the middle: the application goes on where it was.
    let mut counted = 0;
    for _ in 0..2 {
        let mut call = server.call().await;
        let first: LoadStatsRequest = call.read().await;
        assert!(first.node.is_some() && first.cluster_stats.is_empty());
        call.write(&wants(&["app"], false)).await;
        let issued = report(&mut call).await.upstream_locality_stats[0].total_issued_requests;
        assert!(issued > counted);
        counted = issued;
        call.end("14", "going away").await;
    }
}
