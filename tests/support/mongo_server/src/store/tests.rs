//! Random histories of three sessions and plain writers, against a model that keeps whole copies.

use std::collections::BTreeMap;

use bson::doc;
use proptest::prelude::*;

use super::*;
use crate::query::{matching::Filter, update::Update};

const NAMESPACE: &str = "test.things";
const SESSIONS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Step {
    Begin(usize),
    Commit(usize),
    Abort(usize),
    /// By a session if it has a transaction, else by nobody in particular.
    Write(usize, i32, i32),
    Remove(usize, i32),
}

fn step() -> impl Strategy<Value = Step> {
    let (who, id) = (0..=SESSIONS, 0..4_i32);
    prop_oneof![
        (0..SESSIONS).prop_map(Step::Begin),
        (0..SESSIONS).prop_map(Step::Commit),
        (0..SESSIONS).prop_map(Step::Abort),
        (who.clone(), id.clone(), any::<i32>()).prop_map(|(who, id, value)| Step::Write(who, id, value)),
        (who, id).prop_map(|(who, id)| Step::Remove(who, id)),
    ]
}

type Contents = BTreeMap<i32, i32>;

#[derive(Debug, Default)]
struct Model {
    shared: Contents,
    /// When each document was last written by a commit or a plain write.
    written: BTreeMap<i32, usize>,
    open: BTreeMap<usize, Open>,
}

#[derive(Debug)]
struct Open {
    since: usize,
    seen: Contents,
    own: BTreeMap<i32, Option<i32>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Conflict,
    Blocked,
}

impl Model {
    fn end(&mut self, session: usize, commit: Option<usize>) {
        let Some(open) = self.open.remove(&session) else { return };
        for (id, value) in open.own.into_iter().filter(|_| commit.is_some()) {
            match value {
                Some(value) => drop(self.shared.insert(id, value)),
                None => drop(self.shared.remove(&id)),
            }
            self.written.insert(id, commit.unwrap_or_default());
        }
    }

    fn write(&mut self, who: usize, id: i32, value: Option<i32>, now: usize) -> Outcome {
        let present = self.contents(who).contains_key(&id);
        let held = self.open.iter().any(|(session, open)| *session != who && open.own.contains_key(&id));
        let Some(open) = self.open.get_mut(&who) else {
            // Removing what is not there touches nothing; an insert may collide with a reserved `_id`.
            if value.is_none() && !present {
                return Outcome::Done;
            }
            if held {
                return Outcome::Blocked;
            }
            match value {
                Some(value) => drop(self.shared.insert(id, value)),
                None => drop(self.shared.remove(&id)),
            }
            self.written.insert(id, now);
            return Outcome::Done;
        };
        if value.is_none() && !present {
            return Outcome::Done;
        }
        let late = self.written.get(&id).is_some_and(|time| *time > open.since);
        if !open.own.contains_key(&id) && (held || late) {
            return Outcome::Conflict;
        }
        open.own.insert(id, value);
        match value {
            Some(value) => drop(open.seen.insert(id, value)),
            None => drop(open.seen.remove(&id)),
        }
        Outcome::Done
    }

    fn contents(&self, who: usize) -> &Contents {
        self.open.get(&who).map_or(&self.shared, |open| &open.seen)
    }
}

fn contents(store: &Store, scope: Scope) -> Contents {
    let read = |view: &mut View<'_>| {
        let collection = view.collection(NAMESPACE).cloned();
        Ok(collection.map_or_else(Contents::new, |collection| {
            let pair =
                |stored: &Arc<Stored>| (stored.document.get_i32("_id").unwrap(), stored.document.get_i32("v").unwrap());
            collection.iter().map(pair).collect()
        }))
    };
    store.read(scope, read).unwrap()
}

fn write(store: &Store, scope: Scope, id: i32, value: Option<i32>) -> Outcome {
    use crate::commands::{Reach, apply, remove};
    let filter = Filter::parse(&doc! { "_id": id }).unwrap();
    let result = store.with(scope, |view| match value {
        Some(value) => {
            let update = Update::parse(&bson::bson!({ "$set": { "v": value, "unique": fastrand::u64(..) as i64 } }))?;
            apply(view, NAMESPACE, &filter, &update, Reach::First(&[]), true).map(drop)
        }
        None => remove(view, NAMESPACE, &filter, Reach::All).map(drop),
    });
    match result {
        Ok(()) => Outcome::Done,
        Err(Stop::Blocked) => Outcome::Blocked,
        Err(Stop::Failure(failure)) => {
            assert_eq!(failure.code, 112);
            Outcome::Conflict
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn transactions_are_isolated_and_lose_no_write(steps in prop::collection::vec(step(), 1..60)) {
        let store = Store::default();
        let mut model = Model::default();
        let sessions: Vec<Uuid> = (0..SESSIONS).map(|_| Uuid::new()).collect();
        let mut number = [0_i64; SESSIONS];
        let scope = |model: &Model, who: usize| match model.open.contains_key(&who) {
            true => Scope::Transaction { server: 0, session: sessions[who] },
            false => Scope::Plain,
        };
        for (now, step) in steps.into_iter().enumerate() {
            match step {
                Step::Begin(who) => {
                    number[who] += 1;
                    store.begin(0, sessions[who], number[who], 1).unwrap();
                    model.end(who, None);
                    let seen = model.shared.clone();
                    model.open.insert(who, Open { since: now, seen, own: BTreeMap::new() });
                }
                Step::Commit(who) => {
                    let committed = store.commit(0, sessions[who], number[who]);
                    // Repeating a commit succeeds; what was aborted cannot be committed.
                    prop_assert!(committed.is_ok() || !model.open.contains_key(&who));
                    model.end(who, Some(now));
                }
                Step::Abort(who) => {
                    prop_assert_eq!(store.abort(0, sessions[who], number[who]).is_ok(), model.open.contains_key(&who));
                    model.end(who, None);
                }
                Step::Write(who, id, value) => {
                    let outcome = write(&store, scope(&model, who), id, Some(value));
                    prop_assert_eq!(outcome, model.write(who, id, Some(value), now));
                }
                Step::Remove(who, id) => {
                    let outcome = write(&store, scope(&model, who), id, None);
                    prop_assert_eq!(outcome, model.write(who, id, None, now));
                }
            }
            for who in 0..=SESSIONS {
                prop_assert_eq!(&contents(&store, scope(&model, who)), model.contents(who));
            }
            prop_assert_eq!(store.open_transactions(), model.open.len());
        }
        for session in &sessions {
            store.abort_where(0, |open, _| open == *session);
        }
        let inner = lock(&store.inner);
        prop_assert!(inner.reservations.held.is_empty() && inner.reservations.written.is_empty());
    }
}
