//! aggregate, and the events of change streams.

use std::collections::VecDeque;

use bson::{Bson, Document, doc};

use super::{Operation, batch};
use crate::{
    args::Fields,
    cursors::Rest,
    error::{Failure, RESUMABLE, Result},
    options::Pose,
    query::{matching::Filter, pipeline},
    store::{Change, ChangeKind},
};

pub(crate) fn aggregate(operation: &Operation<'_>) -> Result<Document> {
    let args = operation.args;
    let stages = args.documents("pipeline")?;
    if let Some(options) = stages.first().and_then(|stage| stage.get_document("$changeStream").ok()) {
        return watch(operation, options, stages.get(1..).unwrap_or_default());
    }
    let Some(cursor) = args.sub("cursor")? else {
        return Err(Failure::failed_to_parse(
            "The 'cursor' option is required, except for aggregate with the explain argument",
        ));
    };
    let Ok(namespace) = operation.namespace() else {
        return Err(Failure::new(73, "aggregation without a collection is supported for $changeStream only"));
    };
    if stages.first().is_some_and(|stage| stage.contains_key("$collStats")) {
        let statistics = statistics(operation, &namespace)?;
        let documents = pipeline::run(stages.get(1..).unwrap_or_default(), vec![statistics])?;
        return batch::first(operation, &namespace, Rest::Ready(VecDeque::from(documents)), cursor);
    }
    // A leading `$match` looks documents up, the rest works on copies.
    let leading = stages.first().and_then(|stage| stage.get_document("$match").ok());
    let filter = Filter::parse(leading.unwrap_or(&Document::new()))?;
    let documents = operation.shared.group.store.read(operation.scope, |view| {
        Ok(view.collection(&namespace).map_or_else(Vec::new, |collection| {
            collection.find(&filter).map(|stored| stored.document.clone()).collect()
        }))
    })?;
    let rest = stages.get(usize::from(leading.is_some())..).unwrap_or_default();
    let documents = pipeline::run(rest, documents)?;
    batch::first(operation, &namespace, Rest::Ready(VecDeque::from(documents)), cursor)
}

fn statistics(operation: &Operation<'_>, namespace: &str) -> Result<Document> {
    operation.shared.group.store.read(operation.scope, |view| {
        let Some(collection) = view.collection(namespace) else {
            return Err(Failure::new(26, format!("Collection [{namespace}] not found.")));
        };
        let (count, size) = (collection.len() as f64, collection.bytes() as f64);
        Ok(doc! {
            "ns": namespace,
            "count": count,
            "storageStats": {
                "count": count, "size": size, "storageSize": size, "totalIndexSize": 0, "totalSize": size,
                "capped": collection.is_capped(), "nindexes": 1, "indexSizes": { "_id_": 0 },
            },
        })
    })
}

fn watch(operation: &Operation<'_>, options: &Document, stages: &[&Document]) -> Result<Document> {
    if operation.shared.options.pose == Pose::Standalone {
        return Err(Failure::new(40573, "The $changeStream stage is only supported on replica sets"));
    }
    let namespace = match operation.args.get(operation.name) {
        Some(Bson::String(collection)) => format!("{}.{collection}", operation.database),
        _ if options.flag("allChangesForCluster") => "*".to_owned(),
        _ => format!("{}.$cmd.aggregate", operation.database),
    };
    let token = options.get("resumeAfter").or(options.get("startAfter"));
    let position = match token {
        Some(token) => position_of(token).ok_or_else(|| Failure::bad_value("resume token is not one of ours"))?,
        None => operation.shared.group.store.position(),
    };
    let stages = stages.iter().map(|stage| (*stage).clone()).collect();
    // The cursor's name, which getMore has to repeat, is that of the aggregation.
    let name = if namespace == "*" { "admin.$cmd.aggregate".to_owned() } else { namespace };
    let id = batch::keep(operation, &name, Rest::Changes { position, stages });
    Ok(doc! { "cursor": { "firstBatch": [], "id": id, "ns": name, "postBatchResumeToken": resume_token(position) } })
}

/// Events after `position` for a stream on `namespace`; moves `position`.
pub(crate) fn changes(
    operation: &Operation<'_>,
    namespace: &str,
    position: &mut u64,
    stages: &[Document],
    most: Option<usize>,
) -> Result<Vec<Bson>> {
    let Some(changes) = operation.shared.group.store.changes_after(*position) else {
        return Err(Failure::new(286, "the resume point may no longer be in the history").label(RESUMABLE));
    };
    let stages: Vec<&Document> = stages.iter().collect();
    let mut events = Vec::new();
    for change in changes {
        if events.len() >= most.unwrap_or(usize::MAX) {
            break;
        }
        *position = change.position;
        if concerns(namespace, &change.namespace) {
            let passed = pipeline::run(&stages, vec![event(&change)])?;
            events.extend(passed.into_iter().map(Bson::Document));
        }
    }
    Ok(events)
}

fn concerns(stream: &str, changed: &str) -> bool {
    match stream.strip_suffix(".$cmd.aggregate") {
        Some("admin") => true,
        Some(database) => changed.strip_prefix(database).is_some_and(|rest| rest.starts_with('.')),
        None => stream == changed,
    }
}

fn event(change: &Change) -> Document {
    let (database, collection) = change.namespace.split_once('.').unwrap_or_default();
    let kind = match change.kind {
        ChangeKind::Insert => "insert",
        // What changed is not kept apart: every update is told as a replacement.
        ChangeKind::Update => "replace",
        ChangeKind::Delete => "delete",
        ChangeKind::Drop => "drop",
    };
    let time = bson::Timestamp { time: 1, increment: u32::try_from(change.position).unwrap_or(u32::MAX) };
    let mut event = doc! {
        "_id": resume_token(change.position),
        "operationType": kind,
        "clusterTime": time,
        "ns": { "db": database, "coll": collection },
    };
    if change.kind != ChangeKind::Drop {
        event.insert("documentKey", change.document_key());
    }
    if let Some(stored) = &change.stored {
        event.insert("fullDocument", stored.document.clone());
    }
    event
}

/// The token after which a stream resumes.
pub(crate) fn resume_token(position: u64) -> Document {
    doc! { "_data": format!("{position:016X}") }
}

fn position_of(token: &Bson) -> Option<u64> {
    u64::from_str_radix(token.as_document()?.get_str("_data").ok()?, 16).ok()
}
