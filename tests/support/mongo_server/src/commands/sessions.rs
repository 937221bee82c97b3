//! Sessions: begun by their first use, ended by name.

use bson::{Bson, Document, Uuid, doc};

use super::Operation;
use crate::error::{Failure, Result};

pub(crate) fn run(operation: &Operation<'_>) -> Result<Document> {
    let shared = operation.shared;
    let store = &shared.group.store;
    match operation.name {
        "startSession" => Ok(doc! { "id": { "id": Uuid::new() }, "timeoutMinutes": 30 }),
        "endSessions" | "killSessions" => {
            let named = named(operation)?;
            let all = named.is_empty() && operation.name == "killSessions";
            let chosen = |session: &Uuid| all || named.contains(session);
            store.abort_where(shared.index, |session, _| chosen(&session));
            shared.cursors.kill_where(|session, _| session.as_ref().is_some_and(chosen));
            for session in named.iter().filter(|_| operation.name == "endSessions") {
                store.forget_session(*session);
            }
            store.changed.notify_waiters();
            Ok(Document::new())
        }
        "killAllSessions" => {
            store.abort_where(shared.index, |_, _| true);
            shared.cursors.kill_where(|session, _| session.is_some());
            store.changed.notify_waiters();
            Ok(Document::new())
        }
        _ => Ok(Document::new()),
    }
}

fn named(operation: &Operation<'_>) -> Result<Vec<Uuid>> {
    let Ok(sessions) = operation.args.get_array(operation.name) else {
        return Err(Failure::type_mismatch(operation.name, "array"));
    };
    let id = |session: &Bson| match session.as_document()?.get("id")? {
        Bson::Binary(binary) => binary.to_uuid().ok(),
        _ => None,
    };
    Ok(sessions.iter().filter_map(id).collect())
}
