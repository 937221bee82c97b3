//! All clusters of a generation, on one worker: each comes to be when the worker first needs it.
//!
//! A cluster that no request has gone to costs a worker nothing: of ten thousand in a configuration most may never be used.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
};

use super::{local::LocalCluster, shared::SharedCluster};
use crate::telemetry::Registry;

/// Clusters of a generation by name.
pub type SharedClusters = BTreeMap<String, Arc<SharedCluster>>;

/// See the module.
pub struct Clusters {
    shared: Arc<SharedClusters>,
    local: RefCell<HashMap<String, Rc<LocalCluster>>>,
    registry: Registry,
    worker: usize,
    /// Looks after a new one for as long as it is there.
    tend: fn(&Rc<LocalCluster>),
    /// Those of the next generation.
    newer: RefCell<Option<Rc<Self>>>,
}

impl Clusters {
    /// None has been needed so far. `tend` is called with each one that comes to be.
    #[must_use]
    pub fn new(
        shared: Arc<SharedClusters>,
        registry: Registry,
        worker: usize,
        tend: fn(&Rc<LocalCluster>),
    ) -> Rc<Self> {
        Rc::new(Self { shared, local: RefCell::default(), registry, worker, tend, newer: RefCell::default() })
    }

    /// Those of the next generation. What has not changed keeps its connections; the rest keeps none any more.
    #[must_use]
    pub fn next(&self, shared: Arc<SharedClusters>) -> Rc<Self> {
        let mut kept = HashMap::new();
        for (name, cluster) in &*self.local.borrow() {
            if shared.get(name).is_some_and(|now| Arc::ptr_eq(now, &cluster.shared)) {
                kept.insert(name.clone(), Rc::clone(cluster));
            } else {
                // Streams of older generations may still use it; what is idle is not needed.
                cluster.retire();
            }
        }
        let local = RefCell::new(kept);
        let (registry, newer) = (self.registry.clone(), RefCell::default());
        let next = Rc::new(Self { shared, local, registry, worker: self.worker, tend: self.tend, newer });
        self.newer.replace(Some(Rc::clone(&next)));
        next
    }

    /// A cluster of this generation.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Rc<LocalCluster>> {
        if let Some(cluster) = self.local.borrow().get(name) {
            return Some(Rc::clone(cluster));
        }
        let shared = self.shared.get(name)?;
        let cluster = LocalCluster::new(Arc::clone(shared), &self.registry, self.worker);
        (self.tend)(&cluster);
        self.local.borrow_mut().insert(name.to_owned(), Rc::clone(&cluster));
        Some(cluster)
    }

    /// A cluster of the newest generation that has it, for whoever outlives many.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<Rc<LocalCluster>> {
        let mut newest = self.newer.borrow().clone();
        while let Some(newer) = newest.as_ref().and_then(|one| one.newer.borrow().clone()) {
            newest = Some(newer);
        }
        // The way there is not gone twice, and nothing between is kept alive.
        self.newer.replace(newest.clone());
        newest.and_then(|newest| newest.get(name)).or_else(|| self.get(name))
    }

    /// Whether there is one, without bringing it into being.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.shared.contains_key(name)
    }

    /// Closes every idle connection: the worker is going away.
    pub fn close_idle(&self) {
        for cluster in self.local.borrow().values() {
            cluster.close_idle();
        }
    }
}

impl std::fmt::Debug for Clusters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clusters").field("clusters", &self.shared.len()).finish_non_exhaustive()
    }
}
