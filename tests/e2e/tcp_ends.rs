//! `protocol: tcp`: what was broken off never looks like an end, and an end is told when it comes.

use tokio::{
    io::Interest,
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    support::{Proxy, Upstream, soon},
    tcp::{counting, echo, listener},
};

#[tokio::test]
async fn a_reset_is_passed_on_as_one() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            stream.write_all(b"part").await.unwrap();
            stream.read_exact(&mut [0; 2]).await.unwrap();
            stream.set_zero_linger().unwrap();
        }
    });
    for filters in [&[][..], &[("a", "")]] {
        let proxy = Proxy::start(listener(address, filters, "")).await;
        let mut client = tokio::net::TcpStream::connect(proxy.web()).await.unwrap();
        let mut part = [0; 4];
        client.read_exact(&mut part).await.unwrap();
        client.write_all(b"go").await.unwrap();
        let error = soon("the reset", client.read(&mut part)).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{filters:?}");
    }
}

/// The next error of a reader; the bytes before it do not matter.
async fn broken_off(stream: &mut tokio::net::TcpStream) -> std::io::ErrorKind {
    let mut sink = Vec::new();
    match soon("the reset", stream.read_to_end(&mut sink)).await {
        Err(error) => error.kind(),
        Ok(count) => panic!("a clean end after {count} bytes"),
    }
}

/// Writes and reads until one of both fails, or reading comes to an end. A socket tells of its reset once, to whoever asks first: so one
/// task asks for both.
async fn upload(client: &tokio::net::TcpStream) -> Result<(), std::io::ErrorKind> {
    let blocks = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    loop {
        client.ready(Interest::READABLE | Interest::WRITABLE).await.unwrap();
        match client.try_read(&mut [0; 64]) {
            Ok(0) => return Ok(()),
            Err(error) if !blocks(&error) => return Err(error.kind()),
            Ok(_) | Err(_) => {}
        }
        match client.try_write(&[b'x'; 65536]) {
            Err(error) if !blocks(&error) => return Err(error.kind()),
            Ok(_) | Err(_) => {}
        }
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_of_an_upload_is_no_end() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            // Never reads: the proxy's bytes are stuck when the reset comes. It waits for them by looking, since `readable` may be told
            // of a socket on which nothing has arrived, and a reset that early is a failure to connect.
            stream.write_all(b"part").await.unwrap();
            tokio::spawn(async move {
                assert_eq!(stream.peek(&mut [0; 1]).await.unwrap(), 1);
                stream.set_zero_linger().unwrap();
            });
        }
    });
    for filters in [&[][..], &[("a", "")]] {
        let proxy = Proxy::start(listener(address, filters, "")).await;
        let client = tokio::net::TcpStream::connect(proxy.web()).await.unwrap();
        let end = soon("the reset", upload(&client)).await;
        assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset), "a clean end, {filters:?}");
    }
}

#[tokio::test]
async fn what_a_drain_breaks_off_does_not_look_like_an_end() {
    let upstream = echo().await;
    for filters in [&[][..], &[("a", "")]] {
        let mut proxy = Proxy::start(listener(upstream.address, filters, ", drain: 200ms")).await;
        let mut client = tokio::net::TcpStream::connect(proxy.web()).await.unwrap();
        client.write_all(b"x").await.unwrap();
        client.read_exact(&mut [0; 1]).await.unwrap();
        proxy.signal(rustix::process::Signal::TERM);
        assert_eq!(broken_off(&mut client).await, std::io::ErrorKind::ConnectionReset, "{filters:?}");
        assert_eq!(proxy.ended().await, Some(0));
    }
}

#[tokio::test]
async fn an_idle_connection_that_a_filter_holds_bytes_of_is_reset() {
    let upstream = counting().await;
    let silent = Upstream::scripted(|mut conn, _, _| async move {
        conn.rest().await;
    })
    .await;
    let yaml = listener(upstream.address, &[("a", "up=judge")], ", limits: { idle_timeout: 300ms }")
        + &format!("  judge: {{ endpoints: ['{}'] }}\n", silent.address);
    let proxy = Proxy::start(yaml).await;
    let mut client = tokio::net::TcpStream::connect(proxy.web()).await.unwrap();
    assert_eq!(broken_off(&mut client).await, std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_filter_that_has_changed_bytes_is_not_left_out() {
    let upstream = echo().await;
    let yaml = listener(upstream.address, &[("a", "upper boom")], "").replace("config:", "on_failure: open, config:");
    let proxy = Proxy::start(yaml).await;
    let mut client = tokio::net::TcpStream::connect(proxy.web()).await.unwrap();
    client.write_all(b"abc").await.unwrap();
    let mut three = [0; 3];
    client.read_exact(&mut three).await.unwrap();
    assert_eq!(&three, b"ABC");
    client.write_all(b"boom").await.unwrap();
    assert_eq!(broken_off(&mut client).await, std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_filter_that_asks_only_for_the_upstreams_end_is_told_when_it_comes_and_by_whom() {
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        conn.some().await;
        conn.finish().await;
        conn.rest().await;
    })
    .await;
    let yaml = listener(upstream.address, &[("a", "events")], "")
        .replace("config:", "callbacks: [new_connection, upstream_connection_close], config:");
    let proxy = Proxy::start(yaml).await;
    let mut client = proxy.connect().await;
    client.send("x").await;
    // The client is still there.
    proxy.logged(&["upstream closed by Remote"]).await;
    client.finish().await;
    assert!(client.closed().await);
}

#[tokio::test]
async fn a_client_that_is_gone_behind_its_end_takes_the_upstream_with_it() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for filters in [&[][..], &[("a", "")]] {
        let proxy = Proxy::start(listener(socket.local_addr().unwrap(), filters, "")).await;
        let mut client = tokio::net::TcpStream::connect(proxy.web()).await.unwrap();
        client.write_all(b"that is all").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut server, _) = soon("the connection", socket.accept()).await.unwrap();
        let mut heard = Vec::new();
        soon("the end", server.read_to_end(&mut heard)).await.unwrap();
        assert_eq!(heard, b"that is all");
        client.set_zero_linger().unwrap();
        drop(client);
        // Nobody says anything any more, and the idle timeout is far away.
        soon("the reset", server.ready(Interest::ERROR)).await.unwrap();
    }
}
