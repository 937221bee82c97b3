//! insert, update, delete.

use std::sync::Arc;

use bson::{Bson, Document, doc, oid::ObjectId};

use super::Operation;
use crate::{
    args::{Fields, integer},
    error::{Failure, Result},
    query::{matching::Filter, ordering, update::Update},
    store::{Stop, Stored, View},
    wire::MAX_DOCUMENT,
};

/// What one statement did.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Done {
    pub(crate) matched: usize,
    pub(crate) modified: usize,
    pub(crate) upserted: Option<Bson>,
    pub(crate) before: Option<Document>,
    pub(crate) after: Option<Document>,
}

/// Which of the documents that match a statement takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach<'a> {
    /// Every one.
    All,
    /// The first under these sort keys.
    First(&'a [(String, bool)]),
}

pub(crate) async fn insert(operation: &Operation<'_>) -> Result<Document> {
    let namespace = operation.namespace()?;
    let mut statements = Statements::new(operation);
    let mut inserted = 0;
    for (index, document) in operation.args.documents("documents")?.into_iter().enumerate() {
        match insert_one(operation, &namespace, document).await {
            Ok(_) => inserted += 1,
            Err(failure) => {
                if statements.stop(index, failure)? {
                    break;
                }
            }
        }
    }
    statements.reply(doc! { "n": inserted })
}

pub(crate) async fn update(operation: &Operation<'_>) -> Result<Document> {
    let namespace = operation.namespace()?;
    let mut statements = Statements::new(operation);
    let (mut matched, mut modified, mut upserted) = (0, 0, Vec::new());
    for (index, statement) in operation.args.documents("updates")?.into_iter().enumerate() {
        let result = async {
            let filter = Filter::parse(statement.sub("q")?.unwrap_or(&Document::new()))?;
            let change = Update::parse(statement.get("u").unwrap_or(&Bson::Null))?;
            refuse_array_filters(statement)?;
            let multi = statement.flag("multi");
            if multi && change.is_replacement() {
                return Err(Failure::failed_to_parse("multi update is not supported for replacement-style update"));
            }
            let reach = if multi { Reach::All } else { Reach::First(&[]) };
            let upsert = statement.flag("upsert");
            let run = |view: &mut View<'_>| apply(view, &namespace, &filter, &change, reach, upsert);
            operation.shared.group.store.write(operation.scope, operation.limit(), run).await
        };
        match result.await {
            Ok(done) => {
                matched += done.matched + usize::from(done.upserted.is_some());
                modified += done.modified;
                if let Some(id) = done.upserted {
                    upserted.push(doc! { "index": count(index), "_id": id });
                }
            }
            Err(failure) => {
                if statements.stop(index, failure)? {
                    break;
                }
            }
        }
    }
    let mut reply = doc! { "n": count(matched), "nModified": count(modified) };
    if !upserted.is_empty() {
        reply.insert("upserted", upserted);
    }
    statements.reply(reply)
}

pub(crate) async fn delete(operation: &Operation<'_>) -> Result<Document> {
    let namespace = operation.namespace()?;
    let mut statements = Statements::new(operation);
    let mut deleted = 0;
    for (index, statement) in operation.args.documents("deletes")?.into_iter().enumerate() {
        let result = async {
            let filter = Filter::parse(statement.sub("q")?.unwrap_or(&Document::new()))?;
            let one = statement.get("limit").and_then(integer) == Some(1);
            let reach = if one { Reach::First(&[]) } else { Reach::All };
            let run = |view: &mut View<'_>| remove(view, &namespace, &filter, reach);
            operation.shared.group.store.write(operation.scope, operation.limit(), run).await
        };
        match result.await {
            Ok(done) => deleted += done.matched,
            Err(failure) => {
                if statements.stop(index, failure)? {
                    break;
                }
            }
        }
    }
    statements.reply(doc! { "n": count(deleted) })
}

/// Inserts a document, with an `_id` if it has none, and returns the `_id`.
pub(crate) async fn insert_one(operation: &Operation<'_>, namespace: &str, document: &Document) -> Result<Bson> {
    let mut document = document.clone();
    if !document.contains_key("_id") {
        let mut complete = doc! { "_id": ObjectId::new() };
        complete.extend(document);
        document = complete;
    }
    let id = document.get("_id").cloned().unwrap_or(Bson::Null);
    if matches!(id, Bson::Array(_) | Bson::RegularExpression(_)) {
        return Err(Failure::new(53, "The '_id' value cannot be an array or a regex"));
    }
    let stored = Arc::new(Stored::new(document));
    if stored.size > MAX_DOCUMENT {
        let message = format!("object to insert too large. size in bytes: {}, max size: {MAX_DOCUMENT}", stored.size);
        return Err(Failure::new(10334, message));
    }
    let run = |view: &mut View<'_>| view.insert(namespace, &stored);
    operation.shared.group.store.write(operation.scope, operation.limit(), run).await?;
    Ok(id)
}

/// Updates what matches, or inserts if nothing does and `upsert`. Every document is checked before the first is written.
pub(crate) fn apply(
    view: &mut View<'_>,
    namespace: &str,
    filter: &Filter,
    update: &Update,
    reach: Reach<'_>,
    upsert: bool,
) -> Result<Done, Stop> {
    let targets = targets(view, namespace, filter, reach)?;
    if targets.is_empty() {
        if !upsert {
            return Ok(Done::default());
        }
        let document = update.seed(filter)?;
        let id = document.get("_id").cloned().unwrap_or(Bson::Null);
        view.insert(namespace, &Arc::new(Stored::new(document.clone())))?;
        return Ok(Done { upserted: Some(id), after: Some(document), ..Done::default() });
    }
    let mut done = Done { matched: targets.len(), ..Done::default() };
    let mut changed = Vec::with_capacity(targets.len());
    for target in &targets {
        changed.push(update.apply(&target.document, false)?);
    }
    for (target, after) in targets.iter().zip(changed) {
        if done.before.is_none() {
            done.before = Some(target.document.clone());
            done.after = Some(after.clone());
        }
        if after != target.document {
            let stored = view.replace(namespace, after)?;
            done.modified += 1;
            debug_assert_eq!(stored.key, target.key);
        }
    }
    Ok(done)
}

/// Removes what matches.
pub(crate) fn remove(view: &mut View<'_>, namespace: &str, filter: &Filter, reach: Reach<'_>) -> Result<Done, Stop> {
    let targets = targets(view, namespace, filter, reach)?;
    for target in &targets {
        view.remove(namespace, &target.key);
    }
    let before = targets.first().map(|target| target.document.clone());
    Ok(Done { matched: targets.len(), before, ..Done::default() })
}

fn targets(view: &View<'_>, namespace: &str, filter: &Filter, reach: Reach<'_>) -> Result<Vec<Arc<Stored>>, Stop> {
    let Some(collection) = view.collection(namespace) else { return Ok(Vec::new()) };
    let found = collection.find(filter);
    let targets: Vec<Arc<Stored>> = match reach {
        Reach::All => found.map(Arc::clone).collect(),
        Reach::First([]) => found.take(1).map(Arc::clone).collect(),
        Reach::First(keys) => {
            let first = found.min_by(|left, right| ordering::by_keys(&left.document, &right.document, keys));
            first.map(Arc::clone).into_iter().collect()
        }
    };
    for target in &targets {
        view.check(namespace, &target.key)?;
    }
    Ok(targets)
}

/// `arrayFilters` would change what an update means, so they are refused rather than ignored.
pub(crate) fn refuse_array_filters(statement: &Document) -> Result<()> {
    match statement.get_array("arrayFilters") {
        Ok(filters) if !filters.is_empty() => Err(Failure::bad_value("arrayFilters are not supported by this server")),
        _ => Ok(()),
    }
}

/// A number of things as BSON.
pub(crate) fn count(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// The statements of a command that fail.
#[derive(Debug)]
pub(crate) struct Statements {
    ordered: bool,
    errors: Vec<Document>,
}

impl Statements {
    pub(crate) fn new(operation: &Operation<'_>) -> Self {
        Self { ordered: !matches!(operation.args.get("ordered"), Some(Bson::Boolean(false))), errors: Vec::new() }
    }

    /// Notes the failure of a statement; true if those that follow are not run. Conflicts fail the whole command.
    pub(crate) fn stop(&mut self, index: usize, failure: Failure) -> Result<bool> {
        if matches!(failure.code, 50 | 112 | 251) {
            return Err(failure);
        }
        let mut error = doc! { "index": count(index), "code": failure.code, "errmsg": failure.message };
        error.extend(*failure.details);
        self.errors.push(error);
        Ok(self.ordered)
    }

    pub(crate) fn reply(self, mut reply: Document) -> Result<Document> {
        if !self.errors.is_empty() {
            reply.insert("writeErrors", self.errors);
        }
        Ok(reply)
    }
}
