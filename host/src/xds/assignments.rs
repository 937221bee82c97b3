//! The endpoints of services, as control planes have assigned them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::discovery::hosts::Hosts;

/// The endpoints of a service.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Which version of it this is; empty: it has none.
    pub version: String,
    /// All of them; may be none.
    pub hosts: Hosts,
}

/// By control plane and service.
type Known = HashMap<(String, String), watch::Sender<Option<Assignment>>>;

/// The assignments of all control planes. Cheap to clone: all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Assignments(Arc<Mutex<Known>>);

impl Assignments {
    /// A service has these endpoints now.
    pub fn put(&self, plane: &str, service: &str, assignment: Assignment) {
        self.with(plane, service, |sender| drop(sender.send_replace(Some(assignment))));
    }

    /// Follows the endpoints of a service. `None`: they are not known yet.
    #[must_use]
    pub fn follow(&self, plane: &str, service: &str) -> watch::Receiver<Option<Assignment>> {
        self.with(plane, service, watch::Sender::subscribe)
    }

    /// What a control plane has said of a service is forgotten; those who follow it keep what they know.
    pub fn forget(&self, plane: &str, service: &str) {
        let mut assignments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (plane.to_owned(), service.to_owned());
        if assignments.get(&key).is_some_and(watch::Sender::is_closed) {
            assignments.remove(&key);
        }
    }

    fn with<T>(&self, plane: &str, service: &str, act: impl FnOnce(&watch::Sender<Option<Assignment>>) -> T) -> T {
        let mut assignments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(assignments.entry((plane.to_owned(), service.to_owned())).or_insert_with(|| watch::Sender::new(None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_follows_a_service_hears_what_came_before_and_after() {
        let assignments = Assignments::default();
        let of = |version: &str| Assignment { version: version.to_owned(), hosts: Vec::new() };
        assignments.put("ads", "users", of("1"));
        let mut followed = assignments.follow("ads", "users");
        assert_eq!(followed.borrow_and_update().as_ref().unwrap().version, "1");
        assert!(assignments.follow("other", "users").borrow().is_none());
        assignments.put("ads", "users", of("2"));
        followed.changed().await.unwrap();
        assert_eq!(followed.borrow_and_update().as_ref().unwrap().version, "2");
        assignments.forget("ads", "users");
        assignments.put("ads", "users", of("3"));
        followed.changed().await.unwrap();
    }
}
