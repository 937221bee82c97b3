//! A server that lies, and the log that tells the truth.

use bson::{Bson, doc};
use fyke_mongo_server::{Action, Fault, Pose, When};

use crate::{
    raw::Raw,
    support::{client, plain_client, remote, server, things},
};

#[tokio::test]
async fn a_driver_notices_every_lie_and_recovers() {
    let server = server(Pose::Standalone).await;
    let client = plain_client(&server.uri()).await;
    let things = things(&client);
    things.insert_one(doc! { "_id": 1 }).await.unwrap();
    let lies = [
        Action::Length(i32::MAX),
        Action::Length(3),
        Action::Garbage(vec![0xff; 64]),
        Action::Truncate(30),
        Action::Opcode(9999),
        Action::Close(When::Before),
        Action::Close(When::After),
    ];
    for lie in lies {
        server.faults().add(Fault::once(&["find"], lie.clone()));
        assert!(things.find_one(doc! {}).await.is_err(), "{lie:?}");
        assert!(things.find_one(doc! {}).await.unwrap().is_some(), "{lie:?}");
    }
    server.faults().add(Fault::once(&["find"], Action::Drip));
    assert!(things.find_one(doc! {}).await.unwrap().is_some());
}

#[tokio::test]
async fn silence_and_repetition_keep_the_connection() {
    let server = server(Pose::Standalone).await;
    let mut raw = Raw::connect(&server).await;
    let ping = doc! { "ping": 1, "$db": "admin" };
    server.faults().add(Fault::once(&["ping"], Action::Silence));
    raw.send(0, &ping).await;
    // The next request is answered, the silenced one never.
    raw.ask(ping.clone()).await;
    server.faults().add(Fault::once(&["ping"], Action::Twice));
    let request = raw.send(0, &ping).await;
    assert_eq!([raw.receive().await.unwrap().response_to, raw.receive().await.unwrap().response_to], [request; 2]);
    // The Rust driver does not look at it.
    server.faults().add(Fault::once(&["ping"], Action::WrongResponseTo(5)));
    let request = raw.send(0, &ping).await;
    assert_eq!(raw.receive().await.unwrap().response_to, request + 5);
    raw.ask(ping).await;
}

#[tokio::test]
async fn faults_are_narrowed_by_comment_namespace_application_and_mode() {
    let server = server(Pose::Standalone).await;
    let client = client(&server).await;
    let mut raw = Raw::connect(&server).await;
    let fault = doc! { "fykeTest": "fault", "commands": ["find"], "namespace": "t.a", "comment": "here", "mode": { "skip": 1, "times": 1 }, "fail": { "code": 8000, "errorLabels": ["Odd"] } };
    remote(&client, fault).await;
    let find = |collection: &str, comment: &str| doc! { "find": collection, "comment": comment, "$db": "t" };
    let fine = [find("b", "here"), find("a", "there"), find("a", "here")];
    for command in fine {
        assert_eq!(raw.ask(command).await.get_f64("ok").unwrap(), 1.0);
    }
    let reply = raw.ask(find("a", "here")).await;
    assert_eq!(
        (reply.get_i32("code").unwrap(), reply.get_array("errorLabels").unwrap().clone()),
        (8000, vec![Bson::from("Odd")])
    );
    assert_eq!(raw.ask(find("a", "here")).await.get_f64("ok").unwrap(), 1.0);

    let mut named = Fault::always(&["ping"], Action::Close(When::Before));
    named.application = Some("target".to_owned());
    server.faults().add(named);
    raw.ask(doc! { "ping": 1, "$db": "t" }).await;
    raw.ask(doc! { "hello": 1, "client": { "application": { "name": "target" } }, "$db": "t" }).await;
    raw.send(0, &doc! { "ping": 1, "$db": "t" }).await;
    raw.expect_closed().await;
}

#[tokio::test]
async fn the_log_tells_connection_request_session_and_comment() {
    let server = server(Pose::Standalone).await;
    let mut raw = Raw::connect(&server).await;
    let session = bson::Uuid::new();
    raw.ask(doc! { "hello": 1, "client": { "application": { "name": "shop" } }, "$db": "admin" }).await;
    for _ in 0..3 {
        raw.ask(doc! { "find": "orders", "comment": "{\"callingFunction\":\"list\"}", "lsid": { "id": session }, "$db": "shop" }).await;
    }
    let last = raw.send(0, &doc! { "count": "orders", "$db": "shop" }).await;
    raw.receive().await.unwrap();
    let entries = server.log().entries();
    let find = &entries[1];
    assert_eq!(
        (find.connection, find.command.as_str(), find.database.as_str(), find.collection.as_str()),
        (1, "find", "shop", "orders")
    );
    assert_eq!((find.session, find.application.as_deref()), (Some(session), Some("shop")));
    assert_eq!(entries[4].request_id, last);
    assert_eq!(server.log().replies(), 5);

    let told = raw.ask(doc! { "fykeTest": "counts", "$db": "admin" }).await;
    let counts = told.get_array("counts").unwrap();
    let wanted = bson::bson!({ "command": "find", "db": "shop", "collection": "orders", "comment": "{\"callingFunction\":\"list\"}", "count": 3_i64 });
    assert!(counts.contains(&wanted), "{counts:?}");
    let told = raw.ask(doc! { "fykeTest": "log", "limit": 1, "$db": "admin" }).await;
    let row = told.get_array("log").unwrap()[0].as_document().unwrap().clone();
    assert_eq!((row.get_str("command").unwrap(), row.get_i32("requestID").unwrap()), ("count", last));
    raw.ask(doc! { "fykeTest": "clearLog", "$db": "admin" }).await;
    assert_eq!(server.log().total(), 0);
}
