//! One connection: requests in, replies out, one after the other.

use std::{io, net::SocketAddr, sync::Arc};

use bson::{Bson, Document};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::{
    args::{Fields, number},
    auth::Conversation,
    commands,
    faults::{Action, Target, When},
    log::Entry,
    server::Shared,
    wire::{Framer, Incoming, Outgoing, encode, parse},
};

/// What a connection has become by its hello and its authentication.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) shared: Arc<Shared>,
    /// Number of the connection, from 1.
    pub(crate) id: i64,
    pub(crate) address: SocketAddr,
    /// Users and their databases.
    pub(crate) authenticated: Vec<(String, String)>,
    pub(crate) conversation: Option<Conversation>,
    pub(crate) application: Option<String>,
    /// The client pins cursors and transactions to this connection.
    pub(crate) load_balanced: bool,
}

impl Peer {
    pub(crate) fn new(shared: Arc<Shared>, id: i64, address: SocketAddr) -> Self {
        Self {
            shared,
            id,
            address,
            authenticated: Vec::new(),
            conversation: None,
            application: None,
            load_balanced: false,
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A mongos behind a balancer ends what a lost connection had: no other connection may go on with it.
        if self.load_balanced {
            self.shared.cursors.kill_where(|_, connection| connection == self.id);
            self.shared.group.store.abort_where(self.shared.index, |_, connection| connection == self.id);
        }
        self.shared.counts.leave();
    }
}

/// How an exchange ends.
enum Outcome {
    Reply(Document),
    Close,
}

/// Serves a connection until either side closes it.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, mut peer: Peer) {
    let mut kicks = peer.shared.kicks();
    tokio::select! {
        ended = converse(&mut stream, &mut peer) => {
            if let Err(error) = ended
                && error.kind() == io::ErrorKind::InvalidData
            {
                peer.shared.wire_error(error.to_string());
            }
        }
        _ = kicks.changed() => {}
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, peer: &mut Peer) -> io::Result<()> {
    let shared = Arc::clone(&peer.shared);
    let mut framer = Framer::default();
    while let Some(frame) = framer.next(stream).await? {
        shared.thawed().await;
        let mut incoming = parse(&frame).map_err(invalid)?;
        drop(frame);
        let target = describe(&incoming, peer);
        let actions = shared.faults.strike(Target {
            command: &target.command,
            namespace: &format!("{}.{}", target.database, target.collection),
            application: peer.application.as_deref(),
            comment: target.comment.as_ref(),
        });
        if target.command != "fykeTest" {
            shared.log.push(target);
        }
        let mut response_to = incoming.request_id;
        loop {
            let outcome = tokio::select! {
                biased;
                outcome = perform(peer, &incoming.body, &actions) => outcome,
                () = framer.closed(stream) => return Ok(()),
            };
            let Outcome::Reply(body) = outcome else { return Ok(()) };
            if incoming.more_to_come() {
                break;
            }
            let more_to_come = incoming.exhaust_allowed() && next_round(&mut incoming.body, &body);
            let request_id = shared.reply_id();
            let reply = Outgoing {
                request_id,
                response_to,
                kind: incoming.kind,
                more_to_come,
                checksum: incoming.has_checksum(),
                compressor: incoming.compressor,
                body: &body,
            };
            shared.thawed().await;
            let bytes = encode(&reply).map_err(invalid)?;
            if !send(stream, bytes, &actions).await? {
                return Ok(());
            }
            shared.log.replied();
            if !more_to_come {
                break;
            }
            response_to = request_id;
        }
    }
    Ok(())
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn describe(incoming: &Incoming, peer: &Peer) -> Entry {
    let body = &incoming.body;
    let command = body.keys().next().cloned().unwrap_or_default();
    let database = body.get_str("$db").unwrap_or_default().to_owned();
    Entry {
        connection: peer.id,
        request_id: incoming.request_id,
        collection: commands::collection_of(&command, body).to_owned(),
        comment: body.get("comment").or_else(|| body.get("$comment")).cloned(),
        session: commands::session_of(body),
        transaction: body.get_i64("txnNumber").ok(),
        cursor: if command == "getMore" { body.int("getMore").ok().flatten() } else { None },
        application: peer.application.clone(),
        compressor: incoming.compressor.map(crate::wire::Compressor::name),
        more_to_come: incoming.more_to_come(),
        command,
        database,
    }
}

async fn perform(peer: &mut Peer, body: &Document, actions: &[Action]) -> Outcome {
    let shared = Arc::clone(&peer.shared);
    let mut failure = None;
    for action in actions {
        match action {
            Action::Stall(time, When::Before) => shared.faults.stall(*time).await,
            Action::Close(When::Before) => return Outcome::Close,
            Action::Fail(wanted) => failure = Some(wanted.clone()),
            _ => {}
        }
    }
    let mut reply = match failure {
        Some(failure) => commands::refuse(peer, body, failure),
        None => commands::execute(peer, body).await,
    };
    for action in actions {
        match action {
            Action::Stall(time, When::After) => shared.faults.stall(*time).await,
            Action::Close(When::After) => return Outcome::Close,
            Action::WriteConcernError(error) => {
                reply.insert("writeConcernError", error.clone());
            }
            _ => {}
        }
    }
    Outcome::Reply(reply)
}

// Whether the same request is answered once more, and as what: an exhaust cursor until its end, an awaited hello for ever.
fn next_round(body: &mut Document, reply: &Document) -> bool {
    if reply.get("ok").and_then(number) != Some(1.0) {
        return false;
    }
    match body.keys().next().map(String::as_str) {
        Some("getMore") => {
            reply.get_document("cursor").is_ok_and(|cursor| cursor.get_i64("id").is_ok_and(|id| id != 0))
        }
        Some("hello" | "isMaster" | "ismaster") if body.contains_key("maxAwaitTimeMS") => {
            let version = reply.get("topologyVersion").cloned().unwrap_or(Bson::Null);
            body.insert("topologyVersion", version);
            true
        }
        _ => false,
    }
}

// False: the connection is to be closed.
async fn send<S: AsyncWrite + Unpin>(stream: &mut S, mut bytes: Vec<u8>, actions: &[Action]) -> io::Result<bool> {
    let (mut times, mut drip, mut open) = (1, false, true);
    for action in actions {
        match action {
            Action::WrongResponseTo(offset) => {
                let value = field(&bytes, 8).wrapping_add(*offset);
                set_field(&mut bytes, 8, value);
            }
            Action::Length(length) => set_field(&mut bytes, 0, *length),
            Action::Opcode(opcode) => set_field(&mut bytes, 12, *opcode),
            Action::Garbage(garbage) => bytes.clone_from(garbage),
            Action::Truncate(length) => {
                bytes.truncate(*length);
                open = false;
            }
            Action::Silence => times = 0,
            Action::Twice => times = 2,
            Action::Drip => drip = true,
            Action::Stall(..) | Action::Close(_) | Action::Fail(_) | Action::WriteConcernError(_) => {}
        }
    }
    for _ in 0..times {
        if drip {
            for byte in &bytes {
                stream.write_all(std::slice::from_ref(byte)).await?;
                stream.flush().await?;
                tokio::task::yield_now().await;
            }
        } else {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
        }
    }
    Ok(open)
}

fn field(bytes: &[u8], at: usize) -> i32 {
    crate::wire::int32(bytes, at).unwrap_or_default()
}

fn set_field(bytes: &mut [u8], at: usize, value: i32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}
