//! HTTP/2 connections to endpoints that are about to end, or are dead and do not say so.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use h2::server::Connection;
use http::Response;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::support::{Proxy, Site, endpoints, eventually};

/// An endpoint whose connections are served by the test, with their numbers from 1.
struct Endpoint {
    address: std::net::SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Endpoint {
    async fn new<F>(serve: impl Fn(Connection<TcpStream, Bytes>, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let connection = h2::server::handshake(stream).await.unwrap();
                tokio::spawn(serve(connection, number));
            }
        });
        Self { address, connections }
    }

    async fn proxy(&self, route: &str, more: &str) -> Proxy {
        Site::app(route, &format!("protocol: http2, {more}{}", endpoints(&[self.address]))).start().await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_connection_that_is_going_away_ends_its_streams_and_gets_no_new_ones() {
    let (begun, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (begins, waits) = (Arc::clone(&begun), Arc::clone(&go));
    let endpoint = Endpoint::new(move |mut connection, number| {
        let (begins, waits) = (Arc::clone(&begins), Arc::clone(&waits));
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let (begins, waits) = (Arc::clone(&begins), Arc::clone(&waits));
                let is_first = request.uri().path() == "/first";
                if is_first {
                    connection.graceful_shutdown();
                }
                tokio::spawn(async move {
                    if is_first {
                        begins.add_permits(1);
                        waits.acquire().await.unwrap().forget();
                    }
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    body.send_data(Bytes::from(number.to_string()), true).unwrap();
                });
            }
        }
    })
    .await;
    let proxy = endpoint.proxy("", "").await;
    let first = proxy.get("/first");
    let rest = async {
        begun.acquire().await.unwrap().forget();
        // Until the proxy has read that the connection goes away requests may still begin there, and none of them fails.
        eventually("another connection", async || {
            let answer = proxy.get("/second").await;
            assert_eq!(answer.status(), 200, "{answer:?}");
            (answer.text() == "2").then_some(())
        })
        .await;
        assert_eq!(proxy.get("/third").await.text(), "2");
        go.add_permits(1);
    };
    let (first, ()) = tokio::join!(first, rest);
    assert_eq!((first.status(), first.text().as_str()), (200, "1"), "what had begun ends well");
    assert_eq!(endpoint.connections(), 2);
}

#[tokio::test]
async fn a_dead_connection_is_found_out_by_its_pings() {
    let endpoint = Endpoint::new(|mut connection, number| async move {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            if number == 1 {
                // Nothing is read or written any more, and nothing is closed.
                std::future::pending::<()>().await;
            }
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"alive"), true).unwrap();
        }
    })
    .await;
    let route = "timeout: 0s, retry: { on: [reset], backoff: { base: 1ms } }";
    let proxy = endpoint.proxy(route, "pool: { ping: { interval: 100ms, timeout: 300ms } }, ").await;
    assert_eq!(proxy.get("/").await.text(), "alive");
    assert_eq!(endpoint.connections(), 2);
    // The one that answers its pings stays.
    eventually("the next request", async || (proxy.get("/").await.text() == "alive").then_some(())).await;
    assert_eq!(endpoint.connections(), 2);
}
