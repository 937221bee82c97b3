//! Databases, collections and indexes.

use bson::{Bson, Document, doc};

use super::{Operation, batch};
use crate::{
    args::Fields,
    error::{Failure, Result},
    query::matching::Filter,
    store::{Scope, View},
};

pub(crate) fn run(operation: &Operation<'_>) -> Result<Document> {
    let store = &operation.shared.group.store;
    match operation.name {
        "listDatabases" => store.read(Scope::Plain, |view| list_databases(operation, view)),
        "listCollections" => list_collections(operation),
        "dropDatabase" => store.change(Scope::Plain, |view| {
            let names: Vec<String> = view
                .collections(operation.database)
                .map(|(name, _)| format!("{}.{name}", operation.database))
                .collect();
            for name in names {
                view.drop_collection(&name);
            }
            Ok(doc! { "dropped": operation.database })
        }),
        "renameCollection" => {
            let (from, to) = (operation.args.text("renameCollection")?, operation.args.text("to")?);
            let replace = operation.args.flag("dropTarget");
            store.change(Scope::Plain, |view| view.rename(from, to, replace).map(|()| Document::new()))
        }
        _ => {
            let namespace = operation.namespace()?;
            store.change(operation.scope, |view| on_collection(operation, &namespace, view))
        }
    }
}

fn on_collection(operation: &Operation<'_>, namespace: &str, view: &mut View<'_>) -> Result<Document> {
    let args = operation.args;
    match operation.name {
        "create" => {
            let kept = ["capped", "size", "max", "validator", "collation", "timeseries", "clusteredIndex"];
            let options =
                kept.into_iter().filter_map(|name| Some((name.to_owned(), args.get(name)?.clone()))).collect();
            view.create(namespace, options)?;
            Ok(Document::new())
        }
        "drop" => {
            let Some(dropped) = view.drop_collection(namespace) else { return Ok(doc! {}) };
            let indexes = i32::try_from(dropped.indexes.len()).unwrap_or(i32::MAX);
            Ok(doc! { "nIndexesWas": indexes, "ns": namespace })
        }
        "createIndexes" => create_indexes(args, namespace, view),
        "listIndexes" => {
            let Some(collection) = view.collection(namespace) else {
                return Err(Failure::new(26, format!("ns does not exist: {namespace}")));
            };
            batch::listing(operation, namespace, collection.indexes.clone())
        }
        "dropIndexes" | "deleteIndexes" => drop_indexes(args, namespace, view),
        _ => match view.collection(namespace) {
            Some(_) => Ok(Document::new()),
            None => Err(Failure::new(26, format!("ns does not exist: {namespace}"))),
        },
    }
}

fn create_indexes(args: &Document, namespace: &str, view: &mut View<'_>) -> Result<Document> {
    let wanted = args.documents("indexes")?;
    let created = view.collection(namespace).is_none();
    let collection = view.open(namespace);
    let before = collection.indexes.len();
    for index in wanted {
        let name = index.text("name")?;
        index.sub("key")?.ok_or_else(|| Failure::missing("key"))?;
        if !collection.indexes.iter().any(|known| known.get_str("name").ok() == Some(name)) {
            let mut specification = doc! { "v": 2 };
            specification.extend(index.clone());
            collection.indexes.push(specification);
        }
    }
    let number = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    Ok(doc! {
        "numIndexesBefore": number(before),
        "numIndexesAfter": number(collection.indexes.len()),
        "createdCollectionAutomatically": created,
    })
}

fn drop_indexes(args: &Document, namespace: &str, view: &mut View<'_>) -> Result<Document> {
    if view.collection(namespace).is_none() {
        return Err(Failure::new(26, format!("ns not found {namespace}")));
    }
    let collection = view.open(namespace);
    let before = collection.indexes.len();
    let dropped = |known: &Document| {
        let name = known.get_str("name").unwrap_or_default();
        name != "_id_"
            && match args.get("index") {
                Some(Bson::String(wanted)) => wanted == "*" || wanted == name,
                Some(Bson::Document(key)) => known.get_document("key").ok() == Some(key),
                Some(Bson::Array(names)) => names.iter().any(|wanted| wanted.as_str() == Some(name)),
                _ => false,
            }
    };
    collection.indexes.retain(|known| !dropped(known));
    if collection.indexes.len() == before && args.get_str("index").ok() != Some("*") {
        return Err(Failure::new(27, "index not found"));
    }
    Ok(doc! { "nIndexesWas": i32::try_from(before).unwrap_or(i32::MAX) })
}

fn list_databases(operation: &Operation<'_>, view: &View<'_>) -> Result<Document> {
    let filter = Filter::parse(operation.args.sub("filter")?.unwrap_or(&Document::new()))?;
    let name_only = operation.args.flag("nameOnly");
    let mut total = 0;
    let mut databases = Vec::new();
    for name in view.databases() {
        let bytes: usize = view.collections(&name).map(|(_, collection)| collection.bytes()).sum();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut database = doc! { "name": name };
        if !name_only {
            database.extend(doc! { "sizeOnDisk": bytes, "empty": false });
        }
        if filter.matches(&database) {
            total += bytes;
            databases.push(database);
        }
    }
    let mut reply = doc! { "databases": databases };
    if !name_only {
        reply.insert("totalSize", total);
    }
    Ok(reply)
}

fn list_collections(operation: &Operation<'_>) -> Result<Document> {
    let filter = Filter::parse(operation.args.sub("filter")?.unwrap_or(&Document::new()))?;
    let name_only = operation.args.flag("nameOnly");
    let listed = operation.shared.group.store.read(operation.scope, |view| {
        let mut listed = Vec::new();
        for (name, collection) in view.collections(operation.database) {
            let complete = doc! {
                "name": name,
                "type": "collection",
                "options": collection.options.clone(),
                "info": { "readOnly": false, "uuid": collection.uuid },
                "idIndex": collection.indexes.first().cloned(),
            };
            if filter.matches(&complete) {
                listed.push(if name_only {
                    doc! { "name": name, "type": "collection" }
                } else {
                    complete
                });
            }
        }
        Ok(listed)
    })?;
    batch::listing(operation, &format!("{}.$cmd.listCollections", operation.database), listed)
}
