//! bulkWrite of MongoDB 8.0: inserts, updates and deletes over several collections.

use std::collections::VecDeque;

use bson::{Bson, Document, doc};

use super::{
    Operation, batch,
    write::{Done, Reach, apply, count, insert_one, refuse_array_filters, remove},
};
use crate::{
    args::Fields,
    cursors::Rest,
    error::{Failure, Result},
    query::{matching::Filter, update::Update},
    store::View,
};

const NAMESPACE: &str = "admin.$cmd.bulkWrite";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Insert,
    Update,
    Delete,
}

#[derive(Debug, Default)]
struct Totals {
    inserted: usize,
    matched: usize,
    modified: usize,
    upserted: usize,
    deleted: usize,
    errors: usize,
}

pub(crate) async fn bulk_write(operation: &Operation<'_>) -> Result<Document> {
    let args = operation.args;
    if operation.database != "admin" {
        return Err(Failure::new(13, "bulkWrite may only be run against the admin database."));
    }
    let namespaces: Vec<&str> =
        args.documents("nsInfo")?.into_iter().map(|info| info.text("ns")).collect::<Result<_>>()?;
    let ordered = !matches!(args.get("ordered"), Some(Bson::Boolean(false)));
    let errors_only = args.flag("errorsOnly");
    let mut totals = Totals::default();
    let mut results = VecDeque::new();
    for (index, statement) in args.documents("ops")?.into_iter().enumerate() {
        match one(operation, &namespaces, statement).await {
            Ok((verb, done)) => {
                let result = totals.add(index, verb, done);
                if !errors_only {
                    results.push_back(result);
                }
            }
            Err(failure) if matches!(failure.code, 50 | 112 | 251) => return Err(failure),
            Err(failure) => {
                totals.errors += 1;
                let mut result =
                    doc! { "ok": 0.0, "idx": count(index), "code": failure.code, "errmsg": failure.message, "n": 0 };
                result.extend(*failure.details);
                results.push_back(result);
                if ordered {
                    break;
                }
            }
        }
    }
    let cursor = args.sub("cursor")?.cloned().unwrap_or_default();
    let mut reply = batch::first(operation, NAMESPACE, Rest::Ready(results), &cursor)?;
    reply.extend(doc! {
        "nErrors": count(totals.errors),
        "nInserted": count(totals.inserted),
        "nMatched": count(totals.matched),
        "nModified": count(totals.modified),
        "nUpserted": count(totals.upserted),
        "nDeleted": count(totals.deleted),
    });
    Ok(reply)
}

async fn one(operation: &Operation<'_>, namespaces: &[&str], statement: &Document) -> Result<(Verb, Done)> {
    let verb = match statement.keys().next().map(String::as_str) {
        Some("insert") => Verb::Insert,
        Some("update") => Verb::Update,
        Some("delete") => Verb::Delete,
        _ => return Err(Failure::failed_to_parse("an operation of bulkWrite is insert, update or delete")),
    };
    let index = statement.values().next().and_then(crate::args::integer).and_then(|index| usize::try_from(index).ok());
    let Some(namespace) = index.and_then(|index| namespaces.get(index)) else {
        return Err(Failure::bad_value("BulkWrite ops entry has an invalid nsInfo index."));
    };
    let store = &operation.shared.group.store;
    if verb == Verb::Insert {
        let Some(document) = statement.sub("document")? else { return Err(Failure::missing("document")) };
        insert_one(operation, namespace, document).await?;
        return Ok((verb, Done { matched: 1, ..Done::default() }));
    }
    let filter = Filter::parse(statement.sub("filter")?.unwrap_or(&Document::new()))?;
    let reach = if statement.flag("multi") { Reach::All } else { Reach::First(&[]) };
    if verb == Verb::Delete {
        let run = |view: &mut View<'_>| remove(view, namespace, &filter, reach);
        return Ok((verb, store.write(operation.scope, operation.limit(), run).await?));
    }
    refuse_array_filters(statement)?;
    let update = Update::parse(statement.get("updateMods").unwrap_or(&Bson::Null))?;
    let upsert = statement.flag("upsert");
    let run = |view: &mut View<'_>| apply(view, namespace, &filter, &update, reach, upsert);
    Ok((verb, store.write(operation.scope, operation.limit(), run).await?))
}

impl Totals {
    fn add(&mut self, index: usize, verb: Verb, done: Done) -> Document {
        let n = done.matched + usize::from(done.upserted.is_some());
        let mut result = doc! { "ok": 1.0, "idx": count(index), "n": count(n) };
        match verb {
            Verb::Insert => self.inserted += 1,
            Verb::Delete => self.deleted += done.matched,
            Verb::Update => {
                self.matched += done.matched;
                self.modified += done.modified;
                result.insert("nModified", count(done.modified));
                if let Some(id) = done.upserted {
                    self.upserted += 1;
                    result.insert("upserted", doc! { "_id": id });
                }
            }
        }
        result
    }
}
