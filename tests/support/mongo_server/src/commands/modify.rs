//! findAndModify.

use bson::{Bson, Document, doc};

use super::{
    Operation,
    write::{Reach, apply, refuse_array_filters, remove},
};
use crate::{
    args::Fields,
    error::{Failure, Result},
    query::{matching::Filter, ordering, projection::Projection, update::Update},
    store::View,
};

pub(crate) async fn find_and_modify(operation: &Operation<'_>) -> Result<Document> {
    let args = operation.args;
    let namespace = operation.namespace()?;
    let empty = Document::new();
    let filter = Filter::parse(args.sub("query")?.unwrap_or(&empty))?;
    let keys = ordering::sort_keys(args.sub("sort")?.unwrap_or(&empty));
    let projection = Projection::parse(args.sub("fields")?.unwrap_or(&empty))?;
    refuse_array_filters(args)?;
    let store = &operation.shared.group.store;
    if args.flag("remove") {
        let run = |view: &mut View<'_>| remove(view, &namespace, &filter, Reach::First(&keys));
        let done = store.write(operation.scope, operation.limit(), run).await?;
        return Ok(
            doc! { "lastErrorObject": { "n": i32::from(done.before.is_some()) }, "value": value(&projection, done.before)? },
        );
    }
    let Some(update) = args.get("update") else {
        return Err(Failure::failed_to_parse("Either an update or remove=true must be specified"));
    };
    let update = Update::parse(update)?;
    let upsert = args.flag("upsert");
    let run = |view: &mut View<'_>| apply(view, &namespace, &filter, &update, Reach::First(&keys), upsert);
    let done = store.write(operation.scope, operation.limit(), run).await?;
    let mut last = doc! { "n": i32::from(done.after.is_some()), "updatedExisting": done.matched > 0 };
    if let Some(id) = done.upserted {
        last.insert("upserted", id);
    }
    let chosen = if args.flag("new") { done.after } else { done.before };
    Ok(doc! { "lastErrorObject": last, "value": value(&projection, chosen)? })
}

fn value(projection: &Projection, document: Option<Document>) -> Result<Bson> {
    match document {
        Some(document) => Ok(Bson::Document(projection.apply(&document)?)),
        None => Ok(Bson::Null),
    }
}
