//! Commands that tell about the server; shells and drivers ask for them.

use bson::{DateTime, Document, doc};

use super::Operation;
use crate::{
    args::{Fields, number},
    connection::Peer,
    error::{Failure, Result},
    options::Pose,
    store::Scope,
};

const VERSION: &str = "8.0.0";

/// `connectionStatus`, with which connection of which server answers.
pub(crate) fn connection_status(peer: &Peer) -> Document {
    let users: Vec<Document> =
        peer.authenticated.iter().map(|(user, database)| doc! { "user": user, "db": database }).collect();
    let roles: Vec<Document> = if users.is_empty() { Vec::new() } else { vec![doc! { "role": "root", "db": "admin" }] };
    doc! {
        "authInfo": { "authenticatedUsers": users, "authenticatedUserRoles": roles },
        "connectionId": peer.id,
        "serverPort": i32::from(peer.shared.address.port()),
        "application": peer.application.clone(),
        "loadBalanced": peer.load_balanced,
    }
}

pub(crate) fn run(operation: &Operation<'_>) -> Result<Document> {
    match operation.name {
        "ping" | "fsync" | "setParameter" | "killOp" | "setFeatureCompatibilityVersion" => Ok(Document::new()),
        "buildInfo" | "buildinfo" => Ok(doc! {
            "version": VERSION,
            "gitVersion": "0",
            "versionArray": [8, 0, 0, 0],
            "modules": [],
            "bits": 64,
            "debug": false,
            "maxBsonObjectSize": 16_777_216,
            "storageEngines": ["memory"],
        }),
        "serverStatus" => Ok(server_status(operation)),
        "hostInfo" => Ok(doc! { "system": { "hostname": "localhost", "cpuAddrSize": 64 }, "os": { "type": "Linux" } }),
        "getParameter" => Ok(doc! { "featureCompatibilityVersion": { "version": "8.0" } }),
        "getCmdLineOpts" => Ok(doc! { "argv": ["mongo-server"], "parsed": {} }),
        "getLog" => Ok(doc! { "totalLinesWritten": 0, "log": [] }),
        "getFreeMonitoringStatus" => Ok(doc! { "state": "disabled" }),
        "currentOp" => Ok(doc! { "inprog": [] }),
        "listCommands" => Ok(doc! { "commands": {} }),
        "usersInfo" | "rolesInfo" => Ok(doc! { "users": [] }),
        "dbStats" | "dbstats" => database_stats(operation),
        "collStats" | "collstats" => collection_stats(operation),
        "explain" => Ok(
            doc! { "queryPlanner": { "winningPlan": { "stage": "COLLSCAN" } }, "command": operation.args.sub("explain")?.cloned() },
        ),
        "replSetGetStatus" => set_status(operation),
        "replSetStepDown" if operation.shared.options.pose == Pose::ReplicaSet => {
            let group = &operation.shared.group;
            let (members, own) = (group.topology.borrow().members.len(), operation.shared.index);
            // The next member leads, if there is another.
            let next = (own + 1).checked_rem(members).filter(|next| *next != own);
            group.set_primary(next);
            Ok(Document::new())
        }
        "commitTransaction" | "abortTransaction" => {
            Err(Failure::new(125, format!("{} must be run within a transaction", operation.name)))
        }
        name => Err(Failure::new(59, format!("no such command: '{name}'"))),
    }
}

fn server_status(operation: &Operation<'_>) -> Document {
    let shared = operation.shared;
    let connections = shared.counts.snapshot();
    let whole = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    let (open, opened) = shared.cursors.counts();
    doc! {
        "host": shared.address.to_string(),
        "version": VERSION,
        "process": if shared.options.pose == Pose::Mongos { "mongos" } else { "mongod" },
        "pid": i64::from(std::process::id()),
        "localTime": DateTime::now(),
        "connections": {
            "current": whole(connections.current),
            "available": 1_000_000,
            "totalCreated": connections.total,
            "peak": whole(connections.peak),
        },
        "metrics": { "cursor": { "open": { "total": whole(open) }, "totalOpened": i64::try_from(opened).unwrap_or(i64::MAX) } },
        "transactions": { "currentOpen": whole(shared.group.store.open_transactions()) },
        "storageEngine": { "name": "memory", "persistent": false },
    }
}

fn database_stats(operation: &Operation<'_>) -> Result<Document> {
    operation.shared.group.store.read(Scope::Plain, |view| {
        let (mut collections, mut objects, mut bytes) = (0, 0.0, 0.0);
        for (_, collection) in view.collections(operation.database) {
            collections += 1;
            objects += collection.len() as f64;
            bytes += collection.bytes() as f64;
        }
        Ok(doc! { "db": operation.database, "collections": collections, "objects": objects, "dataSize": bytes, "storageSize": bytes })
    })
}

fn collection_stats(operation: &Operation<'_>) -> Result<Document> {
    let namespace = operation.namespace()?;
    let scale = operation.args.get("scale").and_then(number).filter(|scale| *scale >= 1.0).unwrap_or(1.0);
    operation.shared.group.store.read(Scope::Plain, |view| {
        let (count, bytes, capped) = view
            .collection(&namespace)
            .map_or((0.0, 0.0, false), |collection| (collection.len() as f64, collection.bytes() as f64, collection.is_capped()));
        Ok(doc! { "ns": &namespace, "count": count, "size": bytes / scale, "storageSize": bytes / scale, "capped": capped, "nindexes": 1 })
    })
}

fn set_status(operation: &Operation<'_>) -> Result<Document> {
    if operation.shared.options.pose != Pose::ReplicaSet {
        return Err(Failure::new(76, "not running with --replSet"));
    }
    let topology = operation.shared.group.topology.borrow().clone();
    let members = topology.members.iter().enumerate().map(|(index, name)| {
        let primary = topology.primary == Some(index);
        doc! {
            "_id": i32::try_from(index).unwrap_or(i32::MAX),
            "name": name,
            "health": 1.0,
            "state": if primary { 1 } else { 2 },
            "stateStr": if primary { "PRIMARY" } else { "SECONDARY" },
            "self": index == operation.shared.index,
        }
    });
    let own = if topology.primary == Some(operation.shared.index) { 1 } else { 2 };
    Ok(doc! { "set": &operation.shared.options.set_name, "myState": own, "members": members.collect::<Vec<_>>() })
}
