//! Retryable writes, and the labels that make drivers retry.

use std::time::Duration;

use bson::{Document, doc};
use fyke_mongo_server::{Action, Failure, Fault, Pose, RETRYABLE_WRITE, TRANSIENT, When};

use crate::{
    raw::Raw,
    support::{client, code, plain_client, remote, server, things, until},
};

fn insert(session: bson::Uuid, number: i64, id: i32) -> Document {
    doc! { "insert": "things", "documents": [ { "_id": id } ], "lsid": { "id": session }, "txnNumber": number, "$db": "test" }
}

#[tokio::test]
async fn a_lost_reply_does_not_insert_twice() {
    let server = server(Pose::Mongos).await;
    let client = client(&server).await;
    let things = things(&client);
    for when in [When::Before, When::After] {
        server.faults().add(Fault::once(&["insert", "update"], Action::Close(when)));
        things.insert_one(doc! { "n": 1 }).await.unwrap();
    }
    assert_eq!(things.count_documents(doc! {}).await.unwrap(), 2);
    assert_eq!(server.log().count("insert"), 4);
    server.faults().add(Fault::once(&["update"], Action::Close(When::After)));
    things.update_one(doc! { "n": 1 }, doc! { "$inc": { "n": 5 } }).await.unwrap();
    assert_eq!(things.count_documents(doc! { "n": 6 }).await.unwrap(), 1);
}

#[tokio::test]
async fn the_same_number_is_answered_the_same() {
    let server = server(Pose::Mongos).await;
    let (mut first, mut second) = (Raw::connect(&server).await, Raw::connect(&server).await);
    let session = bson::Uuid::new();
    assert_eq!(first.ask(insert(session, 3, 1)).await.get_i32("n").unwrap(), 1);
    let again = second.ask(insert(session, 3, 1)).await;
    assert_eq!((again.get_i32("n").unwrap(), again.contains_key("writeErrors")), (1, false));
    assert_eq!(first.ask(insert(session, 2, 9)).await.get_i32("code").unwrap(), 225);
    let fresh = first.ask(insert(session, 4, 1)).await;
    assert!(fresh.contains_key("writeErrors"), "{fresh}");
}

#[tokio::test]
async fn a_retry_waits_for_the_first_attempt() {
    let server = server(Pose::Mongos).await;
    let (mut first, mut second) = (Raw::connect(&server).await, Raw::connect(&server).await);
    let numbers = [first.number().await, second.number().await];
    assert_eq!(numbers, [1, 2]);
    // Both are there when the server thaws, as after a client's timeout.
    server.freeze();
    let session = bson::Uuid::new();
    let increment = doc! { "update": "things", "updates": [ { "q": { "_id": 1 }, "u": { "$inc": { "v": 1 } }, "upsert": true } ], "lsid": { "id": session }, "txnNumber": 1_i64, "$db": "test" };
    first.send(0, &increment).await;
    second.send(0, &increment).await;
    server.thaw();
    let replies = [first.receive().await.unwrap().body, second.receive().await.unwrap().body];
    assert_eq!(replies.map(|reply| reply.get_i32("n").unwrap()), [1, 1]);
    let found = first.ask(doc! { "find": "things", "$db": "test" }).await;
    let batch = found.get_document("cursor").unwrap().get_array("firstBatch").unwrap().clone();
    assert_eq!(batch, [bson::bson!({ "_id": 1, "v": 1 })]);
}

#[tokio::test]
async fn errors_carry_the_labels_that_drivers_expect() {
    let server = server(Pose::Mongos).await;
    let client = plain_client(&server.uri()).await;
    let mut raw = Raw::connect(&server).await;
    let stepped_down = || Failure::new(189, "stepped down");
    server.faults().add(Fault::once(&["insert"], Action::Fail(stepped_down())));
    let reply = raw.ask(insert(bson::Uuid::new(), 1, 1)).await;
    assert_eq!(reply.get_array("errorLabels").unwrap().clone(), [bson::bson!(RETRYABLE_WRITE)]);
    assert_eq!(reply.get_str("codeName").unwrap(), "PrimarySteppedDown");

    server.faults().add(Fault::once(&["insert"], Action::Fail(stepped_down())));
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let error = things(&client).insert_one(doc! {}).session(&mut session).await.unwrap_err();
    assert_eq!((code(&error), error.contains_label(TRANSIENT)), (Some(189), true));

    let point = doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": { "failCommands": ["insert"], "errorCode": 91, "errorLabels": [] } };
    remote(&client, point).await;
    let reply = raw.ask(insert(bson::Uuid::new(), 1, 1)).await;
    assert_eq!((reply.get_i32("code").unwrap(), reply.get_array("errorLabels").unwrap().len()), (91, 0));
}

#[tokio::test]
async fn fail_points_block_fail_and_are_turned_off() {
    let server = server(Pose::ReplicaSet).await;
    let client = client(&server).await;
    let things = things(&client);
    let point =
        |mode: bson::Bson, data: Document| doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
    let data = doc! { "failCommands": ["insert"], "writeConcernError": { "code": 64, "errmsg": "late" } };
    remote(&client, point(bson::bson!({ "times": 1 }), data)).await;
    assert_eq!(code(&things.insert_one(doc! { "_id": 1 }).await.unwrap_err()), Some(64));
    assert_eq!(things.count_documents(doc! {}).await.unwrap(), 1);

    remote(&client, point(bson::bson!("alwaysOn"), doc! { "failCommands": ["aggregate"], "errorCode": 8000 })).await;
    assert_eq!(code(&things.count_documents(doc! {}).await.unwrap_err()), Some(8000));
    remote(&client, point(bson::bson!("off"), doc! {})).await;
    assert_eq!(things.count_documents(doc! {}).await.unwrap(), 1);

    let data = doc! { "failCommands": ["find"], "blockConnection": true, "blockTimeMS": 3_600_000 };
    remote(&client, point(bson::bson!({ "times": 1 }), data)).await;
    let before = server.log().count("find");
    let blocked = tokio::spawn(async move { things.find_one(doc! {}).await.unwrap() });
    until(|| server.log().count("find") == before + 1).await;
    assert!(!blocked.is_finished());
    server.faults().clear();
    let found = tokio::time::timeout(Duration::from_secs(10), blocked).await.unwrap().unwrap();
    assert_eq!(found.unwrap(), doc! { "_id": 1 });
}
