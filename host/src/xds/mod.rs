//! Control planes: what they send becomes part of what runs.
//!
//! ```text
//! plane        events -> verdicts       one task for each of `control_planes:`
//! judge        updates -> verdicts      says what is good of them, and applies it
//! received     resources -> fragment    all that one has sent, in Envoy's words and in Fyke's; what waits for what
//! sort_out     good and bad             finds those of an update that cannot run, so that the others can
//! assignments  endpoints -> clusters    they change all the time, and make no generation
//! inline       certificates -> files    what comes inside of resources, where a configuration can refer to it
//! load_reports requests -> reports       how much goes where, for a control plane that wants to hear of it
//! status       for operators            who is there, what was accepted and what was not
//! ```
//!
//! The protocol itself is in `fyke_envoy::xds`, what resources mean in `fyke_envoy::Translator`. Here a control plane's resources become a
//! [`crate::config::Fragment`], which is read like an included file, checked like one, and applied in one swap.

pub mod assignments;
mod inline;
mod judge;
mod load_reports;
mod plane;
mod received;
mod sort_out;
pub mod status;

pub use inline::Inline;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use fyke_envoy::{Schema, xds::LoadReporter};
use tokio::{sync::watch, task::JoinHandle};

use self::{load_reports::Reports, plane::Plane, status::Status};
use crate::{
    config::{
        self, Config,
        fingerprint::Fingerprint,
        resolved::{ControlPlane, Place},
    },
    discovery,
    reload::keeper::Keeper,
};

/// Below `state`.
const FOLDER: &str = "control-planes";

/// The control planes that are listened to.
#[derive(Debug, Default)]
pub struct ControlPlanes {
    running: Mutex<BTreeMap<String, Arc<Status>>>,
}

struct Running {
    fingerprint: Fingerprint,
    task: JoinHandle<()>,
    /// Services whose endpoints are wanted, by whatever it did not send itself. Dropped, the task ends.
    wanted: watch::Sender<BTreeSet<String>>,
    /// Ends when this is dropped.
    _loads: Option<LoadReporter>,
}

impl ControlPlanes {
    /// How each of them is.
    #[must_use]
    pub fn states(&self) -> BTreeMap<String, Arc<Status>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Listens to the control planes of whichever generation runs, until `end`. Then what they have sent is on disk.
pub async fn run(keeper: Arc<Keeper>, mut end: watch::Receiver<bool>) {
    let mut running: HashMap<String, Running> = HashMap::new();
    let mut schema = None;
    loop {
        let config = Arc::clone(&keeper.proxy.snapshot().config);
        // Whoever is replaced has ended before its successor begins: both would say what the same control plane sends.
        let is_same = |name: &str, one: &Running| {
            config.control_planes.get(name).is_some_and(|plane| plane.fingerprint == one.fingerprint)
        };
        let gone: Vec<_> = running.extract_if(|name, one| !is_same(name, one)).map(|(_, one)| one).collect();
        for Running { task, wanted, .. } in gone {
            drop(wanted);
            let _ = task.await;
        }
        let asked = config.control_planes.values().find_map(|plane| Some((&*plane.name, plane.on_demand.clone()?)));
        keeper.proxy.demand().serve(asked);
        follow(&keeper, &config, &mut running, &mut schema);
        tokio::select! {
            () = keeper.changed.notified() => {}
            _ = end.wait_for(|end| *end) => break,
        }
    }
    for Running { task, wanted, .. } in running.into_values() {
        drop(wanted);
        let _ = task.await;
    }
}

/// Starts those that are new.
fn follow(keeper: &Arc<Keeper>, config: &Config, running: &mut HashMap<String, Running>, schema: &mut Option<Schema>) {
    for (name, plane) in &config.control_planes {
        let services = wanted(config, name);
        if let Some(one) = running.get(name) {
            one.wanted.send_if_modified(|now| {
                let changed = *now != services;
                *now = services;
                changed
            });
            continue;
        }
        let schema = match schema {
            Some(schema) => schema.clone(),
            None => match Schema::load() {
                Ok(loaded) => schema.insert(loaded).clone(),
                Err(error) => {
                    tracing::error!("control planes cannot be listened to: {error}");
                    return;
                }
            },
        };
        running.insert(name.clone(), start(keeper, config, plane, schema, services));
    }
    let mut states = keeper.control_planes.running.lock().unwrap_or_else(PoisonError::into_inner);
    states.retain(|name, _| running.contains_key(name));
}

fn start(
    keeper: &Arc<Keeper>,
    config: &Config,
    plane: &Arc<ControlPlane>,
    schema: Schema,
    services: BTreeSet<String>,
) -> Running {
    let state = config.state.as_ref().map(|state| state.join(FOLDER).join(discovery::file_name(&plane.name)));
    let status = Arc::new(Status::new(plane.address(), &plane.settings.whole()));
    let mut states = keeper.control_planes.running.lock().unwrap_or_else(PoisonError::into_inner);
    states.insert(plane.name.clone(), Arc::clone(&status));
    drop(states);
    let loads = plane.load_reports.then(|| {
        let reports = Reports::new(&plane.name, Arc::clone(keeper), Arc::clone(&status));
        LoadReporter::start(plane.settings.clone(), reports)
    });
    let (wanted, services) = watch::channel(services);
    let task = Plane::new(Arc::clone(keeper), Arc::clone(plane), schema, state, status);
    let task = tokio::spawn(task.run(services));
    Running { fingerprint: plane.fingerprint, task, wanted, _loads: loads }
}

/// Services of the clusters that are not the control plane's own: those it is asked for anyway.
fn wanted(config: &Config, plane: &str) -> BTreeSet<String> {
    let own = config::received_from(plane);
    let clusters = config.clusters.values().filter(|cluster| cluster.origin.file != own);
    let services = clusters.filter_map(|cluster| match &cluster.discovery.as_ref()?.place {
        Place::Xds { plane: asked, service } if asked == plane => Some(service.clone()),
        _ => None,
    });
    services.collect()
}
