//! Listens to one control plane.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use fyke_envoy::{
    Schema,
    xds::{Client, Command, Event, ResourceType, Verdict},
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
    pub async fn run(self, mut services: watch::Receiver<BTreeSet<String>>) {
        let mut settings = self.settings.settings.clone();
        if let Some(folder) = self.state.as_ref().and_then(|state| state.parent()) {
            use std::os::unix::fs::DirBuilderExt as _;
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            if let Err(error) = made {
                tracing::warn!("what control planes send cannot be kept in {}: {error}", folder.display());
            }
        }
        settings.state.clone_from(&self.state);
        let mut asked = services.borrow_and_update().clone();
        if !asked.is_empty() {
            settings.wanted.push((ResourceType::Endpoints, asked.iter().cloned().collect()));
        }
        let patience = settings.fetch_timeout;
        let mut client = Client::start(settings, self.schema.clone());
        let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + patience, patience);
        loop {
            tokio::select! {
                _ = looks.tick() => self.waited().await,
                event = client.events.recv() => match event {
                    Some(event) => self.hear(event).await,
                    None => break,
                },
                changed = services.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let now = services.borrow_and_update().clone();
                    let of = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>();
                    let (new, gone) = (of(now.difference(&asked).collect()), of(asked.difference(&now).collect()));
                    for command in [
                        Command::Subscribe(ResourceType::Endpoints, new),
                        Command::Unsubscribe(ResourceType::Endpoints, gone),
                    ] {
                        let (Command::Subscribe(_, names) | Command::Unsubscribe(_, names)) = &command;
                        if !names.is_empty() && client.commands.send(command).await.is_err() {
                            return;
                        }
                    }
                    asked = now;
                }
            }
        }
        client.close().await;
    }

    async fn hear(&self, event: Event) {
        let plane = &*self.settings.name;
        match event {
            Event::Update(update, reply) => {
                let (heard, said) = (update.clone(), reply.is_some());
                let verdict = self.ask(move |judge| judge.hear(heard, said)).await.unwrap_or_else(|| {
                    let added = update.added.iter();
                    let refused = added.map(|one| (one.name.clone(), "was not applied".to_owned())).collect();
                    Verdict { refused, ..Verdict::default() }
                });
                self.status.updated(&update, &verdict);
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
