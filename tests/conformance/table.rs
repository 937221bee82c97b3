//! The rows, and what came of them.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, Mutex},
};

use libtest_mimic::Trial;

use crate::stage::Stage;

type Test = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()>>> + Send + Sync>;

/// One row of the table.
pub struct Row {
    pub id: &'static str,
    pub title: &'static str,
    /// Where Fyke departs from Envoy or the specification on purpose, and why.
    pub note: Option<&'static str>,
    test: Test,
}

/// All rows, in groups.
#[derive(Default)]
pub struct Table {
    pub groups: Vec<(&'static str, Vec<Row>)>,
}

/// Ids of the rows that held.
pub type Results = Arc<Mutex<BTreeSet<&'static str>>>;

impl Table {
    pub fn group(&mut self, title: &'static str) {
        self.groups.push((title, Vec::new()));
    }

    /// A row with a test of its own.
    pub fn row<F>(
        &mut self,
        id: &'static str,
        title: &'static str,
        test: impl Fn() -> F + Send + Sync + 'static,
    ) -> &mut Row
    where
        F: Future<Output = ()> + 'static,
    {
        assert!(self.groups.iter().flat_map(|(_, rows)| rows).all(|row| row.id != id), "{id} is there twice");
        let (_, rows) = self.groups.last_mut().expect("a group comes first");
        rows.push(Row { id, title, note: None, test: Arc::new(move || Box::pin(test())) });
        rows.last_mut().unwrap()
    }

    /// What the probe says while one request passes, in every version ([`Stage::http`]).
    pub fn http(
        &mut self,
        id: &'static str,
        title: &'static str,
        script: &'static str,
        expected: &'static [&'static str],
    ) -> &mut Row {
        self.says(id, title, move || Stage::http(script), expected)
    }

    /// What the probe says while one TCP connection passes, in every version ([`Stage::tcp`]).
    pub fn tcp(
        &mut self,
        id: &'static str,
        title: &'static str,
        script: &'static str,
        expected: &'static [&'static str],
    ) -> &mut Row {
        self.says(id, title, move || Stage::tcp(script), expected)
    }

    fn says(
        &mut self,
        id: &'static str,
        title: &'static str,
        stage: impl Fn() -> Stage + Copy + Send + Sync + 'static,
        expected: &'static [&'static str],
    ) -> &mut Row {
        self.row(id, title, move || async move { stage().start().await.shows(expected).await })
    }

    /// The rows as tests, and where their results will be.
    pub fn trials(&self) -> (Vec<Trial>, Results) {
        let results = Results::default();
        let rows = self.groups.iter().flat_map(|(_, rows)| rows);
        let trials = rows.map(|row| {
            let (id, test, results) = (row.id, Arc::clone(&row.test), Arc::clone(&results));
            Trial::test(format!("{id}: {}", row.title), move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(test());
                results.lock().unwrap().insert(id);
                Ok(())
            })
        });
        (trials.collect(), results)
    }
}

impl Row {
    pub fn note(&mut self, note: &'static str) {
        self.note = Some(note);
    }
}
