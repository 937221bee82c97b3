//! Of an update some resources may be bad. The others are applied nevertheless, together; so the bad ones have to be found.
//!
//! Translation names what it refuses. What the proxy refuses of the whole (a port that is taken, a filter that does not like its
//! configuration) is not always about one resource: then halves are tried, until it is known. Nothing else that the control plane says is heard
//! meanwhile, endpoints included: so there is an end to it.

use std::{collections::BTreeSet, time::Instant};

use fyke_envoy::xds::{Resource, ResourceType};

use super::received::Received;

/// Attempts, for one update. What is not known after that is refused.
const MOST_ATTEMPTS: u32 = 100;

/// A resource's name, and why it is refused.
pub(super) type Refused = Vec<(String, String)>;

/// Why a set of resources cannot run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objection {
    /// In words.
    pub why: String,
    /// Names of the resources of the update that it is about, each with the reason; empty: that is not known.
    pub about: Refused,
}

/// Adds to `base` what of `added` can run. `object`: whether something cannot, and why. What is not known at `until` is refused.
pub(super) fn sort_out(
    base: Received,
    kind: ResourceType,
    added: Vec<Resource>,
    until: Instant,
    object: &mut dyn FnMut(&Received) -> Option<Objection>,
) -> (Received, Refused) {
    let mut sorter = Sorter { kind, object, refused: Vec::new(), left: MOST_ATTEMPTS, until };
    let received = sorter.add(base, added);
    (received, sorter.refused)
}

struct Sorter<'a> {
    kind: ResourceType,
    object: &'a mut dyn FnMut(&Received) -> Option<Objection>,
    refused: Refused,
    left: u32,
    until: Instant,
}

impl Sorter<'_> {
    fn add(&mut self, base: Received, mut added: Vec<Resource>) -> Received {
        loop {
            if added.is_empty() {
                return base;
            }
            let next = base.with(self.kind, &added);
            let Some(objection) = (self.object)(&next) else { return next };
            self.left = self.left.saturating_sub(1);
            let named: BTreeSet<&String> = objection.about.iter().map(|(name, _)| name).collect();
            let before = added.len();
            added.retain(|resource| !named.contains(&resource.name));
            if added.len() < before {
                self.refused.extend(objection.about);
                continue;
            }
            if added.len() == 1 || self.left == 0 || Instant::now() >= self.until {
                self.refused.extend(added.into_iter().map(|one| (one.name, objection.why.clone())));
                return base;
            }
            let second = added.split_off(added.len() / 2);
            let base = self.add(base, added);
            return self.add(base, second);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn cluster(name: usize) -> Resource {
        let name = name.to_string();
        Resource { value: json!({ "name": name }), version: String::new(), name }
    }

    fn names(received: &Received) -> BTreeSet<usize> {
        let (text, _) = (format!("{received:?}"), ());
        (0..64).filter(|number| text.contains(&format!("\"name\": String(\"{number}\")"))).collect()
    }

    proptest! {
        #[test]
        fn exactly_the_bad_ones_are_refused(bad in prop::collection::btree_set(0_usize..64, 0..5), tells in any::<bool>()) {
            let mut attempts = 0;
            let (received, refused) = sort_out(
                Received::new("ads"),
                ResourceType::Cluster,
                (0..64).map(cluster).collect(),
                Instant::now() + Duration::from_secs(60),
                &mut |received| {
                    attempts += 1;
                    let found: Vec<_> = names(received).intersection(&bad).copied().collect();
                    let about = found.iter().filter(|_| tells).map(|name| (name.to_string(), "bad".to_owned()));
                    (!found.is_empty()).then(|| Objection { why: "bad".to_owned(), about: about.collect() })
                },
            );
            let refused: BTreeSet<usize> = refused.iter().map(|(name, _)| name.parse().unwrap()).collect();
            prop_assert_eq!(&refused, &bad);
            prop_assert_eq!(names(&received), (0..64).filter(|name| !bad.contains(name)).collect());
            prop_assert!(attempts <= 70);
        }
    }

    #[test]
    fn where_everything_is_bad_there_is_an_end() {
        let added = (0..10_000).map(cluster).collect();
        let bad = |_: &Received| Some(Objection { why: "bad".to_owned(), about: Vec::new() });
        let late = Instant::now() + Duration::from_secs(60);
        let (_, refused) = sort_out(Received::new("ads"), ResourceType::Cluster, added, late, &mut { bad });
        assert_eq!(refused.len(), 10_000);
    }

    #[test]
    fn what_is_not_known_in_time_is_refused() {
        let mut attempts = 0;
        let (received, refused) = sort_out(
            Received::new("ads"),
            ResourceType::Cluster,
            (0..64).map(cluster).collect(),
            Instant::now(),
            &mut |received| {
                attempts += 1;
                names(received).contains(&7).then(|| Objection { why: "bad".to_owned(), about: Vec::new() })
            },
        );
        assert_eq!((attempts, refused.len(), names(&received).len()), (1, 64, 0));
    }
}
