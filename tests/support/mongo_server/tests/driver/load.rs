//! Many clients at once: nothing is lost, nothing is mixed up.

use bson::doc;
use fyke_mongo_server::{Options, Pose};

use crate::{
    raw::Raw,
    support::{client, server, things},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_counted_and_every_client_reads_its_own() {
    let server = server(Pose::Mongos).await;
    let client = client(&server).await;
    let tasks: Vec<_> = (0..8)
        .map(|worker| {
            let things = things(&client);
            tokio::spawn(async move {
                for round in 0..200 {
                    let id = format!("{worker}-{round}");
                    things.insert_one(doc! { "_id": &id, "worker": worker }).comment("insert").await.unwrap();
                    let found = things.find_one(doc! { "_id": &id }).comment("find").await.unwrap().unwrap();
                    assert_eq!(found.get_i32("worker").unwrap(), worker);
                    if round % 2 == 0 {
                        things.delete_one(doc! { "_id": &id }).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let count = |command: &str| server.log().count(command);
    assert_eq!((count("insert"), count("find"), count("delete")), (1600, 1600, 800));
    let by_comment = server.log().counts().into_iter().find(|(key, _)| key.comment == "find").unwrap();
    assert_eq!(by_comment.1, 1600);
    assert_eq!(things(&client).count_documents(doc! {}).await.unwrap(), 800);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_connections_are_served() {
    let server =
        fyke_mongo_server::MongoServer::start(Options { log_capacity: 10, ..Options::default() }).await.unwrap();
    let mut connections = Vec::new();
    for _ in 0..500 {
        connections.push(Raw::connect(&server).await);
    }
    let mut numbers = Vec::new();
    for raw in &mut connections {
        numbers.push(raw.number().await);
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 500);
    assert_eq!(server.connections().peak, 500);
    assert_eq!(server.log().entries().len(), 10);
    assert_eq!(server.log().total(), 500);
}
