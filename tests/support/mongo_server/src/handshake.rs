//! `hello` and its older names: who the server is, awaited if the client wishes.

use std::time::Duration;

use bson::{Binary, Bson, DateTime, Document, doc, oid::ObjectId, spec::BinarySubtype};

use crate::{
    args::{Fields, integer},
    commands,
    connection::Peer,
    deployment::Topology,
    error::Result,
    options::Pose,
    server::Shared,
    wire::{Compressor, MAX_DOCUMENT, MAX_MESSAGE},
};

/// Answers a hello.
pub(crate) async fn hello(peer: &mut Peer, name: &str, args: &Document) -> Result<Document> {
    learn(peer, args);
    let shared = std::sync::Arc::clone(&peer.shared);
    await_change(&shared, args).await?;
    let topology = shared.group.topology.borrow().clone();
    let mut reply = Document::new();
    describe(&shared, &topology, name != "hello", &mut reply);
    reply.extend(doc! {
        "helloOk": true,
        "topologyVersion": topology_version(&shared, &topology),
        "maxBsonObjectSize": size(MAX_DOCUMENT),
        "maxMessageSizeBytes": size(MAX_MESSAGE),
        "maxWriteBatchSize": 100_000,
        "localTime": DateTime::now(),
        "logicalSessionTimeoutMinutes": 30,
        "connectionId": peer.id,
        "minWireVersion": 0,
        "maxWireVersion": shared.options.max_wire_version,
        "readOnly": false,
    });
    if let Ok(wanted) = args.get_array("compression") {
        let agreed = wanted.iter().filter_map(Bson::as_str).filter_map(Compressor::named);
        let agreed: Vec<&str> =
            agreed.filter(|compressor| shared.options.compressors.contains(compressor)).map(Compressor::name).collect();
        if !agreed.is_empty() {
            reply.insert("compression", agreed);
        }
    }
    if peer.load_balanced {
        reply.insert("serviceId", shared.service);
    }
    if let Some((_, user)) = args.get_str("saslSupportedMechs").ok().and_then(|who| who.split_once('.'))
        && shared.users.contains(user)
    {
        reply.insert("saslSupportedMechs", vec!["SCRAM-SHA-1", "SCRAM-SHA-256"]);
    }
    if let Some(start) = args.sub("speculativeAuthenticate")? {
        // A failed speculation is no error: the client authenticates in full.
        let database = start.get_str("db").unwrap_or("admin").to_owned();
        if let Ok(answer) = commands::sasl_start(peer, start, &database) {
            reply.insert("speculativeAuthenticate", answer);
        }
    }
    Ok(reply)
}

fn learn(peer: &mut Peer, args: &Document) {
    let client = args.get_document("client").ok();
    if let Some(name) =
        client.and_then(|client| client.get_document("application").ok()).and_then(|app| app.get_str("name").ok())
    {
        peer.application = Some(name.to_owned());
    }
    if args.flag("loadBalanced") && peer.shared.options.pose == Pose::Mongos {
        peer.load_balanced = true;
    }
}

async fn await_change(shared: &Shared, args: &Document) -> Result<()> {
    let (Some(known), Some(time)) = (args.sub("topologyVersion")?, args.int("maxAwaitTimeMS")?) else { return Ok(()) };
    let same_process = known.get_object_id("processId").ok() == Some(shared.process);
    let counter = known.get("counter").and_then(integer).unwrap_or(-1);
    let time = Duration::from_millis(u64::try_from(time).unwrap_or(0));
    if same_process {
        let mut topology = shared.group.topology.subscribe();
        let _ = tokio::time::timeout(time, topology.wait_for(|topology| topology.version != counter)).await;
    }
    Ok(())
}

fn describe(shared: &Shared, topology: &Topology, legacy: bool, reply: &mut Document) {
    let is_primary = topology.primary == Some(shared.index);
    let writable = shared.options.pose != Pose::ReplicaSet || is_primary;
    reply.insert(if legacy { "ismaster" } else { "isWritablePrimary" }, writable);
    match shared.options.pose {
        Pose::Standalone => {}
        Pose::Mongos => {
            reply.insert("msg", "isdbgrid");
        }
        Pose::ReplicaSet => {
            let name = |index: usize| topology.members.get(index).cloned().unwrap_or_default();
            reply.extend(doc! {
                "setName": &shared.options.set_name,
                "setVersion": 1,
                "secondary": !is_primary,
                "hosts": topology.members.clone(),
                "me": name(shared.index),
                "lastWrite": { "lastWriteDate": DateTime::now(), "opTime": { "ts": bson::Timestamp { time: 1, increment: 1 }, "t": topology.term } },
            });
            if let Some(primary) = topology.primary {
                reply.insert("primary", name(primary));
            }
            if is_primary {
                // Elections are ordered by these twelve bytes.
                let term = u32::try_from(topology.term).unwrap_or(u32::MAX);
                reply.insert("electionId", ObjectId::from_parts(0x7fff_ffff, [0; 5], low_bytes(term)));
            }
        }
    }
}

/// Since which of its changes a server is what it is.
pub(crate) fn topology_version(shared: &Shared, topology: &Topology) -> Document {
    doc! { "processId": shared.process, "counter": topology.version }
}

fn low_bytes(value: u32) -> [u8; 3] {
    let [_, a, b, c] = value.to_be_bytes();
    [a, b, c]
}

/// `$clusterTime` and `operationTime`, for poses that have them.
pub(crate) fn add_times(shared: &Shared, reply: &mut Document) {
    if shared.options.pose == Pose::Standalone {
        return;
    }
    let position = shared.group.store.position();
    let seconds = DateTime::now().timestamp_millis() / 1000;
    let time = bson::Timestamp {
        time: u32::try_from(seconds).unwrap_or(1),
        increment: u32::try_from(position).unwrap_or(u32::MAX),
    };
    let hash = Binary { subtype: BinarySubtype::Generic, bytes: vec![0; 20] };
    reply.insert("operationTime", time);
    reply.insert("$clusterTime", doc! { "clusterTime": time, "signature": { "hash": hash, "keyId": 0_i64 } });
}

fn size(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}
