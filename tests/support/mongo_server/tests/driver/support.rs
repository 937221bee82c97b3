//! Clients and waiting.

use std::time::Duration;

use bson::{Document, doc};
use fyke_mongo_server::{MongoServer, Options, Pose};
use mongodb::{Client, Collection, options::ClientOptions};

/// Nothing that is expected takes so long.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn server(pose: Pose) -> MongoServer {
    MongoServer::start(Options::posing(pose)).await.unwrap()
}

pub async fn client(server: &MongoServer) -> Client {
    Client::with_uri_str(server.uri()).await.unwrap()
}

/// A client that repeats nothing by itself.
pub async fn plain_client(uri: &str) -> Client {
    let mut options = ClientOptions::parse(uri).await.unwrap();
    options.retry_reads = Some(false);
    options.retry_writes = Some(false);
    Client::with_options(options).unwrap()
}

pub fn things(client: &Client) -> Collection<Document> {
    client.database("test").collection("things")
}

pub async fn remote(client: &Client, command: Document) -> Document {
    client.database("admin").run_command(command).await.unwrap()
}

/// Numbers from 0 as documents.
pub fn numbered(count: i32) -> Vec<Document> {
    (0..count).map(|id| doc! { "_id": id }).collect()
}

/// Waits until a condition holds.
pub async fn until(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the condition never held");
}

/// MongoDB's code of an error, if it has one.
pub fn code(error: &mongodb::error::Error) -> Option<i32> {
    use mongodb::error::{ErrorKind, WriteFailure};
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        ErrorKind::InsertMany(error) => error.write_errors.as_ref()?.first().map(|error| error.code),
        _ => None,
    }
}
