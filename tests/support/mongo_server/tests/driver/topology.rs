//! Poses, awaited hello, failover, and servers that die.

use std::time::Duration;

use bson::{Document, doc};
use fyke_mongo_server::{Deployment, Options, Pose};
use mongodb::{
    Client,
    options::{CollectionOptions, ReadPreference, ReadPreferenceOptions, SelectionCriteria},
};

use crate::{
    raw::Raw,
    support::{client, numbered, plain_client, remote, server, things, until},
};

async fn replica_set() -> Deployment {
    Deployment::start(Options::posing(Pose::ReplicaSet), 3).await.unwrap()
}

#[tokio::test]
async fn hello_says_what_the_server_poses_as() {
    let alone = server(Pose::Standalone).await;
    let hello = Raw::connect(&alone).await.next_hello().await;
    assert!(["setName", "msg", "$clusterTime"].iter().all(|field| !hello.contains_key(field)), "{hello}");
    let set = replica_set().await;
    for (index, server) in set.servers().iter().enumerate() {
        let hello = Raw::connect(server).await.next_hello().await;
        assert_eq!(hello.get_bool("isWritablePrimary").unwrap(), index == 0);
        assert_eq!(hello.get_bool("secondary").unwrap(), index != 0);
        assert_eq!(hello.get_str("me").unwrap(), server.address().to_string());
        assert_eq!(hello.get_str("primary").unwrap(), set.servers()[0].address().to_string());
        assert_eq!(hello.get_array("hosts").unwrap().len(), 3);
        assert!(hello.contains_key("$clusterTime"));
    }
    let mongos = server(Pose::Mongos).await;
    assert_eq!(Raw::connect(&mongos).await.next_hello().await.get_str("msg").unwrap(), "isdbgrid");
}

impl Raw {
    async fn next_hello(&mut self) -> Document {
        self.ask(doc! { "hello": 1, "$db": "admin" }).await
    }
}

#[tokio::test]
async fn an_awaited_hello_tells_an_election_at_once_and_goes_on_unasked() {
    let set = replica_set().await;
    let mut raw = Raw::connect(&set.servers()[1]).await;
    let version = raw.next_hello().await.get_document("topologyVersion").unwrap().clone();
    let awaited = doc! { "hello": 1, "topologyVersion": version, "maxAwaitTimeMS": 3_600_000, "$db": "admin" };
    let request = raw.send(1 << 16, &awaited).await;
    until(|| set.servers()[1].log().count("hello") == 2).await;
    set.set_primary(Some(1));
    let first = raw.receive().await.unwrap();
    assert_eq!((first.response_to, first.flags & 2), (request, 2));
    assert!(first.body.get_bool("isWritablePrimary").unwrap());
    set.set_primary(Some(2));
    let second = raw.receive().await.unwrap();
    assert_eq!(second.response_to, first.request_id);
    assert!(!second.body.get_bool("isWritablePrimary").unwrap());
    assert!(second.body.get_document("topologyVersion").unwrap().get_i64("counter").unwrap() > 0);
}

#[tokio::test]
async fn drivers_follow_an_election() {
    let set = replica_set().await;
    let client = Client::with_uri_str(set.uri()).await.unwrap();
    let things = things(&client);
    things.insert_many(numbered(3)).await.unwrap();
    for leader in [1, 2, 0] {
        set.set_primary(Some(leader));
        things.insert_one(doc! { "leader": i32::try_from(leader).unwrap() }).await.unwrap();
        assert_eq!(set.servers()[leader].log().of("insert").last().unwrap().collection, "things");
    }
    let secondary = ReadPreference::Secondary { options: Some(ReadPreferenceOptions::default()) };
    let options = CollectionOptions::builder().selection_criteria(SelectionCriteria::ReadPreference(secondary)).build();
    let reading = client.database("test").collection_with_options::<Document>("things", options);
    assert_eq!(reading.count_documents(doc! {}).await.unwrap(), 6);
    assert_eq!(set.servers()[0].log().count("aggregate"), 0);
}

#[tokio::test]
async fn secondaries_refuse_what_they_must() {
    let set = replica_set().await;
    let mut raw = Raw::connect(&set.servers()[1]).await;
    let insert = doc! { "insert": "c", "documents": [{}], "$db": "t" };
    assert_eq!(raw.ask(insert.clone()).await.get_i32("code").unwrap(), 10107);
    assert_eq!(raw.ask(doc! { "find": "c", "$db": "t" }).await.get_i32("code").unwrap(), 13435);
    let find = doc! { "find": "c", "$db": "t", "$readPreference": { "mode": "secondaryPreferred" } };
    assert_eq!(raw.ask(find).await.get_f64("ok").unwrap(), 1.0);
    set.set_primary(None);
    let mut old = Raw::connect(&set.servers()[0]).await;
    let reply = old.ask(insert).await;
    assert_eq!(reply.get_i32("code").unwrap(), 10107);
}

#[tokio::test]
async fn a_transaction_does_not_survive_its_primary() {
    let set = replica_set().await;
    let client = plain_client(&set.uri()).await;
    let things = things(&client);
    things.insert_one(doc! { "_id": 0 }).await.unwrap();
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    things.insert_one(doc! { "_id": 1 }).session(&mut session).await.unwrap();
    remote(&client, doc! { "fykeTest": "setPrimary", "index": 1 }).await;
    let error = things.insert_one(doc! { "_id": 2 }).session(&mut session).await.unwrap_err();
    assert!(error.contains_label("TransientTransactionError"), "{error}");
    assert_eq!(set.servers()[0].open_transactions(), 0);
}

#[tokio::test]
async fn a_server_dies_and_comes_back_with_its_data() {
    let server = server(Pose::Standalone).await;
    let client = client(&server).await;
    let things = things(&client);
    things.insert_many(numbered(3)).await.unwrap();
    server.stop().await;
    assert_eq!(server.connections().current, 0);
    assert!(tokio::net::TcpStream::connect(server.address()).await.is_err());
    server.restart().await.unwrap();
    assert_eq!(things.count_documents(doc! {}).await.unwrap(), 3);
}

#[tokio::test]
async fn a_frozen_server_answers_when_it_thaws() {
    let server = server(Pose::Standalone).await;
    let mut raw = Raw::connect(&server).await;
    raw.number().await;
    server.freeze();
    raw.send(0, &doc! { "ping": 1, "$db": "admin" }).await;
    let waited = tokio::time::timeout(Duration::from_millis(50), raw.stream.peek(&mut [0])).await;
    assert!(waited.is_err());
    server.thaw();
    assert_eq!(raw.receive().await.unwrap().body.get_f64("ok").unwrap(), 1.0);
}

#[tokio::test]
async fn connections_are_counted_refused_and_cut() {
    let server = fyke_mongo_server::MongoServer::start(Options { max_connections: Some(2), ..Options::default() })
        .await
        .unwrap();
    let (mut first, mut second) = (Raw::connect(&server).await, Raw::connect(&server).await);
    assert_eq!((first.number().await, second.number().await), (1, 2));
    Raw::connect(&server).await.expect_closed().await;
    let counts = server.connections();
    assert_eq!((counts.current, counts.peak, counts.total, counts.refused), (2, 2, 2, 1));
    server.disconnect_all();
    first.expect_closed().await;
    second.expect_closed().await;
    until(|| server.connections().current == 0).await;
    let mut third = Raw::connect(&server).await;
    assert_eq!(third.number().await, 3);
    assert_eq!(server.connections().peak, 2);
}

#[tokio::test]
async fn unacknowledged_writes_get_no_reply() {
    let server = server(Pose::Standalone).await;
    let mut raw = Raw::connect(&server).await;
    let insert = doc! { "insert": "things", "documents": [ { "_id": 1 } ], "writeConcern": { "w": 0 }, "$db": "test" };
    // The second one fails, which nobody is told.
    raw.send(1 << 1, &insert).await;
    raw.send(1 << 1, &insert).await;
    assert_eq!(raw.number().await, 1);
    assert!(server.log().of("insert").iter().all(|entry| entry.more_to_come));
    assert_eq!((server.log().count("insert"), server.log().replies()), (2, 1));
    let found = things(&client(&server).await).find_one(doc! {}).await.unwrap();
    assert_eq!(found.unwrap(), doc! { "_id": 1 });
}
