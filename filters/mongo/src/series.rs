//! What operations are counted under: names that came from clients, each kept once and only so many of them.
//!
//! The host bounds its series too; this bounds what the module itself keeps, and says `_overflow` for the one label that has too many
//! values, where the host would say so for all of them.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::message::command::Command;

/// The value of a label that has too many.
pub const OVERFLOW: &str = "_overflow";
/// The longest value, in bytes.
const LONGEST: usize = 128;

/// How many values each label may have.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    pub databases: usize,
    pub collections: usize,
    pub callsites: usize,
    pub applications: usize,
    /// Combinations.
    pub series: usize,
}

/// A name that is kept.
#[derive(Debug, Clone)]
pub struct Label {
    id: u32,
    text: Rc<str>,
}

impl Label {
    /// The name.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Names of one kind.
#[derive(Debug)]
pub struct Labels {
    known: HashMap<Box<[u8]>, Label>,
    none: Label,
    overflow: Label,
    most: usize,
}

impl Labels {
    /// None yet.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let fixed = |id, text: &str| Label { id, text: text.into() };
        Self { known: HashMap::new(), none: fixed(0, ""), overflow: fixed(1, OVERFLOW), most }
    }

    /// The label of these bytes. Empty bytes have an empty one.
    pub fn get(&mut self, bytes: &[u8]) -> Label {
        if bytes.is_empty() || self.most == 0 {
            return self.none.clone();
        }
        if let Some(label) = self.known.get(bytes) {
            return label.clone();
        }
        if self.known.len() >= self.most {
            return self.overflow.clone();
        }
        let label = Label { id: u32::try_from(self.known.len() + 2).unwrap_or(1), text: legal(bytes).into() };
        self.known.insert(bytes.into(), label.clone());
        label
    }
}

/// UTF-8, and not too long.
fn legal(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    let end = (0..=LONGEST.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    text.truncate(end);
    text
}

/// What one kind of operation is counted under.
#[derive(Debug)]
pub struct Series {
    /// The command.
    pub command: &'static Command,
    pub database: Rc<str>,
    pub collection: Rc<str>,
    pub callsite: Rc<str>,
    pub application: Rc<str>,
    /// Numbers of Envoy's metrics for it, once they were needed.
    pub dotted: OnceCell<Dotted>,
}

/// Numbers of metrics: of the command or of the collection, and of the call site.
#[derive(Debug, Default)]
pub struct Dotted {
    pub own: Group,
    pub callsite: Option<Group>,
}

/// What Envoy counts in one place.
#[derive(Debug, Default)]
pub struct Group {
    pub total: u32,
    pub documents: u32,
    pub size: u32,
    pub time: u32,
    /// Of queries only.
    pub scatter: Cell<u32>,
    pub multi: Cell<u32>,
}

impl Series {
    /// The values of [`LABELS`](crate::names::LABELS).
    #[must_use]
    pub fn values<'a>(&'a self, prefix: &'a str) -> [&'a str; 6] {
        [prefix, &self.database, self.command.name, &self.collection, &self.callsite, &self.application]
    }
}

/// All that are known.
#[derive(Debug)]
pub struct Table {
    databases: Labels,
    collections: Labels,
    callsites: Labels,
    applications: Labels,
    series: HashMap<[usize; 5], Rc<Series>>,
    most: usize,
}

/// The names of an operation.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    pub command: &'static Command,
    pub database: &'a [u8],
    pub collection: &'a [u8],
    pub callsite: &'a [u8],
}

impl Table {
    /// None yet. What may have no values at all is left out.
    #[must_use]
    pub fn new(most: Most) -> Self {
        Self {
            databases: Labels::new(most.databases),
            collections: Labels::new(most.collections),
            callsites: Labels::new(most.callsites),
            applications: Labels::new(most.applications),
            series: HashMap::new(),
            most: most.series,
        }
    }

    /// An application's label.
    pub fn application(&mut self, name: &[u8]) -> Label {
        self.applications.get(name)
    }

    /// The series of an operation.
    pub fn series(&mut self, names: Names<'_>, application: Option<&Label>) -> Rc<Series> {
        let database = self.databases.get(names.database);
        let collection = self.collections.get(names.collection);
        let callsite = self.callsites.get(names.callsite);
        let application = application.unwrap_or(&self.applications.none).clone();
        let command = names.command;
        // Commands are in a table, each at its place.
        let place = command.name.as_ptr().addr();
        let mut key =
            [place, database.id as usize, collection.id as usize, callsite.id as usize, application.id as usize];
        if let Some(series) = self.series.get(&key) {
            return Rc::clone(series);
        }
        let mut values = [database.text, collection.text, callsite.text, application.text];
        if self.series.len() >= self.most {
            // One for each command: there is a table of those.
            key = [place, 1, 1, 1, 1];
            values = values.map(|_| OVERFLOW.into());
        }
        let [database, collection, callsite, application] = values;
        let series = self.series.entry(key).or_insert_with(|| {
            Rc::new(Series { command, database, collection, callsite, application, dotted: OnceCell::new() })
        });
        Rc::clone(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Most = Most { databases: 2, collections: 2, callsites: 2, applications: 0, series: 3 };

    fn names<'a>(database: &'a str, collection: &'a str) -> Names<'a> {
        Names {
            command: Command::find(b"find"),
            database: database.as_bytes(),
            collection: collection.as_bytes(),
            callsite: b"",
        }
    }

    #[test]
    fn the_same_names_have_the_same_series() {
        let mut table = Table::new(MOST);
        let one = table.series(names("a", "b"), None);
        assert!(Rc::ptr_eq(&one, &table.series(names("a", "b"), None)));
        assert_eq!(one.values("p"), ["p", "a", "find", "b", "", ""]);
        assert!(!Rc::ptr_eq(&one, &table.series(names("a", "c"), None)));
    }

    #[test]
    fn one_label_with_too_many_values_overflows_alone_and_too_many_combinations_together() {
        let mut table = Table::new(MOST);
        let _ = (table.series(names("a", "b"), None), table.series(names("a", "c"), None));
        assert_eq!(table.series(names("a", "d"), None).values("p"), ["p", "a", "find", OVERFLOW, "", ""]);
        assert_eq!(
            table.series(names("b", "b"), None).values("p"),
            ["p", OVERFLOW, "find", OVERFLOW, OVERFLOW, OVERFLOW]
        );
        let count = table.series.len();
        for number in 0..100 {
            let _ = table.series(names(&number.to_string(), "b"), None);
        }
        assert_eq!(table.series.len(), count);
        let application = table.application(b"none is kept");
        assert_eq!(application.text(), "");
    }

    #[test]
    fn values_are_legal() {
        let mut labels = Labels::new(9);
        assert_eq!(labels.get(b"\xff").text(), "\u{fffd}");
        assert_eq!(labels.get("é".repeat(100).as_bytes()).text(), "é".repeat(64));
    }
}
