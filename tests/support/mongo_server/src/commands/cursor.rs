//! getMore and killCursors.

use std::time::Duration;

use bson::{Bson, Document, doc};
use tokio::time::Instant;

use super::{Operation, aggregate, batch};
use crate::{
    args::{Fields, integer},
    cursors::{Cursor, Rest},
    error::{Failure, Result},
};

/// How long an awaiting cursor waits if the client says nothing.
const AWAIT: Duration = Duration::from_secs(1);

pub(crate) async fn get_more(operation: &Operation<'_>) -> Result<Document> {
    let args = operation.args;
    let Some(id) = args.int("getMore")? else { return Err(Failure::missing("getMore")) };
    let namespace = format!("{}.{}", operation.database, args.text("collection")?);
    let most = batch::size(args.int("batchSize")?)?.filter(|most| *most > 0);
    let mut borrowed = operation.shared.cursors.borrow(id, &namespace, operation.session)?;
    let (documents, open) = match borrowed.cursor.rest {
        Rest::Tail { .. } | Rest::Changes { .. } => {
            let documents = awaited(operation, id, &mut borrowed.cursor, most).await?;
            (documents, true)
        }
        _ => {
            let documents = batch::take(&mut borrowed.cursor.rest, most)?;
            let open = match &borrowed.cursor.rest {
                Rest::Stored(rest, _) => !rest.is_empty(),
                Rest::Ready(rest) => !rest.is_empty(),
                _ => true,
            };
            (documents, open)
        }
    };
    let mut cursor = doc! { "nextBatch": documents, "id": if open { id } else { 0 }, "ns": &namespace };
    if let Rest::Changes { position, .. } = &borrowed.cursor.rest {
        cursor.insert("postBatchResumeToken", aggregate::resume_token(*position));
    }
    if open {
        borrowed.put_back();
    }
    Ok(doc! { "cursor": cursor })
}

// What came since the last batch; waits for something if nothing did.
async fn awaited(operation: &Operation<'_>, id: i64, cursor: &mut Cursor, most: Option<usize>) -> Result<Vec<Bson>> {
    let store = &operation.shared.group.store;
    let deadline = Instant::now() + operation.limit().unwrap_or(AWAIT);
    loop {
        let changed = store.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if !operation.shared.cursors.is_open(id) {
            return Err(Failure::new(237, "operation was interrupted: cursor was killed"));
        }
        let namespace = cursor.namespace.clone();
        let (documents, wait) = match &mut cursor.rest {
            Rest::Changes { position, stages } => {
                (aggregate::changes(operation, &namespace, position, stages, most)?, true)
            }
            rest => tailed(operation, &namespace, rest, most)?,
        };
        if !documents.is_empty() || !wait {
            return Ok(documents);
        }
        if tokio::time::timeout_at(deadline, changed).await.is_err() {
            return Ok(Vec::new());
        }
    }
}

fn tailed(
    operation: &Operation<'_>,
    namespace: &str,
    rest: &mut Rest,
    most: Option<usize>,
) -> Result<(Vec<Bson>, bool)> {
    let Rest::Tail { filter, projection, after, wait } = rest else { return Ok((Vec::new(), false)) };
    operation.shared.group.store.read(operation.scope, |view| {
        let Some(collection) = view.collection(namespace) else {
            return Err(Failure::new(96, "collection dropped while a tailable cursor was open"));
        };
        let mut documents = Vec::new();
        for (number, stored) in collection.after(*after) {
            if documents.len() >= most.unwrap_or(usize::MAX) {
                break;
            }
            *after = number;
            if filter.matches(&stored.document) {
                documents.push(Bson::Document(batch::projected(projection, stored)?));
            }
        }
        Ok((documents, *wait))
    })
}

pub(crate) fn kill_cursors(operation: &Operation<'_>) -> Result<Document> {
    let namespace = operation.namespace()?;
    let Ok(ids) = operation.args.get_array("cursors") else { return Err(Failure::missing("cursors")) };
    let (killed, unknown): (Vec<i64>, Vec<i64>) =
        ids.iter().filter_map(integer).partition(|id| operation.shared.cursors.kill(*id, &namespace));
    // Those that wait for changes look again whether they are still open.
    operation.shared.group.store.changed.notify_waiters();
    Ok(doc! { "cursorsKilled": killed, "cursorsNotFound": unknown, "cursorsAlive": [], "cursorsUnknown": [] })
}
