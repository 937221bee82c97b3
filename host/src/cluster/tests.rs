//! Connections for requests: who waits for them, what is kept of them, and whose they are.

use std::{rc::Rc, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, spawn_local},
    time::Instant,
};

use super::{
    Choice, ClusterError,
    choice::Priority,
    connect::LocalExecutor,
    error::Limit,
    lease::Lease,
    local::LocalCluster,
    settings::ExtendedConnect,
    testing::{Server, eventually, local, on_a_worker, settled, shared},
};
use crate::config::resolved::Endpoint;

fn cluster(servers: &[Server], more: &str) -> Rc<LocalCluster> {
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    local(&shared(&addresses, more, 1), 0)
}

async fn lease(cluster: &Rc<LocalCluster>, server: &Server, priority: Priority) -> Result<Lease, ClusterError> {
    ask(cluster, server, priority).await.unwrap()
}

/// Asks for a connection.
fn ask(cluster: &Rc<LocalCluster>, server: &Server, priority: Priority) -> JoinHandle<Result<Lease, ClusterError>> {
    let choice = Choice { endpoint: Some(server.address), priority, ..Choice::default() };
    let cluster = Rc::clone(cluster);
    spawn_local(async move { cluster.lease(Some(&choice), None, false).await })
}

/// The same, for one who has to wait for a permit.
async fn wait(
    cluster: &Rc<LocalCluster>,
    server: &Server,
    priority: Priority,
) -> JoinHandle<Result<Lease, ClusterError>> {
    let asked = ask(cluster, server, priority);
    eventually("waits", || cluster.metrics.pending.own() > 0).await;
    asked
}

/// Discovery knows these.
fn discovered(cluster: &LocalCluster, servers: &[Server]) {
    let found: Vec<_> = servers.iter().map(|server| Endpoint::new(server.address).into()).collect();
    cluster.shared.discovered(&found);
    assert_eq!(cluster.size(), servers.len());
}

fn permits(cluster: &LocalCluster, priority: Priority) -> usize {
    cluster.shared.breakers(priority).connections.available_permits()
}

#[tokio::test]
async fn a_connection_whose_endpoint_has_left_is_closed_when_its_request_is_over() {
    on_a_worker(async {
        let servers = Server::several::<2>().await;
        let cluster = cluster(&servers, "circuit_breakers: { connections: 4 }");
        let (stays, leaves) = (
            lease(&cluster, &servers[0], Priority::Default).await.unwrap(),
            lease(&cluster, &servers[1], Priority::Default).await.unwrap(),
        );
        discovered(&cluster, &servers[..1]);
        stays.finish();
        leaves.finish();
        eventually("the permit is back", || permits(&cluster, Priority::Default) == 3).await;
        assert_eq!(cluster.metrics.idle.own(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_leaves_while_it_is_connected_to_keeps_no_connection() {
    on_a_worker(async {
        let servers = Server::several::<2>().await;
        let cluster = cluster(&servers, "protocol: http2, circuit_breakers: { connections: 4 }");
        let connecting = ask(&cluster, &servers[1], Priority::Default);
        while permits(&cluster, Priority::Default) == 4 {
            tokio::task::yield_now().await;
        }
        discovered(&cluster, &servers[..1]);
        drop(connecting.await.unwrap().unwrap());
        eventually("the permit is back", || permits(&cluster, Priority::Default) == 4).await;
    })
    .await;
}

/// Connections stand, and TLS never does.
const SLOW: &str = "tls: { sni: app.test }, circuit_breakers: { connections: 1 }, connect_timeout: 200ms";

#[tokio::test]
async fn an_endpoint_that_takes_too_long_is_to_blame_also_where_it_has_all_permits() {
    on_a_worker(async {
        let servers = Server::several::<1>().await;
        let cluster = cluster(&servers, SLOW);
        let connecting = ask(&cluster, &servers[0], Priority::Default);
        eventually("connects", || permits(&cluster, Priority::Default) == 0).await;
        // Its permit will go on at once.
        let waiting = wait(&cluster, &servers[0], Priority::Default).await;
        for asked in [connecting, waiting] {
            let error = asked.await.unwrap().unwrap_err();
            assert!(matches!(error, ClusterError::ConnectTimeout { .. }), "{error}");
        }
        assert_eq!((cluster.metrics.connect_timeouts.own(), permits(&cluster, Priority::Default)), (2, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_permit_leaves_as_much_time_to_connect() {
    on_a_worker(async {
        let servers = Server::several::<1>().await;
        let cluster = cluster(&servers, SLOW);
        let permit = cluster.permit(Priority::Default).await.unwrap();
        let waiting = wait(&cluster, &servers[0], Priority::Default).await;
        tokio::time::advance(Duration::from_millis(100)).await;
        let started = Instant::now();
        drop(permit);
        let error = waiting.await.unwrap().unwrap_err();
        assert!(matches!(error, ClusterError::ConnectTimeout { .. }), "{error}");
        assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
        // Without a permit the endpoint is not to blame.
        let _permit = cluster.permit(Priority::Default).await.unwrap();
        let error = wait(&cluster, &servers[0], Priority::Default).await.await.unwrap().unwrap_err();
        assert!(matches!(error, ClusterError::Overflow { limit: Limit::Connections, .. }), "{error}");
        assert_eq!(cluster.metrics.connect_timeouts.own(), 1);
    })
    .await;
}

/// Two workers of one process that may have one connection to one server, over which this is spoken.
async fn two_workers(protocol: &str) -> (Server, [Rc<LocalCluster>; 2]) {
    let server = if protocol == "http2" { two_streams().await } else { Server::start().await };
    let limits = format!("protocol: {protocol}, circuit_breakers: {{ connections: 1 }}, connect_timeout: 10s");
    let cluster = shared(&[server.address], &limits, 2);
    let workers = [local(&cluster, 0), local(&cluster, 1)];
    (server, workers)
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_for_another_worker_at_once() {
    on_a_worker(async {
        let (server, [has, needs]) = two_workers("http1").await;
        lease(&has, &server, Priority::Default).await.unwrap().finish();
        assert_eq!(has.metrics.idle.own(), 1);
        let waiting = wait(&needs, &server, Priority::Default).await;
        // As the worker's housekeeping does when it is told.
        has.give_way();
        let lease = waiting.await.unwrap().unwrap();
        assert_eq!((lease.is_reused(), has.metrics.idle.own(), server.connections()), (false, 0, 2));
        // Nobody waits any more: nothing is owed.
        lease.finish();
        needs.give_way();
        assert_eq!(needs.metrics.idle.own(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_longest_comes_first_on_whichever_worker() {
    on_a_worker(async {
        let (server, [busy, other]) = two_workers("http1").await;
        let first = lease(&busy, &server, Priority::Default).await.unwrap();
        let elsewhere = wait(&other, &server, Priority::Default).await;
        // Not for long: those who are here already need no handshake.
        let here = wait(&busy, &server, Priority::Default).await;
        first.finish();
        let second = here.await.unwrap().unwrap();
        assert!(second.is_reused() && !elsewhere.is_finished());
        let here = wait(&busy, &server, Priority::Default).await;
        tokio::time::advance(Duration::from_millis(60)).await;
        second.finish();
        let third = elsewhere.await.unwrap().unwrap();
        assert!(!third.is_reused() && !here.is_finished());
        third.finish();
        assert!(!here.await.unwrap().unwrap().is_reused());
    })
    .await;
}

/// A worker whose only connection has a stream, and another one where somebody has waited for long enough for the connection to give way.
struct Late {
    server: Server,
    busy: Rc<LocalCluster>,
    other: Rc<LocalCluster>,
    stream: Lease,
    elsewhere: JoinHandle<Result<Lease, ClusterError>>,
}

async fn late() -> Late {
    let (server, [busy, other]) = two_workers("http2").await;
    let stream = lease(&busy, &server, Priority::Default).await.unwrap();
    let elsewhere = wait(&other, &server, Priority::Default).await;
    tokio::time::advance(Duration::from_millis(60)).await;
    settled().await;
    busy.give_way();
    Late { server, busy, other, stream, elsewhere }
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_many_streams_gives_way_to_another_worker_in_time() {
    on_a_worker(async {
        let Late { server, busy, other, stream, elsewhere } = late().await;
        let next = wait(&busy, &server, Priority::Default).await;
        assert!(!elsewhere.is_finished(), "a stream is under way");
        drop(stream);
        drop(elsewhere.await.unwrap().unwrap());
        other.give_way();
        assert!(!next.await.unwrap().unwrap().is_reused());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_streams_last_serves_its_own_worker_again() {
    on_a_worker(async {
        let Late { server, busy, stream, elsewhere, .. } = late().await;
        let here = wait(&busy, &server, Priority::Default).await;
        // The stream goes on, so nobody elsewhere is helped: those who are here need not wait for its end.
        assert!(here.await.unwrap().unwrap().is_reused());
        assert!(!elsewhere.is_finished());
        drop(stream);
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_a_permit_of_one_priority_closes_no_idle_connection_of_the_other() {
    on_a_worker(async {
        let servers = Server::several::<2>().await;
        let limits = "circuit_breakers: { connections: 4, high: { connections: 1 } }";
        let cluster = cluster(&servers, limits);
        let usual = [
            lease(&cluster, &servers[0], Priority::Default).await.unwrap(),
            lease(&cluster, &servers[0], Priority::Default).await.unwrap(),
        ];
        usual.into_iter().for_each(Lease::finish);
        let high = lease(&cluster, &servers[1], Priority::High).await.unwrap();
        let waiting = wait(&cluster, &servers[1], Priority::High).await;
        settled().await;
        cluster.sweep();
        assert_eq!((cluster.metrics.idle.own(), permits(&cluster, Priority::Default)), (2, 2));
        high.finish();
        assert!(waiting.await.unwrap().unwrap().is_reused());
    })
    .await;
}

/// An HTTP/2 endpoint that takes two streams at a time.
async fn two_streams() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Server::serving(listener, |stream| {
        spawn_local(async move {
            let service =
                hyper::service::service_fn(|_| std::future::pending::<Result<http::Response<String>, hyper::Error>>());
            let mut builder = hyper::server::conn::http2::Builder::new(LocalExecutor);
            builder.max_concurrent_streams(2).enable_connect_protocol();
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    })
}

#[tokio::test]
async fn no_connection_gets_more_streams_than_its_endpoint_allows() {
    on_a_worker(async {
        let server = two_streams().await;
        let cluster = cluster(std::slice::from_ref(&server), "protocol: http2");
        let mut leases = Vec::new();
        for connections in [1, 1, 2, 2, 3] {
            let lease = lease(&cluster, &server, Priority::Default).await.unwrap();
            // Its SETTINGS have come.
            assert_eq!(lease.extended_connect().await.unwrap(), ExtendedConnect::Allow);
            leases.push(lease);
            assert_eq!(server.connections(), connections);
        }
        // One that ends makes room.
        leases.truncate(4);
        leases.remove(0);
        leases.push(lease(&cluster, &server, Priority::Default).await.unwrap());
        assert_eq!(server.connections(), 3);
    })
    .await;
}
