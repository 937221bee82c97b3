//! The charts of the filter's page.

use std::collections::BTreeSet;

use super::*;
use crate::panels::PANELS;

#[test]
fn charts_are_of_metrics_and_labels_that_there_are() {
    let host = host(POOL);
    let mut titles = BTreeSet::new();
    for panel in PANELS {
        let labels = World::with(|world| world.labels_of(panel.metric()).map(<[String]>::to_vec));
        let labels = labels.unwrap_or_else(|| panic!("there is no {}", panel.metric()));
        for label in panel.labels() {
            assert!(labels.iter().any(|known| label == known), "{}: {label}", panel.metric());
        }
        assert!(titles.insert(panel.title()), "{panel:?}");
    }
    drop(host);
}
