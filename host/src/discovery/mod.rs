//! Where endpoints come from, other than the configuration: a file, names, a registry, sentinels.
//!
//! For each cluster that is discovered a task of the control plane asks its [`source`] again and again, and tells the cluster
//! ([`crate::cluster::members`]), which decides who comes and goes. Sources may be late, gone or wrong:
//!
//! - One that cannot be reached, or says what cannot be meant, changes nothing.
//! - An empty list changes nothing either: it is counted. Who wants a cluster without endpoints says so in the configuration.
//! - What was last known is on disk (`state:`), so that a proxy that starts while its registry is away serves nevertheless.
//! - Polls are jittered: proxies that started together do not come together.

pub mod dns;
pub mod file;
mod follow;
pub mod hosts;
mod kept;
pub mod rest;
pub mod sentinel;
pub mod source;

pub use kept::file_name;

#[cfg(test)]
mod fleet;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::AbortHandle};

use self::{follow::Follower, kept::Kept, source::Source};
use crate::{
    cluster::{clusters::SharedClusters, shared::SharedCluster},
    telemetry::Events,
    xds::assignments::Assignments,
};

/// How long a generation waits for the first answers of what it has not known before (Envoy's `initial_fetch_timeout` is 15 s).
pub const FIRST: Duration = Duration::from_secs(5);

/// All sources that are asked. Dropped, none is any more.
#[derive(Default)]
pub struct Discoveries {
    running: HashMap<String, Following>,
    /// What control planes say.
    assignments: Assignments,
}

struct Following {
    cluster: Arc<SharedCluster>,
    task: AbortHandle,
    /// Whether it was asked once.
    asked: watch::Receiver<bool>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Discoveries {
    /// From now on these are discovered, and others no more. What is known from before is there when this returns. Must be called inside
    /// the control plane's runtime.
    pub fn follow(&mut self, clusters: &SharedClusters, events: &Events, state: Option<&Path>) {
        self.running.retain(|name, one| clusters.get(name).is_some_and(|cluster| Arc::ptr_eq(cluster, &one.cluster)));
        for (name, cluster) in clusters {
            let Some(settings) = &cluster.settings.discovery else { continue };
            if self.running.contains_key(name) {
                continue;
            }
            let kept = state.map(|state| Kept::new(PathBuf::from(state), name, &settings.place));
            let (told, asked) = watch::channel(false);
            let follower = Follower::new(Arc::clone(cluster), Arc::clone(settings), events.clone(), kept, told);
            follower.begin_with_what_is_kept();
            let source = Source::new(settings, &self.assignments);
            let task = tokio::spawn(follower.run(source)).abort_handle();
            self.running.insert(name.clone(), Following { cluster: Arc::clone(cluster), task, asked });
        }
    }

    /// What control planes say of services.
    #[must_use]
    pub fn assignments(&self) -> Assignments {
        self.assignments.clone()
    }

    /// From now on nothing is discovered.
    pub fn end(&mut self) {
        self.running.clear();
    }

    /// What has to be waited for before traffic comes: the first answer for each cluster of which nothing is known. Those that are late
    /// are named, and asked again like all others. `None`: there is none.
    pub fn first_answers(&self) -> Option<impl Future<Output = Vec<String>> + Send + use<>> {
        let unknown = self.running.iter().filter(|(_, one)| {
            // A control plane says more only when what it has said was looked at.
            let is_told = one.cluster.settings.discovery.as_ref().is_some_and(|settings| settings.is_told());
            !is_told && one.cluster.membership().endpoints.is_empty()
        });
        let waited: Vec<_> = unknown.map(|(name, one)| (name.clone(), one.asked.clone())).collect();
        (!waited.is_empty()).then_some(async move {
            let until = tokio::time::Instant::now() + FIRST;
            let mut late = Vec::new();
            for (name, mut asked) in waited {
                let answered = tokio::time::timeout_at(until, asked.wait_for(|asked| *asked));
                if answered.await.is_err() {
                    late.push(name);
                }
            }
            late
        })
    }
}
