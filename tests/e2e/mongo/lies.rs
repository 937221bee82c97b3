//! A server that does not keep to the protocol: what its client gets, and that its neighbours notice nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fyke_peers::MongoLiar;
use mongodb::{
    Client,
    bson::doc,
    error::{Error, ErrorKind},
};

use super::{POOL, client, nothing_is_lent, people, proxy};
use crate::support::{Proxy, eventually, soon};

/// What it is answered when it is asked for itself.
async fn asked(client: &Client, what: &str) -> Result<String, Error> {
    let found = soon(what, async { people(client).find_one(doc! {}).comment(what).await }).await?;
    Ok(found.expect("a document").get_str("asked").unwrap().to_owned())
}

/// The number of a server's error; none: the connection was lost.
fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } => None,
        other => panic!("{other:?}"),
    }
}

async fn broken(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric("mongo_pool_broken_total", &[("reason", reason)]).await
}

const ALONE: &str = "&retryReads=false&maxPoolSize=1";

#[tokio::test(flavor = "multi_thread")]
async fn with_the_pool_on_a_lie_is_an_error_of_one_client() {
    let Some(liar) = MongoLiar::start() else { return };
    let few = ", circuit_breakers: { connections: 4, pending: 10000 }";
    let proxy = proxy(([127, 0, 0, 1], liar.port).into(), POOL, few).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut neighbours = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (client, over) = (client(&proxy, ALONE).await, Arc::clone(&over));
        neighbours.spawn(async move {
            let mut rounds = 0_u64;
            while !over.load(Ordering::Relaxed) {
                let mark = format!("{number}/{rounds}");
                assert_eq!(asked(&client, &mark).await.unwrap(), mark);
                rounds += 1;
            }
            rounds
        });
    }
    let victim = client(&proxy, ALONE).await;
    let lies = [
        // The lie, the error if the client's connection stays, and why the server's is closed.
        ("wrong response", Some(6), "violation"),
        ("nothing", Some(6), "lost"),
        ("half a header", Some(6), "lost"),
        ("half", None, "lost"),
        ("negative length", Some(6), "violation"),
        ("short length", Some(6), "violation"),
        ("long length", Some(6), "violation"),
        ("garbage", Some(6), "violation"),
        ("unknown opcode", Some(6), "violation"),
        ("more to come", Some(6), "violation"),
    ];
    for (lie, wanted, reason) in lies {
        let before = broken(&proxy, reason).await;
        let error = asked(&victim, lie).await.unwrap_err();
        liar.lied(lie);
        assert_eq!(code(&error), wanted, "{lie}: {error}");
        eventually(format!("{lie} to be counted"), async || (broken(&proxy, reason).await > before).then_some(()))
            .await;
        // The next one is answered as it should be.
        assert_eq!(asked(&victim, "after").await.unwrap(), "after", "{lie}");
    }
    // The first of two is the answer, and nobody ever gets the second.
    assert_eq!(asked(&victim, "twice").await.unwrap(), "twice");
    liar.lied("twice");
    for number in 0..50 {
        let mark = format!("after/{number}");
        assert_eq!(asked(&victim, &mark).await.unwrap(), mark);
    }
    over.store(true, Ordering::Relaxed);
    while let Some(rounds) = soon("the neighbours", neighbours.join_next()).await {
        assert!(rounds.unwrap() > 10);
    }
    nothing_is_lent(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_it_the_client_sees_what_the_server_says_and_goes_on_over_another_connection() {
    let Some(liar) = MongoLiar::start() else { return };
    let proxy = proxy(([127, 0, 0, 1], liar.port).into(), "", "").await;
    let (victim, neighbour) = (client(&proxy, ALONE).await, client(&proxy, ALONE).await);
    assert_eq!(asked(&neighbour, "before").await.unwrap(), "before");
    // A driver finds these by itself: the filter counts them, and the stream passes or ends.
    for lie in ["nothing", "half", "half a header", "negative length", "short length", "long length", "garbage"] {
        assert!(asked(&victim, lie).await.is_err(), "{lie}");
        liar.lied(lie);
        assert_eq!(asked(&neighbour, "beside").await.unwrap(), "beside", "{lie}");
        assert_eq!(asked(&victim, "after").await.unwrap(), "after", "{lie}");
    }
    let unreadable = proxy.metric("mongo_unreadable_total", &[("reason", "length")]).await;
    assert!(unreadable >= 4.0, "{unreadable}");
}
