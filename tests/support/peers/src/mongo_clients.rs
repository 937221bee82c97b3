//! `mongo_clients.py` and `mongo_clients.mjs`

use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::script::{Script, node_folder, python};

/// Commands by name, database, collection and call site.
pub type Counts = BTreeMap<[String; 4], u64>;

/// Clients that work until this is dropped.
pub struct MongoClients {
    script: Script,
    /// The last that was said of commands that failed.
    told: RefCell<Value>,
}

/// What the clients say at their end; the script says what there is.
#[derive(Debug)]
pub struct Outcome {
    pub value: Value,
    /// Commands that were sent, as the driver has told them.
    pub counts: Counts,
}

impl MongoClients {
    /// PyMongo's, with these settings; the script says which there are. `None`: there is no Python.
    #[must_use]
    pub fn start(settings: &Value) -> Option<Self> {
        let script = Script::start(&python()?, "mongo_clients.py", &[settings.to_string()]);
        Some(Self { script, told: RefCell::default() })
    }

    /// Those of the driver for Node. `None`: there is no Node, or no driver for it.
    #[must_use]
    pub fn start_node(settings: &Value) -> Option<Self> {
        let script = Script::start_node(&node_folder()?, "mongo_clients.mjs", &[settings.to_string()]);
        Some(Self { script, told: RefCell::default() })
    }

    /// Waits until all of them have begun.
    pub fn ready(&self) {
        let line = self.heard("ready", |line| (line["event"] != "sent").then_some(line));
        assert_eq!(line["event"], "ready", "{line:#}");
    }

    /// Waits until so many more commands have been sent.
    pub fn goes_on(&self, more: u64) {
        let mut until = None;
        self.heard("more commands", |line| {
            let total = line["total"].as_u64()?;
            self.told.replace(line["told"].clone());
            (total >= *until.get_or_insert(total + more)).then_some(())
        });
    }

    /// Waits until so many more commands have been sent, and each client has ended what it was at and something else. PyMongo's only.
    pub fn everyone_goes_on(&self, more: u64) {
        let acts = |line: &Value| -> Option<Vec<u64>> { line["acts"].as_array()?.iter().map(Value::as_u64).collect() };
        let mut until = None;
        self.heard("something of every client", |line| {
            let (total, now) = (line["total"].as_u64()?, acts(&line)?);
            self.told.replace(line["told"].clone());
            let (enough, then) = until.get_or_insert_with(|| (total + more, now.clone()));
            (total >= *enough && then.iter().zip(&now).all(|(then, now)| *now >= then + 2)).then_some(())
        });
    }

    /// Whether a write had failed with that error by the end of the last [`Self::goes_on`] or [`Self::everyone_goes_on`].
    #[must_use]
    pub fn has_told(&self, error: &str) -> bool {
        !writes_told(&self.told.borrow(), error).is_empty()
    }

    /// Waits until commands of so many different clients got no answer.
    pub fn lost(&self, clients: usize) {
        let mut lost = std::collections::BTreeSet::new();
        self.heard("commands without an answer", |line| {
            if line["event"] == "lost" {
                lost.insert(line["client"].as_u64());
            }
            (lost.len() >= clients).then_some(())
        });
    }

    /// Has them stop, each when it is through with what it does.
    pub fn stop(&mut self) {
        self.script.say(&json!("stop"));
    }

    /// Waits for their end; something must happen all the time.
    #[must_use]
    pub fn outcome(self, within: Duration) -> Outcome {
        let until = Instant::now() + within;
        let value = loop {
            assert!(Instant::now() < until, "the clients do not end");
            let line = self.heard("the end", |line| {
                let is_sign = line["event"] == "sent" || line["event"] == "done";
                is_sign.then_some(line)
            });
            if line["event"] == "done" {
                break line;
            }
        };
        let rows = value["counts"].as_array().unwrap().iter().map(|row| {
            let text = |index: usize| row[index].as_str().unwrap().to_owned();
            ([text(0), text(1), text(2), text(3)], row[4].as_u64().unwrap())
        });
        Outcome { counts: rows.collect(), value }
    }

    #[track_caller]
    fn heard<T>(&self, what: &str, find: impl FnMut(Value) -> Option<T>) -> T {
        match self.script.hear(find) {
            Some(found) => found,
            None => panic!("the clients do not say so: {what}"),
        }
    }
}

impl Outcome {
    /// Whether nothing failed, and nobody got what is another's.
    #[track_caller]
    pub fn expect_flawless(&self) {
        self.expect_own();
        assert_eq!(self.value["errors"], json!([]), "{:#}", self.value);
    }

    /// Whether nobody got what is another's.
    #[track_caller]
    pub fn expect_own(&self) {
        assert_eq!(self.value["foreign"], json!([]));
    }

    /// Writes that failed with that error: rows of the command, the error, its labels and how often.
    #[must_use]
    pub fn writes_told(&self, error: &str) -> Vec<&Value> {
        writes_told(&self.value["told"], error)
    }

    /// Acts that were done, or failed.
    #[must_use]
    pub fn done(&self, act: &str) -> u64 {
        self.value["acts"][act].as_u64().unwrap_or(0)
    }

    /// Of the longest act.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        Duration::from_secs_f64(self.value["slowest"].as_f64().unwrap())
    }
}

fn writes_told<'a>(rows: &'a Value, error: &str) -> Vec<&'a Value> {
    // Of these all that wait for a reply can be tried again; `delete` may be of many.
    let names = ["insert", "update", "findAndModify", "commitTransaction"];
    let is_meant = |row: &&Value| names.iter().any(|name| row[0] == *name) && row[1] == error;
    rows.as_array().into_iter().flatten().filter(is_meant).collect()
}
