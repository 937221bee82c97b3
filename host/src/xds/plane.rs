//! Listens to one control plane.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use fyke_envoy::{
    Schema,
    xds::{Client, Command, Event, ResourceType, Settings, Update, Verdict},
};
use serde_json::json;
use tokio::sync::watch;

use super::{judge::Judge, status::Status};
use crate::{
    config::resolved::ControlPlane,
    reload::{
        compilers::make_way,
        keeper::{self, Keeper},
    },
    telemetry::event_kinds,
};

/// Names that somebody wants of a type, which change.
struct Wish {
    kind: ResourceType,
    names: watch::Receiver<BTreeSet<String>>,
    asked: BTreeSet<String>,
}

impl Wish {
    /// What is wanted now is asked for from the beginning.
    fn new(kind: ResourceType, mut names: watch::Receiver<BTreeSet<String>>, settings: &mut Settings) -> Self {
        let asked = names.borrow_and_update().clone();
        if !asked.is_empty() {
            settings.wanted.push((kind, asked.iter().cloned().collect()));
        }
        Self { kind, names, asked }
    }

    /// What is to be said when they have changed. `None`: nobody wants anything any more.
    async fn changed(&mut self) -> Option<[Command; 2]> {
        self.names.changed().await.ok()?;
        let now = self.names.borrow_and_update().clone();
        let new = now.difference(&self.asked).cloned().collect();
        let gone = self.asked.difference(&now).cloned().collect();
        self.asked = now;
        Some([Command::Subscribe(self.kind, new), Command::Unsubscribe(self.kind, gone)])
    }

    /// These are not wanted any more, whoever has asked for one anew meanwhile.
    fn forget(&mut self, names: Vec<String>, client: &Client) {
        if names.is_empty() {
            return;
        }
        for name in &names {
            self.asked.remove(name);
        }
        let _ = client.commands.send(Command::Unsubscribe(self.kind, names));
        self.names.mark_changed();
    }
}

/// As [`Wish::changed`], for ever where there is none.
async fn changed(wish: &mut Option<Wish>) -> Option<[Command; 2]> {
    match wish {
        Some(wish) => wish.changed().await,
        None => std::future::pending().await,
    }
}

fn tell(client: &Client, commands: [Command; 2]) {
    for command in commands {
        let (Command::Subscribe(_, names) | Command::Unsubscribe(_, names)) = &command;
        if !names.is_empty() {
            // Where nobody listens events end, too.
            let _ = client.commands.send(command);
        }
    }
}

/// The task of one control plane.
pub(super) struct Plane {
    settings: Arc<ControlPlane>,
    schema: Schema,
    state: Option<PathBuf>,
    status: Arc<Status>,
    keeper: Arc<Keeper>,
    judge: Arc<Mutex<Judge>>,
}

impl Plane {
    pub fn new(
        keeper: Arc<Keeper>,
        settings: Arc<ControlPlane>,
        schema: Schema,
        state: Option<PathBuf>,
        status: Arc<Status>,
    ) -> Self {
        let judge = Judge::new(&settings, Arc::clone(&keeper), schema.clone(), state.as_deref(), Arc::clone(&status));
        Self { settings, schema, state, status, keeper, judge: Arc::new(Mutex::new(judge)) }
    }

    /// Listens until nobody says any more which `services` are wanted: those whose
    /// endpoints are, whatever the control plane's own clusters need.
    pub async fn run(self, services: watch::Receiver<BTreeSet<String>>) {
        let mut settings = self.settings.settings.clone();
        if let Some(folder) = self.state.as_ref().and_then(|state| state.parent()) {
            use std::os::unix::fs::DirBuilderExt as _;
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            if let Err(error) = made {
                tracing::warn!("what control planes send cannot be kept in {}: {error}", folder.display());
            }
        }
        settings.state.clone_from(&self.state);
        let mut services = Wish::new(ResourceType::Endpoints, services, &mut settings);
        let demand = self.settings.on_demand.is_some().then(|| self.keeper.proxy.demand().names());
        let mut demand = demand.map(|names| Wish::new(ResourceType::Cluster, names, &mut settings));
        let patience = settings.fetch_timeout;
        let mut client = Client::start(settings, self.schema.clone());
        let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + patience, patience);
        loop {
            tokio::select! {
                _ = looks.tick() => self.waited().await,
                event = client.events.recv() => match event {
                    Some(event) => {
                        let gone = self.hear(event).await;
                        if let Some(demand) = &mut demand {
                            demand.forget(gone, &client);
                        }
                    }
                    None => break,
                },
                changed = services.changed() => match changed {
                    Some(commands) => tell(&client, commands),
                    None => break,
                },
                Some(commands) = changed(&mut demand) => tell(&client, commands),
            }
            self.announce();
        }
        client.close().await;
    }

    /// Returns clusters that need not be followed any more, although somebody wanted them.
    async fn hear(&self, event: Event) -> Vec<String> {
        let plane = &*self.settings.name;
        let mut gone = Vec::new();
        match event {
            Event::Update(update, reply) => {
                let (heard, said) = (update.clone(), reply.is_some());
                let verdict = self.ask(move |judge| judge.hear(heard, said)).await.unwrap_or_else(|| {
                    let added = update.added.iter();
                    let refused = added.map(|one| (one.name.clone(), "was not applied".to_owned())).collect();
                    Verdict { refused, ..Verdict::default() }
                });
                self.status.updated(&update, &verdict);
                gone = self.demanded(&update, &verdict);
                if !update.restored {
                    self.status.settles(update.kind);
                }
                if let Some(reply) = reply {
                    let _ = reply.send(verdict);
                } else if !verdict.refused.is_empty() {
                    // Nobody else tells.
                    self.refused(update.kind, &verdict.refused);
                }
            }
            Event::Missing(ResourceType::Cluster, names) if !names.is_empty() => {
                // Nothing refers to clusters but whoever wants them.
                tracing::debug!(plane, "there are no such clusters: {}", names.join(", "));
                gone = self.keeper.proxy.demand().missing(&names);
                self.ask(Judge::looked_again).await;
            }
            Event::Missing(kind, names) => {
                let list = names.join(", ");
                let what = if names.is_empty() { "any of them" } else { &list };
                tracing::warn!(plane, "{}: did not come in time: {what}", kind.kind().noun());
                // One that is not there has not said that there is nothing.
                let said = !names.is_empty() || self.status.is_connected();
                self.ask(move |judge| judge.miss(kind, &names, said)).await;
                if said {
                    self.status.settles(kind);
                }
            }
            Event::Refused(kind, refused) => {
                if kind == ResourceType::Cluster {
                    gone = self.keeper.proxy.demand().missing(refused.iter().map(|(name, _)| name));
                }
                self.refused(kind, &refused);
                self.ask(move |judge| judge.refused(kind)).await;
                self.status.settles(kind);
            }
            Event::Mended(kind, names) => self.status.mended(kind, &names),
            Event::Connected => {
                self.ask(Judge::restored).await;
                self.status.connected();
                tracing::info!(plane, address = self.settings.address(), "connected to the control plane");
                self.keeper.proxy.registry().events().tell(
                    &event_kinds::CONTROL_PLANE_CONNECTED,
                    plane,
                    "connected to the control plane",
                    json!({ "address": self.settings.address() }),
                );
            }
            Event::Disconnected { reason, retry_in } => {
                self.ask(Judge::restored).await;
                if self.status.disconnected(&reason) {
                    tracing::warn!(plane, "no control plane, what it has sent goes on: {reason}");
                    let message = format!("no control plane, what it has sent goes on: {reason}");
                    let fields = json!({ "why": reason, "retry_in_ms": retry_in.as_millis() });
                    let events = self.keeper.proxy.registry().events();
                    events.tell(&event_kinds::CONTROL_PLANE_LOST, plane, message, fields);
                }
            }
            Event::Warning(reason) => tracing::warn!(plane, "{reason}"),
        }
        gone
    }

    /// Tells those who wait for clusters which of them are not there. Returns those that need not be followed any more.
    fn demanded(&self, update: &Update, verdict: &Verdict) -> Vec<String> {
        if self.settings.on_demand.is_none() || update.kind != ResourceType::Cluster {
            return Vec::new();
        }
        let demand = self.keeper.proxy.demand();
        let stays = |name: &&String| verdict.stays.contains(name);
        let refused = |name: &String| verdict.refused.iter().any(|(refused, _)| refused == name);
        let mut gone = demand.missing(update.removed.iter().filter(|name| !stays(name)));
        gone.extend(demand.missing(verdict.refused.iter().map(|(name, _)| name)));
        if update.restored && self.settings.settings.by_name.contains(&ResourceType::Cluster) {
            let added = update.added.iter().map(|one| &one.name).filter(|name| !refused(name));
            gone.extend(demand.restored(added.cloned()));
        }
        gone
    }

    /// Tells those who wait for clusters which of them run now: what a cluster waited for may be of any type.
    fn announce(&self) {
        if self.settings.on_demand.is_some() {
            let runs = &self.keeper.proxy.snapshot().config.clusters;
            self.keeper.proxy.demand().came(|name| runs.contains_key(name));
        }
    }

    /// It has had time enough to say what there is.
    async fn waited(&self) {
        self.status.settle();
        if self.status.is_connected() {
            self.ask(Judge::waited).await;
        }
    }

    fn refused(&self, kind: ResourceType, refused: &[(String, String)]) {
        self.status.refused(kind, refused);
        for (name, why) in refused {
            let what = format!("{} {name:?}: {why}", kind.kind().noun());
            tracing::error!(plane = &*self.settings.name, "refused: {what}");
            self.keeper.note_refusal(&self.settings.name, what);
        }
    }

    /// Asks the judge, on a thread that may wait. `None`: there was none to be had.
    async fn ask<T: Send + 'static>(&self, what: impl FnOnce(&mut Judge) -> T + Send + 'static) -> Option<T> {
        let judge = Arc::clone(&self.judge);
        let asked = move || {
            // Nobody waits for it, and it may take long.
            make_way();
            what(&mut judge.lock().unwrap_or_else(PoisonError::into_inner))
        };
        match keeper::aside(asked).await {
            Ok(said) => Some(said),
            Err(error) => {
                tracing::error!(plane = &*self.settings.name, "cannot look at what came: {error}");
                None
            }
        }
    }
}
