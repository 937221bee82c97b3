use std::collections::BTreeMap;

use super::*;
use crate::cluster::balance::settings::{Selector, Subsets};

/// 0 and 1: version 1, stages prod and dev; 2: version 2, prod; 3: no version, prod.
fn labelled() -> Vec<Host> {
    let labels: [&[(&str, &str)]; 4] = [
        &[("version", "1"), ("stage", "prod")],
        &[("version", "1"), ("stage", "dev")],
        &[("version", "2"), ("stage", "prod")],
        &[("stage", "prod")],
    ];
    hosts(4).into_iter().zip(labels).map(|(host, labels)| Host { labels: map(labels), ..host }).collect()
}

fn map(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn selector(keys: &[&str], fallback: Option<Fallback>) -> Selector {
    Selector { keys: keys.iter().map(|key| (*key).to_owned()).collect(), fallback }
}

fn settings(policy: Policy, fallback: Fallback) -> Settings {
    let subsets = Subsets {
        selectors: vec![selector(&["version"], None), selector(&["version", "stage"], Some(Fallback::Any))],
        fallback,
        default_labels: map(&[("stage", "prod")]),
    };
    Settings { subsets: Some(subsets), ..self::policy(policy) }
}

/// Who gets requests that ask for `labels`.
fn served(plan: &Plan, labels: &[(&str, &str)]) -> Result<Vec<usize>, NoHost> {
    let mut local = Local::new(9);
    let mut found = BTreeSet::new();
    for _ in 0..300 {
        found.insert(plan.pick(&Request { labels, ..Request::default() }, &mut local, &Fleet::idle(), &all)?);
    }
    Ok(found.into_iter().collect())
}

#[test]
fn a_request_goes_to_the_hosts_with_its_labels() {
    for policy in policies() {
        let plan = plan(&settings(policy, Fallback::None), &labelled());
        assert_eq!(served(&plan, &[("version", "1")]), Ok(vec![0, 1]));
        assert_eq!(served(&plan, &[("version", "2")]), Ok(vec![2]));
        assert_eq!(served(&plan, &[("version", "1"), ("stage", "dev")]), Ok(vec![1]));
        assert_eq!(served(&plan, &[("stage", "dev"), ("version", "1")]), Ok(vec![1]), "in any order");
    }
}

#[test]
fn the_fallback_decides_where_no_subset_fits() {
    let lost: [&[(&str, &str)]; 5] =
        [&[], &[("version", "3")], &[("stage", "prod")], &[("version", "1"), ("version", "1")], &[("other", "x")]];
    for labels in lost {
        let found = |fallback| served(&plan(&settings(Policy::Random, fallback), &labelled()), labels);
        assert_eq!(found(Fallback::None), Err(NoHost::NoSubset), "{labels:?}");
        assert_eq!(found(Fallback::Any), Ok(vec![0, 1, 2, 3]), "{labels:?}");
        assert_eq!(found(Fallback::Default), Ok(vec![0, 2, 3]), "{labels:?}");
    }
}

#[test]
fn a_selector_may_have_its_own_fallback() {
    let plan = plan(&settings(Policy::Random, Fallback::None), &labelled());
    assert_eq!(served(&plan, &[("version", "2"), ("stage", "dev")]), Ok(vec![0, 1, 2, 3]));
}

#[test]
fn a_default_that_no_host_has_is_no_subset() {
    let mut settings = settings(Policy::Random, Fallback::Default);
    settings.subsets.as_mut().unwrap().default_labels = map(&[("stage", "none")]);
    assert_eq!(served(&plan(&settings, &labelled()), &[]), Err(NoHost::NoSubset));
}

#[test]
fn panic_is_a_matter_of_the_subset() {
    let mut hosts = labelled();
    hosts[2].health = Health::Unhealthy;
    let plan = plan(&settings(Policy::Random, Fallback::None), &hosts);
    assert_eq!(served(&plan, &[("version", "2")]), Ok(vec![2]), "the only one, however it is");
    assert_eq!(served(&plan, &[("version", "1")]), Ok(vec![0, 1]));
}

#[test]
fn subsets_of_an_empty_cluster_say_that_it_is_empty() {
    assert_eq!(served(&plan(&settings(Policy::Random, Fallback::None), &[]), &[("version", "1")]), Err(NoHost::Empty));
}
