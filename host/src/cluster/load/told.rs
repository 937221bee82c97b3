//! What an endpoint has said of its load, summed up for control planes that want to hear of it (LRS).

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use super::Report;

/// Names of one endpoint, those of every report aside. More say nothing to anybody.
const MOST: usize = 64;
/// The size of a figure. What is larger would leave nothing of the others in a sum.
const LARGEST: f64 = 1e15;

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
        // Made before the others have to wait.
        let figures: Vec<_> = report.figures().filter(|(_, value)| value.abs() <= LARGEST).take(2 * MOST).collect();
        let mut sums = self.0.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in figures {
            let is_fixed = !name.contains('.');
            if sums.len() >= MOST && !is_fixed && !sums.contains_key(&name) {
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
        let named_metrics = [("n0".to_owned(), 1e300)].into();
        told.note(&Report { mem_utilization: 0.5, named_metrics, ..Report::default() });
        let sums = told.sums();
        assert_eq!(sums["cpu_utilization"], Sum { count: 100, total: 25.0 });
        assert_eq!(sums["named_metrics.n0"], Sum { count: 1, total: 1.0 });
        assert_eq!(sums["mem_utilization"], Sum { count: 1, total: 0.5 });
        assert_eq!(sums.len(), MOST + 1);
        assert!(!sums.contains_key("application_utilization"), "it was not told");
    }
}
