//! Commands: who may run them, in which session and transaction, and how their replies are finished.

mod admin;
mod aggregate;
mod batch;
mod bulk_write;
mod catalogue;
mod cursor;
mod find;
mod modify;
mod remote_control;
mod sasl;
mod sessions;
mod write;

use std::{sync::Arc, time::Duration};

use bson::{Bson, Document, Uuid};

pub(crate) use self::sasl::start as sasl_start;
#[cfg(test)]
pub(crate) use self::write::{Reach, apply, remove};
use crate::{
    args::{Fields, number},
    connection::Peer,
    error::{Failure, RETRYABLE_WRITE, Result, TRANSIENT},
    handshake,
    options::Pose,
    server::Shared,
    store::{Attempt, Scope},
};

/// A command under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) connection: i64,
    pub(crate) name: &'a str,
    pub(crate) database: &'a str,
    pub(crate) args: &'a Document,
    pub(crate) session: Option<Uuid>,
    pub(crate) scope: Scope,
}

impl Operation<'_> {
    /// `database.collection` of the command.
    pub(crate) fn namespace(&self) -> Result<String> {
        match self.args.get(self.name) {
            Some(Bson::String(collection)) if !collection.is_empty() => Ok(format!("{}.{collection}", self.database)),
            _ => Err(Failure::new(73, "collection name has invalid type or is empty")),
        }
    }

    /// `maxTimeMS`.
    pub(crate) fn limit(&self) -> Option<Duration> {
        let limit = self.args.get("maxTimeMS").and_then(number).filter(|limit| *limit > 0.0)?;
        Some(Duration::from_millis(limit as u64))
    }
}

/// The collection that a command is about, or nothing.
pub(crate) fn collection_of<'a>(name: &str, body: &'a Document) -> &'a str {
    match name {
        "getMore" => body.get_str("collection").unwrap_or_default(),
        "bulkWrite" => match body.get_array("nsInfo").map(Vec::as_slice) {
            Ok([only]) => {
                let namespace = only.as_document().and_then(|only| only.get_str("ns").ok()).unwrap_or_default();
                namespace.split_once('.').map_or("", |(_, collection)| collection)
            }
            _ => "",
        },
        "saslStart" | "saslContinue" | "hello" | "isMaster" | "ismaster" | "renameCollection" | "fykeTest"
        | "configureFailPoint" | "getLog" => "",
        _ => body.get_str(name).unwrap_or_default(),
    }
}

/// The session that a command belongs to.
pub(crate) fn session_of(body: &Document) -> Option<Uuid> {
    match body.get_document("lsid").ok()?.get("id") {
        Some(Bson::Binary(binary)) => binary.to_uuid().ok(),
        _ => None,
    }
}

/// Runs a command; errors have become replies.
pub(crate) async fn execute(peer: &mut Peer, body: &Document) -> Document {
    match run(peer, body).await {
        Ok(mut reply) => {
            if !reply.contains_key("ok") {
                reply.insert("ok", 1.0);
            }
            handshake::add_times(&peer.shared, &mut reply);
            reply
        }
        Err(failure) => refuse(peer, body, failure),
    }
}

/// The reply to a command that failed, with the labels that its session and transaction call for.
pub(crate) fn refuse(peer: &Peer, body: &Document, mut failure: Failure) -> Document {
    let name = body.keys().next().map(String::as_str).unwrap_or_default();
    let in_transaction = is_transaction(body);
    let ends_transaction = matches!(name, "commitTransaction" | "abortTransaction");
    if in_transaction && !ends_transaction && (matches!(failure.code, 112 | 251) || failure.is_retryable()) {
        failure = failure.label(TRANSIENT);
    }
    let retryable = body.contains_key("txnNumber") && (!in_transaction || ends_transaction);
    if retryable && failure.is_retryable() {
        failure = failure.label(RETRYABLE_WRITE);
    }
    if in_transaction
        && !ends_transaction
        && let (Some(session), Ok(number)) = (session_of(body), body.get_i64("txnNumber"))
    {
        // Whatever fails inside a transaction ends it.
        let _ = peer.shared.group.store.abort(peer.shared.index, session, number);
    }
    let mut reply = failure.to_document();
    handshake::add_times(&peer.shared, &mut reply);
    reply
}

fn is_transaction(body: &Document) -> bool {
    matches!(body.get("autocommit"), Some(Bson::Boolean(false)))
}

async fn run(peer: &mut Peer, body: &Document) -> Result<Document> {
    let Some(name) = body.keys().next() else { return Err(Failure::new(59, "no such command: ''")) };
    let database = body.get_str("$db").map_err(|_| Failure::missing("$db"))?;
    match name.as_str() {
        "hello" | "isMaster" | "ismaster" => return handshake::hello(peer, name, body).await,
        "saslStart" => return sasl::start(peer, body, database),
        "saslContinue" => return sasl::proceed(peer, body),
        "logout" => {
            peer.authenticated.clear();
            return Ok(Document::new());
        }
        "connectionStatus" => return Ok(admin::connection_status(peer)),
        "whatsmyuri" => return Ok(bson::doc! { "you": peer.address.to_string() }),
        "fykeTest" => return remote_control::run(peer, body),
        "configureFailPoint" => return peer.shared.faults.configure(body).map(|()| Document::new()),
        _ => {}
    }
    let free = matches!(name.as_str(), "ping" | "buildInfo" | "buildinfo");
    if !free && !peer.shared.users.is_empty() && peer.authenticated.is_empty() {
        return Err(Failure::new(13, format!("Command {name} requires authentication")));
    }
    check_pose(&peer.shared, name, body)?;
    let shared = Arc::clone(&peer.shared);
    let session = session_of(body);
    let mut operation =
        Operation { shared: &shared, connection: peer.id, name, database, args: body, session, scope: Scope::Plain };
    let number = transaction_number(&shared, body)?;
    match (session, number) {
        (Some(session), Some(number)) if is_transaction(body) => in_transaction(&mut operation, session, number).await,
        (Some(session), Some(number)) => {
            shared.group.store.abort_older(shared.index, session, number);
            match shared.group.store.attempt(session, number).await? {
                Attempt::Repeat(reply) => Ok(reply.as_ref().clone()),
                Attempt::Execute(execution) => {
                    let reply = dispatch(&operation).await?;
                    execution.done(reply.clone());
                    Ok(reply)
                }
            }
        }
        _ => dispatch(&operation).await,
    }
}

async fn in_transaction(operation: &mut Operation<'_>, session: Uuid, number: i64) -> Result<Document> {
    let shared = operation.shared;
    let store = &shared.group.store;
    let mut reply = match operation.name {
        "commitTransaction" => store.commit(shared.index, session, number).map(|()| Document::new())?,
        "abortTransaction" => store.abort(shared.index, session, number).map(|()| Document::new())?,
        "create" | "createIndexes" | "find" | "getMore" | "killCursors" | "insert" | "update" | "delete"
        | "findAndModify" | "findandmodify" | "aggregate" | "distinct" | "bulkWrite" | "count" => {
            if operation.args.flag("startTransaction") {
                store.begin(shared.index, session, number, operation.connection)?;
            } else {
                store.expect_open(shared.index, session, number)?;
            }
            operation.scope = Scope::Transaction { server: shared.index, session };
            let reply = dispatch(operation).await?;
            if reply.contains_key("writeErrors") {
                let _ = store.abort(shared.index, session, number);
            }
            reply
        }
        name => {
            return Err(Failure::new(263, format!("Cannot run '{name}' in a multi-document transaction.")));
        }
    };
    if shared.options.pose == Pose::Mongos {
        reply.insert("recoveryToken", bson::doc! { "recoveryShardId": format!("shard-of-{}", shared.index) });
    }
    Ok(reply)
}

fn transaction_number(shared: &Shared, body: &Document) -> Result<Option<i64>> {
    let number = body.int("txnNumber")?;
    if number.is_some() && shared.options.pose == Pose::Standalone {
        return Err(Failure::new(20, "Transaction numbers are only allowed on a replica set member or mongos"));
    }
    Ok(number)
}

// What a secondary, or a primary that no longer is one, refuses.
fn check_pose(shared: &Shared, name: &str, body: &Document) -> Result<()> {
    let topology = shared.group.topology.borrow();
    if shared.options.pose != Pose::ReplicaSet || topology.primary == Some(shared.index) {
        return Ok(());
    }
    let refusal = |code, message| {
        let mut refusal = Failure::new(code, message);
        refusal.details.insert("topologyVersion", handshake::topology_version(shared, &topology));
        Err(refusal)
    };
    match name {
        "insert" | "update" | "delete" | "findAndModify" | "findandmodify" | "bulkWrite" | "create" | "drop"
        | "dropDatabase" | "createIndexes" | "dropIndexes" | "renameCollection" | "collMod" | "commitTransaction"
        | "abortTransaction" => refusal(10107, "not primary"),
        "find" | "aggregate" | "count" | "distinct" | "listCollections" | "listIndexes" | "listDatabases" => {
            let mode = body.get_document("$readPreference").ok().and_then(|preference| preference.get_str("mode").ok());
            match mode {
                None | Some("primary") => refusal(13435, "not primary and secondaryOk=false"),
                Some(_) => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

async fn dispatch(operation: &Operation<'_>) -> Result<Document> {
    match operation.name {
        "find" => find::find(operation),
        "count" => find::count(operation),
        "distinct" => find::distinct(operation),
        "aggregate" => aggregate::aggregate(operation),
        "getMore" => cursor::get_more(operation).await,
        "killCursors" => cursor::kill_cursors(operation),
        "insert" => write::insert(operation).await,
        "update" => write::update(operation).await,
        "delete" => write::delete(operation).await,
        "findAndModify" | "findandmodify" => modify::find_and_modify(operation).await,
        "bulkWrite" => bulk_write::bulk_write(operation).await,
        "create" | "drop" | "dropDatabase" | "listCollections" | "listDatabases" | "createIndexes" | "listIndexes"
        | "dropIndexes" | "deleteIndexes" | "renameCollection" | "collMod" => catalogue::run(operation),
        "startSession" | "endSessions" | "refreshSessions" | "killSessions" | "killAllSessions" => {
            sessions::run(operation)
        }
        _ => admin::run(operation),
    }
}
