//! Who may ask, over what: SCRAM, compression, TLS.

use bson::doc;
use fyke_mongo_server::{Compressor, MongoServer, Options, Pose};
use mongodb::{
    Client,
    options::{ClientOptions, Tls, TlsOptions},
};

use crate::{
    raw::Raw,
    support::{client, code, numbered, plain_client, things},
};

#[tokio::test]
async fn both_mechanisms_let_the_right_password_in_and_no_other() {
    let options = Options { iterations: 6000, ..Options::posing(Pose::Mongos) }.user("ada", "love");
    let server = MongoServer::start(options).await.unwrap();
    for mechanism in ["", "&authMechanism=SCRAM-SHA-256", "&authMechanism=SCRAM-SHA-1"] {
        let client = Client::with_uri_str(format!("{}{mechanism}", server.uri())).await.unwrap();
        things(&client).insert_one(doc! {}).await.unwrap();
        let status = client.database("admin").run_command(doc! { "connectionStatus": 1 }).await.unwrap();
        let users = status.get_document("authInfo").unwrap().get_array("authenticatedUsers").unwrap().clone();
        assert_eq!(users, [bson::bson!({ "user": "ada", "db": "admin" })], "{mechanism}");
        assert_eq!(status.get_i32("serverPort").unwrap(), i32::from(server.address().port()));

        let wrong = format!("mongodb://ada:hate@{}/?directConnection=true{mechanism}", server.address());
        let error = things(&plain_client(&wrong).await).insert_one(doc! {}).await.unwrap_err();
        assert!(error.to_string().contains("Authentication failed"), "{error}");
    }
    let anonymous = plain_client(&format!("mongodb://{}/?directConnection=true", server.address())).await;
    assert_eq!(code(&things(&anonymous).insert_one(doc! {}).await.unwrap_err()), Some(13));
    assert_eq!(things(&client(&server).await).count_documents(doc! {}).await.unwrap(), 3);
}

#[tokio::test]
async fn the_whole_exchange_is_understood_as_well() {
    let server = MongoServer::start(Options { iterations: 4096, ..Options::default() }.user("u", "p")).await.unwrap();
    let mut raw = Raw::connect(&server).await;
    // An unknown user and a proof without a start fail without a hint.
    let first = |user: &str| bson::Binary {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes: format!("n,,n={user},r=abc").into_bytes(),
    };
    let start =
        |user: &str| doc! { "saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": first(user), "$db": "admin" };
    assert_eq!(raw.ask(start("nobody")).await.get_i32("code").unwrap(), 18);
    let answer = raw.ask(start("u")).await;
    assert!(!answer.get_bool("done").unwrap());
    let bad = doc! { "saslContinue": 1, "conversationId": 1, "payload": first("u"), "$db": "admin" };
    assert_eq!(raw.ask(bad.clone()).await.get_i32("code").unwrap(), 18);
    assert_eq!(raw.ask(bad).await.get_i32("code").unwrap(), 17);
    assert_eq!(raw.ask(doc! { "ping": 1, "$db": "admin" }).await.get_f64("ok").unwrap(), 1.0);
    assert_eq!(raw.ask(doc! { "find": "c", "$db": "t" }).await.get_i32("code").unwrap(), 13);
}

#[tokio::test]
async fn every_compressor_is_agreed_on_and_used_both_ways() {
    for compressor in Compressor::ALL {
        let server = crate::support::server(Pose::Standalone).await;
        let client = Client::with_uri_str(format!("{}&compressors={}", server.uri(), compressor.name())).await.unwrap();
        let things = things(&client);
        things.insert_many(numbered(500)).await.unwrap();
        things.insert_one(doc! { "_id": "large", "text": "z".repeat(100_000) }).await.unwrap();
        assert_eq!(things.count_documents(doc! {}).await.unwrap(), 501);
        let inserts = server.log().of("insert");
        assert!(inserts.iter().all(|entry| entry.compressor == Some(compressor.name())), "{inserts:?}");
        assert_eq!(server.wire_errors(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn compressors_that_are_not_offered_are_not_used() {
    let options = Options { compressors: vec![Compressor::Zlib], ..Options::default() };
    let server = MongoServer::start(options).await.unwrap();
    let client = Client::with_uri_str(format!("{}&compressors=snappy,zlib", server.uri())).await.unwrap();
    things(&client).insert_one(doc! {}).await.unwrap();
    assert_eq!(server.log().of("insert")[0].compressor, Some("zlib"));
}

#[tokio::test]
async fn tls_carries_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server =
        MongoServer::start(Options { tls: Some((certificate.clone(), key)), ..Options::default() }).await.unwrap();

    let mut options =
        ClientOptions::parse(format!("mongodb://localhost:{}/?directConnection=true", server.address().port()))
            .await
            .unwrap();
    options.tls = Some(Tls::Enabled(TlsOptions::builder().ca_file_path(certificate).build()));
    let things = things(&Client::with_options(options).unwrap());
    things.insert_one(doc! { "_id": 1 }).await.unwrap();
    assert_eq!(things.find_one(doc! {}).await.unwrap().unwrap(), doc! { "_id": 1 });
}
