//! Batches of cursors: first and next.

use std::{collections::VecDeque, sync::Arc};

use bson::{Bson, Document, doc};

use super::Operation;
use crate::{
    args::Fields,
    cursors::{Cursor, Rest},
    error::{Failure, Result},
    query::projection::Projection,
    store::Stored,
    wire::MAX_DOCUMENT,
};

/// Documents of a first batch for which the client names no number.
const FIRST: usize = 101;

/// How many documents a batch may have; `None`: as many as fit.
pub(crate) fn size(value: Option<i64>) -> Result<Option<usize>> {
    match value {
        None => Ok(None),
        Some(value) => usize::try_from(value)
            .map(Some)
            .map_err(|_| Failure::new(51024, "BSON field 'batchSize' value must be >= 0")),
    }
}

/// Moves documents from `rest` to a batch, up to a number and 16 MiB, but at least one if the number allows.
pub(crate) fn take(rest: &mut Rest, most: Option<usize>) -> Result<Vec<Bson>> {
    let most = most.unwrap_or(usize::MAX);
    let mut batch = Vec::new();
    let mut bytes = 0;
    match rest {
        Rest::Stored(rest, projection) => {
            while batch.len() < most && fits(rest.front().map(|stored| stored.size), bytes, batch.len()) {
                let Some(stored) = rest.pop_front() else { break };
                bytes += stored.size;
                batch.push(Bson::Document(projected(projection, &stored)?));
            }
        }
        Rest::Ready(rest) => {
            while batch.len() < most {
                let size = rest.front().map(|document| document.to_vec().map_or(0, |encoded| encoded.len()));
                if !fits(size, bytes, batch.len()) {
                    break;
                }
                let Some(document) = rest.pop_front() else { break };
                bytes += size.unwrap_or(0);
                batch.push(Bson::Document(document));
            }
        }
        Rest::Tail { .. } | Rest::Changes { .. } => {}
    }
    Ok(batch)
}

fn fits(size: Option<usize>, bytes: usize, taken: usize) -> bool {
    size.is_some_and(|size| taken == 0 || bytes + size <= MAX_DOCUMENT)
}

pub(crate) fn projected(projection: &Projection, stored: &Arc<Stored>) -> Result<Document> {
    projection.apply(&stored.document)
}

/// The reply with the first batch; keeps a cursor open if there is more.
pub(crate) fn first(
    operation: &Operation<'_>,
    namespace: &str,
    mut rest: Rest,
    options: &Document,
) -> Result<Document> {
    let most = size(options.int("batchSize")?)?;
    let single = options.flag("singleBatch");
    let batch = take(&mut rest, most.or(Some(FIRST)))?;
    let more = match &rest {
        Rest::Stored(rest, _) => !rest.is_empty(),
        Rest::Ready(rest) => !rest.is_empty(),
        Rest::Tail { .. } | Rest::Changes { .. } => true,
    };
    let id = if more && !single { keep(operation, namespace, rest) } else { 0 };
    Ok(doc! { "cursor": { "firstBatch": batch, "id": id, "ns": namespace } })
}

/// Keeps a cursor open.
pub(crate) fn keep(operation: &Operation<'_>, namespace: &str, rest: Rest) -> i64 {
    let (session, connection) = (operation.session, operation.connection);
    operation.shared.cursors.open(Cursor { namespace: namespace.to_owned(), session, connection, rest })
}

/// The reply with everything that a command lists.
pub(crate) fn listing(operation: &Operation<'_>, namespace: &str, documents: Vec<Document>) -> Result<Document> {
    let options = operation.args.sub("cursor")?.cloned().unwrap_or_default();
    first(operation, namespace, Rest::Ready(VecDeque::from(documents)), &options)
}
