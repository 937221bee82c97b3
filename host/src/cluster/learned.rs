//! Labels of an endpoint that filters have learned (`fyke.endpoint.label.v1`): which one is the primary, say.
//!
//! All workers read them on the way of an exchange, so they are a map that never changes and is replaced: reading takes no lock.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwapOption;

/// Labels that filters may publish of one endpoint.
const MOST: usize = 64;
/// Bytes of all their keys and values.
const MOST_BYTES: usize = 8 * 1024;
/// Longest key and longest value of one, in bytes.
const LONGEST: usize = 1024;

type Labels = BTreeMap<String, String>;

/// What filters have learned of one endpoint.
#[derive(Debug, Default)]
pub struct Learned(ArcSwapOption<Labels>);

/// What has come of publishing a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It says something new.
    Changed,
    /// It was known already.
    Same,
    /// There is no room for it.
    Refused,
}

impl Learned {
    /// The same again, for another endpoint.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(ArcSwapOption::new(self.all()))
    }

    /// All of them; nothing where nothing was ever published.
    #[must_use]
    pub fn all(&self) -> Option<Arc<Labels>> {
        self.0.load_full()
    }

    /// Looks at the value of one.
    pub fn with<T>(&self, key: &str, look: impl FnOnce(Option<&str>) -> T) -> T {
        look(self.0.load().as_deref().and_then(|labels| labels.get(key)).map(String::as_str))
    }

    /// Publishes a label; an empty value takes it back.
    pub fn publish(&self, key: &str, value: &str) -> Published {
        if key.is_empty() || key.len() > LONGEST || value.len() > LONGEST {
            return Published::Refused;
        }
        let mut outcome = Published::Same;
        self.0.rcu(|before| {
            let labels = before.as_deref();
            let known = labels.and_then(|labels| labels.get(key)).map_or("", String::as_str);
            outcome = match labels {
                _ if known == value => Published::Same,
                Some(labels) if !value.is_empty() && !has_room(labels, key, value) => Published::Refused,
                _ => Published::Changed,
            };
            if outcome != Published::Changed {
                return before.clone();
            }
            let mut next = labels.cloned().unwrap_or_default();
            if value.is_empty() {
                next.remove(key);
            } else {
                next.insert(key.to_owned(), value.to_owned());
            }
            Some(Arc::new(next))
        });
        outcome
    }
}

fn has_room(labels: &Labels, key: &str, value: &str) -> bool {
    let others = labels.iter().filter(|(other, _)| *other != key).map(|(key, value)| key.len() + value.len());
    (labels.len() < MOST || labels.contains_key(key)) && others.sum::<usize>() + key.len() + value.len() <= MOST_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_counts_until_it_is_taken_back() {
        let learned = Learned::default();
        let role = |learned: &Learned| learned.with("role", |role| role.map(str::to_owned));
        assert_eq!((learned.publish("role", ""), role(&learned)), (Published::Same, None));
        assert_eq!(learned.publish("role", "primary"), Published::Changed);
        assert_eq!((learned.publish("role", "primary"), role(&learned).as_deref()), (Published::Same, Some("primary")));
        let copy = learned.copy();
        assert_eq!((learned.publish("role", ""), role(&learned)), (Published::Changed, None));
        assert_eq!(role(&copy).as_deref(), Some("primary"));
    }

    #[test]
    fn there_is_room_for_so_much() {
        let learned = Learned::default();
        let long = "x".repeat(LONGEST + 1);
        for (key, value) in [("", "a"), (long.as_str(), "a"), ("a", long.as_str())] {
            assert_eq!(learned.publish(key, value), Published::Refused);
        }
        for number in 0..MOST {
            assert_eq!(learned.publish(&format!("k{number}"), "a"), Published::Changed);
        }
        assert_eq!(learned.publish("one more", "a"), Published::Refused);
        assert_eq!(learned.publish("k0", "b"), Published::Changed, "in place of another one");
        let learned = Learned::default();
        let value = "x".repeat(LONGEST);
        let taken = (0..MOST).filter(|number| learned.publish(&format!("k{number}"), &value) == Published::Changed);
        assert_eq!(taken.count(), MOST_BYTES / (LONGEST + 2));
    }
}
