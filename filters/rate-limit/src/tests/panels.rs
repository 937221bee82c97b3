//! The charts of the filter's page.

use std::collections::BTreeSet;

use fyke_sdk::testing::{Ring, World};

use super::host;
use crate::panels::PANELS;

fn labels_of(metric: &str) -> Option<Vec<String>> {
    World::with(|world| world.labels_of(metric).map(<[String]>::to_vec))
}

#[test]
fn charts_are_of_metrics_and_labels_that_there_are() {
    let rule = "{ name: r, global: true, key: [{ from: method }], limit: 1/s, top: 1 }";
    let (mut drawn, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for global in ["redis: { cluster: a }", "domain: d, global: { cluster: a }"] {
        let host = host(&format!("{{ {global}, rules: [{rule}] }}"));
        if host.ring() != Ring::Native {
            return;
        }
        for panel in PANELS {
            let Some(labels) = labels_of(panel.metric()) else { continue };
            for label in panel.labels() {
                assert!(labels.iter().any(|known| label == known), "{}: {label}", panel.metric());
            }
            drawn.insert(panel.metric());
        }
    }
    for panel in PANELS {
        assert!(drawn.contains(panel.metric()), "{panel:?}");
        assert!(titles.insert(panel.title()), "{panel:?}");
    }
}

#[test]
fn what_a_configuration_does_not_ask_has_no_metric() {
    let local = host("rules: [{ name: r, limit: 1/s }]");
    if local.ring() != Ring::Native {
        return;
    }
    for metric in ["rate_limit_store_microseconds", "rate_limit_cached_total", "rate_limit_service_microseconds"] {
        assert_eq!(labels_of(metric), None, "{metric}");
    }
}
