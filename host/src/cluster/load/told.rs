//! What an endpoint has said of its load, summed up for control planes that want to hear of it (LRS).

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use super::Report;

/// Names of one endpoint. More say nothing to anybody.
const MOST: usize = 64;

/// How often a figure was told, and the sum of what it was.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    /// How often.
    pub count: u64,
    /// Of all.
    pub total: f64,
}

/// Sums by the names of figures. Hardly any endpoint has some: without, it is one word.
#[derive(Debug, Default)]
pub struct Told(OnceLock<Box<Mutex<BTreeMap<String, Sum>>>>);

impl Told {
    /// A report has come.
    pub fn note(&self, report: &Report) {
        let mut sums = self.0.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in report.figures() {
            if sums.len() >= MOST && !sums.contains_key(&name) {
                continue;
            }
            let sum = sums.entry(name).or_default();
            sum.count += 1;
            sum.total += value;
        }
    }

    /// All so far.
    #[must_use]
    pub fn sums(&self) -> BTreeMap<String, Sum> {
        self.0.get().map(|sums| sums.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_summed_by_their_names_and_there_is_an_end_to_names() {
        let told = Told::default();
        assert!(told.sums().is_empty());
        for number in 0..100 {
            let named_metrics = [(format!("n{number}"), 1.0)].into();
            told.note(&Report { cpu_utilization: 0.25, named_metrics, ..Report::default() });
        }
        let sums = told.sums();
        assert_eq!(sums["cpu_utilization"], Sum { count: 100, total: 25.0 });
        assert_eq!(sums["named_metrics.n0"], Sum { count: 1, total: 1.0 });
        assert_eq!(sums.len(), MOST);
        assert!(!sums.contains_key("mem_utilization"), "it was not told");
    }
}
