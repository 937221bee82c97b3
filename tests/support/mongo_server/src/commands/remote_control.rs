//! `{fykeTest: <what>}`: tests in other languages, and in other processes, look at the server and set its faults.

use bson::{Document, doc};

use crate::{
    args::{Fields, integer},
    connection::Peer,
    error::{Failure, Result},
};

pub(crate) fn run(peer: &Peer, args: &Document) -> Result<Document> {
    let shared = &peer.shared;
    match args.text("fykeTest")? {
        "log" => {
            let limit = args.get("limit").and_then(integer).and_then(|limit| usize::try_from(limit).ok());
            Ok(doc! { "log": shared.log.entries_document(limit.unwrap_or(1000)) })
        }
        "counts" => Ok(doc! {
            "counts": shared.log.counts_document(),
            "total": i64::try_from(shared.log.total()).unwrap_or(i64::MAX),
            "replies": i64::try_from(shared.log.replies()).unwrap_or(i64::MAX),
        }),
        "clearLog" => {
            shared.log.clear();
            Ok(Document::new())
        }
        "connections" => {
            let connections = shared.counts.snapshot();
            let whole = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
            let (cursors, _) = shared.cursors.counts();
            Ok(doc! {
                "current": whole(connections.current),
                "peak": whole(connections.peak),
                "total": connections.total,
                "refused": whole(connections.refused),
                "cursors": whole(cursors),
                "transactions": whole(shared.group.store.open_transactions()),
                "wireErrors": shared.wire_errors(),
            })
        }
        "resetPeak" => {
            shared.counts.reset_peak();
            Ok(Document::new())
        }
        "fault" => shared.faults.add_from(args).map(|()| Document::new()),
        "clearFaults" => {
            shared.faults.clear();
            Ok(Document::new())
        }
        "setPrimary" => {
            let index = args.int("index")?.and_then(|index| usize::try_from(index).ok());
            shared.group.set_primary(index);
            Ok(Document::new())
        }
        "clearData" => {
            shared.group.store.clear();
            Ok(Document::new())
        }
        other => Err(Failure::bad_value(format!("fykeTest: '{other}' is unknown"))),
    }
}
