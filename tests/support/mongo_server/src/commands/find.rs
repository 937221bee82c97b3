//! find, count, distinct.

use std::{collections::VecDeque, sync::Arc};

use bson::{Bson, Document, doc};

use super::{Operation, batch};
use crate::{
    args::Fields,
    cursors::Rest,
    error::{Failure, Result},
    query::{matching::Filter, ordering, path, projection::Projection},
    store::Stored,
};

pub(crate) fn find(operation: &Operation<'_>) -> Result<Document> {
    let args = operation.args;
    let namespace = operation.namespace()?;
    let projection = Projection::parse(args.sub("projection")?.unwrap_or(&Document::new()))?;
    if args.flag("tailable") {
        return tail(operation, &namespace, projection);
    }
    let found = select(operation, &namespace, "filter")?;
    batch::first(operation, &namespace, Rest::Stored(found, projection), args)
}

// Filter, sort, skip and limit of find and count; limit 0 is none, a negative one counts as positive.
fn select(operation: &Operation<'_>, namespace: &str, filter: &str) -> Result<VecDeque<Arc<Stored>>> {
    let args = operation.args;
    let filter = Filter::parse(args.sub(filter)?.unwrap_or(&Document::new()))?;
    let sort = ordering::sort_keys(args.sub("sort")?.unwrap_or(&Document::new()));
    let count = |field: &str| -> Result<usize> {
        Ok(args.int(field)?.map_or(0, |value| usize::try_from(value.unsigned_abs()).unwrap_or(usize::MAX)))
    };
    let (skip, limit) = (count("skip")?, count("limit")?);
    let most = if limit == 0 { usize::MAX } else { limit };
    operation.shared.group.store.read(operation.scope, |view| {
        let Some(collection) = view.collection(namespace) else { return Ok(VecDeque::new()) };
        // `$natural` is the order of insertion.
        let natural = match sort.as_slice() {
            [] => Some(true),
            [(path, ascending)] if path == "$natural" => Some(*ascending),
            _ => None,
        };
        if natural == Some(true) {
            return Ok(collection.find(&filter).skip(skip).take(most).map(Arc::clone).collect());
        }
        let mut found: Vec<Arc<Stored>> = collection.find(&filter).map(Arc::clone).collect();
        match natural {
            Some(_) => found.reverse(),
            None => found.sort_by(|left, right| ordering::by_keys(&left.document, &right.document, &sort)),
        }
        Ok(found.into_iter().skip(skip).take(most).collect())
    })
}

fn tail(operation: &Operation<'_>, namespace: &str, projection: Projection) -> Result<Document> {
    let args = operation.args;
    let filter = Filter::parse(args.sub("filter")?.unwrap_or(&Document::new()))?;
    let most = batch::size(args.int("batchSize")?)?.unwrap_or(101);
    let started = operation.shared.group.store.read(operation.scope, |view| {
        let Some(collection) = view.collection(namespace) else { return Ok(None) };
        if !collection.is_capped() {
            let message = "error processing query: tailable cursor requested on non capped collection";
            return Err(Failure::bad_value(message));
        }
        let mut documents = Vec::new();
        let mut last = 0;
        for (number, stored) in collection.after(0) {
            if documents.len() >= most {
                return Ok(Some((documents, last)));
            }
            last = number;
            if filter.matches(&stored.document) {
                documents.push(Bson::Document(batch::projected(&projection, stored)?));
            }
        }
        Ok(Some((documents, last.max(collection.last()))))
    })?;
    let Some((documents, after)) = started else {
        return Ok(doc! { "cursor": { "firstBatch": [], "id": 0_i64, "ns": namespace } });
    };
    let rest = Rest::Tail { filter, projection, after, wait: args.flag("awaitData") };
    let id = batch::keep(operation, namespace, rest);
    Ok(doc! { "cursor": { "firstBatch": documents, "id": id, "ns": namespace } })
}

pub(crate) fn count(operation: &Operation<'_>) -> Result<Document> {
    let found = select(operation, &operation.namespace()?, "query")?.len();
    Ok(doc! { "n": i32::try_from(found).unwrap_or(i32::MAX) })
}

pub(crate) fn distinct(operation: &Operation<'_>) -> Result<Document> {
    let namespace = operation.namespace()?;
    let key = operation.args.text("key")?;
    let filter = Filter::parse(operation.args.sub("query")?.unwrap_or(&Document::new()))?;
    let mut values: Vec<Bson> = operation.shared.group.store.read(operation.scope, |view| {
        let Some(collection) = view.collection(&namespace) else { return Ok(Vec::new()) };
        let mut values = Vec::new();
        for stored in collection.find(&filter) {
            for value in path::values(&stored.document, key).into_iter().flatten() {
                match value {
                    Bson::Array(items) => values.extend(items.iter().cloned()),
                    other => values.push(other.clone()),
                }
            }
        }
        Ok(values)
    })?;
    values.sort_by(ordering::compare);
    values.dedup_by(|left, right| ordering::equal(left, right));
    Ok(doc! { "values": values })
}
