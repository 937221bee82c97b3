//! Sessions and transactions.

use std::time::Duration;

use bson::{Document, doc};
use fyke_mongo_server::{Deployment, Options, Pose, TRANSIENT};
use mongodb::{Client, ClientSession, Collection};

use crate::{
    raw::Raw,
    support::{PATIENCE, client, code, numbered, server, things, until},
};

async fn value(things: &Collection<Document>) -> i32 {
    things.find_one(doc! { "_id": 1 }).await.unwrap().unwrap().get_i32("v").unwrap()
}

async fn begun(client: &Client) -> ClientSession {
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    session
}

#[tokio::test]
async fn nobody_sees_a_transaction_before_its_commit() {
    for pose in [Pose::Mongos, Pose::ReplicaSet] {
        let server = server(pose).await;
        let client = client(&server).await;
        let things = things(&client);
        things.insert_one(doc! { "_id": 1, "v": 0 }).await.unwrap();
        let mut session = begun(&client).await;
        things.update_one(doc! { "_id": 1 }, doc! { "$set": { "v": 1 } }).session(&mut session).await.unwrap();
        things.insert_one(doc! { "_id": 2 }).session(&mut session).await.unwrap();
        assert_eq!(value(&things).await, 0);
        assert_eq!(things.count_documents(doc! {}).await.unwrap(), 1);
        assert_eq!(things.count_documents(doc! {}).session(&mut session).await.unwrap(), 2);
        assert_eq!(server.open_transactions(), 1);
        session.commit_transaction().await.unwrap();
        session.commit_transaction().await.unwrap();
        assert_eq!(value(&things).await, 1);
        assert_eq!(things.count_documents(doc! {}).await.unwrap(), 2);
        session.start_transaction().await.unwrap();
        things.delete_many(doc! {}).session(&mut session).await.unwrap();
        session.abort_transaction().await.unwrap();
        assert_eq!(things.count_documents(doc! {}).await.unwrap(), 2);
        assert_eq!(server.open_transactions(), 0);
    }
}

#[tokio::test]
async fn a_snapshot_does_not_move() {
    let server = server(Pose::Mongos).await;
    let client = client(&server).await;
    let things = things(&client);
    things.insert_one(doc! { "_id": 1, "v": 0 }).await.unwrap();
    let mut session = begun(&client).await;
    things.find_one(doc! {}).session(&mut session).await.unwrap();
    things.update_one(doc! { "_id": 1 }, doc! { "$set": { "v": 5 } }).await.unwrap();
    let seen = things.find_one(doc! { "_id": 1 }).session(&mut session).await.unwrap().unwrap();
    assert_eq!(seen.get_i32("v").unwrap(), 0);
    // What was written after the snapshot is not overwritten either.
    let error =
        things.update_one(doc! { "_id": 1 }, doc! { "$inc": { "v": 1 } }).session(&mut session).await.unwrap_err();
    assert_eq!(code(&error), Some(112));
    assert_eq!(value(&things).await, 5);
}

#[tokio::test]
async fn the_second_writer_gets_a_conflict_with_a_label() {
    let server = server(Pose::Mongos).await;
    let client = client(&server).await;
    let things = things(&client);
    things.insert_one(doc! { "_id": 1, "v": 0 }).await.unwrap();
    let (mut first, mut second) = (begun(&client).await, begun(&client).await);
    let increment = || doc! { "$inc": { "v": 1 } };
    things.update_one(doc! { "_id": 1 }, increment()).session(&mut first).await.unwrap();
    let error = things.update_one(doc! { "_id": 1 }, increment()).session(&mut second).await.unwrap_err();
    assert_eq!(code(&error), Some(112));
    assert!(error.contains_label(TRANSIENT));
    // The conflict has ended the second transaction.
    assert_eq!(server.open_transactions(), 1);
    let error = things.find_one(doc! {}).session(&mut second).await.unwrap_err();
    assert_eq!((code(&error), error.contains_label(TRANSIENT)), (Some(251), true));
    first.commit_transaction().await.unwrap();
    assert_eq!(value(&things).await, 1);
}

#[tokio::test]
async fn a_plain_write_waits_for_a_transaction() {
    let server = server(Pose::Mongos).await;
    let client = client(&server).await;
    let things = things(&client);
    things.insert_one(doc! { "_id": 1, "v": 0 }).await.unwrap();
    let mut session = begun(&client).await;
    things.update_one(doc! { "_id": 1 }, doc! { "$inc": { "v": 1 } }).session(&mut session).await.unwrap();
    let impatient =
        doc! { "update": "things", "updates": [ { "q": { "_id": 1 }, "u": { "$inc": { "v": 1 } } } ], "maxTimeMS": 20 };
    assert_eq!(code(&client.database("test").run_command(impatient).await.unwrap_err()), Some(50));
    let plain = tokio::spawn({
        let things = things.clone();
        async move { things.update_one(doc! { "_id": 1 }, doc! { "$inc": { "v": 10 } }).await.unwrap() }
    });
    until(|| server.log().count("update") == 3).await;
    session.commit_transaction().await.unwrap();
    tokio::time::timeout(PATIENCE, plain).await.unwrap().unwrap();
    assert_eq!(value(&things).await, 11);
}

#[tokio::test]
async fn concurrent_increments_in_transactions_are_all_counted() {
    let server = server(Pose::Mongos).await;
    let client = client(&server).await;
    let things = things(&client);
    things.insert_one(doc! { "_id": 1, "v": 0 }).await.unwrap();
    let one = |client: Client| async move {
        let things = crate::support::things(&client);
        let mut session = client.start_session().await.unwrap();
        session
            .start_transaction()
            .and_run2(async move |session| {
                // Reading first makes a lost update possible.
                let seen = things.find_one(doc! { "_id": 1 }).session(&mut *session).await?.unwrap();
                let next = seen.get_i32("v").unwrap() + 1;
                things.update_one(doc! { "_id": 1 }, doc! { "$set": { "v": next } }).session(&mut *session).await
            })
            .await
            .unwrap();
    };
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(one(client.clone()))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(value(&things).await, 8);
}

#[tokio::test]
async fn transactions_and_cursors_stay_with_their_mongos() {
    let cluster =
        Deployment::start(Options { first_cursor: Some(5), ..Options::posing(Pose::Mongos) }, 2).await.unwrap();
    let (mut first, mut second) =
        (Raw::connect(&cluster.servers()[0]).await, Raw::connect(&cluster.servers()[1]).await);
    first.ask(doc! { "insert": "things", "documents": numbered(9), "$db": "test" }).await;
    let session = doc! { "id": bson::Uuid::new() };
    let find = |start: bool| {
        let mut find = doc! { "find": "things", "batchSize": 2, "lsid": session.clone(), "txnNumber": 1_i64, "autocommit": false, "$db": "test" };
        if start {
            find.insert("startTransaction", true);
        }
        find
    };
    let reply = first.ask(find(true)).await;
    assert!(reply.contains_key("recoveryToken"), "{reply}");
    assert_eq!(reply.get_document("cursor").unwrap().get_i64("id").unwrap(), 5);
    assert_eq!(second.ask(find(false)).await.get_i32("code").unwrap(), 251);
    let own = second.ask(doc! { "find": "things", "batchSize": 1, "$db": "test" }).await;
    // The same number is another cursor there.
    assert_eq!(own.get_document("cursor").unwrap().get_i64("id").unwrap(), 5);
    assert_eq!(first.ask(find(false)).await.get_f64("ok").unwrap(), 1.0);
    let end = |command: &str| doc! { command: 1, "lsid": session.clone(), "txnNumber": 1_i64, "autocommit": false, "$db": "admin" };
    assert_eq!(first.ask(end("commitTransaction")).await.get_f64("ok").unwrap(), 1.0);
    // A commit is recovered anywhere.
    assert_eq!(second.ask(end("commitTransaction")).await.get_f64("ok").unwrap(), 1.0);
}

#[tokio::test]
async fn ending_a_session_ends_what_it_has() {
    let server = server(Pose::Mongos).await;
    let mut raw = Raw::connect(&server).await;
    raw.ask(doc! { "insert": "things", "documents": numbered(9), "$db": "test" }).await;
    let session = doc! { "id": bson::Uuid::new() };
    let find = doc! { "find": "things", "batchSize": 2, "lsid": session.clone(), "txnNumber": 1_i64, "autocommit": false, "startTransaction": true, "$db": "test" };
    raw.ask(find).await;
    assert_eq!((server.cursors().0, server.open_transactions()), (1, 1));
    raw.ask(doc! { "endSessions": [session], "$db": "admin" }).await;
    assert_eq!((server.cursors().0, server.open_transactions()), (0, 0));
}

#[tokio::test]
async fn behind_a_balancer_everything_ends_with_the_connection() {
    let server = server(Pose::Mongos).await;
    let mut raw = Raw::connect(&server).await;
    let hello = raw.ask(doc! { "hello": 1, "loadBalanced": true, "$db": "admin" }).await;
    assert!(hello.get_object_id("serviceId").is_ok(), "{hello}");
    raw.ask(doc! { "insert": "things", "documents": numbered(9), "$db": "test" }).await;
    let find = doc! { "find": "things", "batchSize": 2, "lsid": { "id": bson::Uuid::new() }, "txnNumber": 1_i64, "autocommit": false, "startTransaction": true, "$db": "test" };
    raw.ask(find).await;
    assert_eq!((server.cursors().0, server.open_transactions()), (1, 1));
    drop(raw);
    until(|| server.cursors().0 == 0 && server.open_transactions() == 0).await;

    let uri = format!("mongodb://{}/?loadBalanced=true", server.address());
    let client = Client::with_uri_str(uri).await.unwrap();
    let things = things(&client);
    let mut session = begun(&client).await;
    things.insert_one(doc! { "_id": 100 }).session(&mut session).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), session.commit_transaction()).await.unwrap().unwrap();
    assert_eq!(things.count_documents(doc! {}).await.unwrap(), 10);
}

#[tokio::test]
async fn a_standalone_server_has_no_transactions() {
    let server = server(Pose::Standalone).await;
    let mut raw = Raw::connect(&server).await;
    let find = doc! { "find": "c", "lsid": { "id": bson::Uuid::new() }, "txnNumber": 1_i64, "autocommit": false, "startTransaction": true, "$db": "t" };
    assert_eq!(raw.ask(find).await.get_i32("code").unwrap(), 20);
}
