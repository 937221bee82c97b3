//! Cursors: batches, tails, change streams.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::{StreamExt, TryStreamExt};
use fyke_mongo_server::{MongoServer, Options, Pose};
use mongodb::options::CursorType;

use crate::{
    raw::Raw,
    support::{PATIENCE, client, code, numbered, server, things, until},
};

#[tokio::test]
async fn batches_add_up_and_the_cursor_ends() {
    let server = server(Pose::Standalone).await;
    let things = things(&client(&server).await);
    things.insert_many(numbered(1000)).await.unwrap();
    let all: Vec<Document> = things.find(doc! {}).batch_size(70).await.unwrap().try_collect().await.unwrap();
    assert_eq!(all, numbered(1000));
    assert_eq!(server.log().count("getMore"), 14);
    assert_eq!(server.cursors(), (0, 1));
}

#[tokio::test]
async fn an_abandoned_cursor_is_killed() {
    let server = server(Pose::Standalone).await;
    let things = things(&client(&server).await);
    things.insert_many(numbered(10)).await.unwrap();
    let mut cursor = things.find(doc! {}).batch_size(2).await.unwrap();
    cursor.next().await.unwrap().unwrap();
    assert_eq!(server.cursors().0, 1);
    drop(cursor);
    until(|| server.cursors().0 == 0).await;
    assert_eq!(server.log().count("killCursors"), 1);
}

#[tokio::test]
async fn large_results_come_in_messages_below_the_limit() {
    let server = server(Pose::Standalone).await;
    let things = things(&client(&server).await);
    for id in 0..20 {
        things.insert_one(doc! { "_id": id, "text": "q".repeat(3_000_000) }).await.unwrap();
    }
    let all: Vec<Document> = things.find(doc! {}).await.unwrap().try_collect().await.unwrap();
    assert_eq!(all.len(), 20);
    assert_eq!(server.log().count("getMore"), 3);
}

#[tokio::test]
async fn tailable_cursors_see_what_is_added() {
    let server = server(Pose::Standalone).await;
    let client = client(&server).await;
    let database = client.database("test");
    database.create_collection("things").capped(true).size(1_000_000).max(5).await.unwrap();
    let things = things(&client);
    things.insert_many(numbered(8)).await.unwrap();
    let mut cursor = things
        .find(doc! {})
        .cursor_type(CursorType::TailableAwait)
        .max_await_time(Duration::from_secs(10))
        .await
        .unwrap();
    for id in 3..8 {
        assert_eq!(cursor.next().await.unwrap().unwrap(), doc! { "_id": id });
    }
    let waiting = tokio::spawn(async move { cursor.next().await.unwrap().unwrap() });
    until(|| server.log().count("getMore") == 1).await;
    things.insert_one(doc! { "_id": 8 }).await.unwrap();
    // Far below the ten seconds that it may wait.
    let woken = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!(woken, doc! { "_id": 8 });

    let other = database.collection::<Document>("other");
    other.insert_one(doc! {}).await.unwrap();
    let error = other.find(doc! {}).cursor_type(CursorType::Tailable).await.unwrap_err();
    assert_eq!(code(&error), Some(2));
}

#[tokio::test]
async fn change_streams_tell_inserts_and_resume() {
    let server = server(Pose::Mongos).await;
    let client = client(&server).await;
    let things = things(&client);
    let mut stream = things.watch().await.unwrap();
    client.database("test").collection("other").insert_one(doc! {}).await.unwrap();
    things.insert_one(doc! { "_id": 1 }).await.unwrap();
    things.insert_one(doc! { "_id": 2 }).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(event.full_document.unwrap(), doc! { "_id": 1 });
    let mut resumed = things.watch().resume_after(Some(event.id)).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, resumed.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(event.full_document.unwrap(), doc! { "_id": 2 });
}

#[tokio::test]
async fn a_cursor_belongs_to_its_namespace_and_session() {
    let options = Options { first_cursor: Some(77), ..Options::default() };
    let server = MongoServer::start(options).await.unwrap();
    things(&client(&server).await).insert_many(numbered(10)).await.unwrap();
    let mut raw = Raw::connect(&server).await;
    let session = doc! { "id": bson::Uuid::new() };
    let reply = raw.ask(doc! { "find": "things", "batchSize": 2, "lsid": session.clone(), "$db": "test" }).await;
    assert_eq!(reply.get_document("cursor").unwrap().get_i64("id").unwrap(), 77);
    let more = |collection: &str, session: Document| doc! { "getMore": 77_i64, "collection": collection, "lsid": session, "$db": "test" };
    assert_eq!(raw.ask(more("other", session.clone())).await.get_i32("code").unwrap(), 13);
    assert_eq!(raw.ask(more("things", doc! { "id": bson::Uuid::new() })).await.get_i32("code").unwrap(), 50738);
    let reply = raw.ask(more("things", session.clone())).await;
    let cursor = reply.get_document("cursor").unwrap();
    assert_eq!((cursor.get_array("nextBatch").unwrap().len(), cursor.get_i64("id").unwrap()), (8, 0));
    assert_eq!(raw.ask(more("things", session)).await.get_i32("code").unwrap(), 43);
}

#[tokio::test]
async fn an_exhaust_cursor_sends_its_batches_unasked() {
    let server = server(Pose::Standalone).await;
    things(&client(&server).await).insert_many(numbered(10)).await.unwrap();
    let mut raw = Raw::connect(&server).await;
    let reply = raw.ask(doc! { "find": "things", "batchSize": 2, "$db": "test" }).await;
    let id = reply.get_document("cursor").unwrap().get_i64("id").unwrap();
    let mut expected =
        raw.send(1 << 16, &doc! { "getMore": id, "collection": "things", "batchSize": 3, "$db": "test" }).await;
    let mut sizes = Vec::new();
    loop {
        let reply = raw.receive().await.unwrap();
        assert_eq!(reply.response_to, expected);
        expected = reply.request_id;
        sizes.push(reply.body.get_document("cursor").unwrap().get_array("nextBatch").unwrap().len());
        if reply.flags & 2 == 0 {
            break;
        }
    }
    assert_eq!(sizes, [3, 3, 2]);
    assert_eq!(server.log().count("getMore"), 1);
    assert_eq!(raw.ask(doc! { "ping": 1, "$db": "test" }).await.get_f64("ok").unwrap(), 1.0);
}
