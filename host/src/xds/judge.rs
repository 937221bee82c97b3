//! What of a control plane's updates is good, and what becomes of it.

mod objections;
mod oblivion;
mod removal;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use fyke_envoy::{
    InlineFiles, Schema, Severity, Translator,
    xds::{ResourceType, Update, Verdict},
};

use self::{
    objections::refusal,
    oblivion::{Oblivion, WHOLE},
};
use super::{
    assignments::Assignment,
    inline::Inline,
    received::{Key, Received},
    sort_out::{Objection, Refused, sort_out},
    status::Status,
};
use crate::{
    config::{Fragment, Report, received_from, resolved::ControlPlane},
    discovery::hosts,
    reload::{following::Followed, keeper::Keeper},
};

/// For finding out what of an update cannot run, or cannot go. What is not known by then is refused, or stays.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says what of an update is good, and applies it. Whoever asks it may wait for long.
pub(super) struct Judge {
    name: String,
    keeper: Arc<Keeper>,
    translator: Translator,
    inline: Arc<Inline>,
    status: Arc<Status>,
    received: Received,
    /// What was applied last.
    text: String,
    /// What is on disk is coming.
    restoring: bool,
    /// Types of which it is asked for everything.
    whole: Vec<ResourceType>,
    /// That it names none of them, although something of it runs, has been told.
    says_nothing: bool,
    /// Something of this control plane runs that is not known here: nothing is applied before all is.
    collecting: bool,
    /// Types of which it has not said what there is.
    pending: BTreeSet<ResourceType>,
    /// What it has taken away, and what is written beside cannot do without.
    staying: BTreeSet<Key>,
    /// What it does not know any more, and is not believed to have meant.
    oblivion: Oblivion,
    /// How long something may take to come.
    patience: Duration,
}

impl Judge {
    pub fn new(
        plane: &ControlPlane,
        keeper: Arc<Keeper>,
        schema: Schema,
        state: Option<&Path>,
        status: Arc<Status>,
    ) -> Self {
        let inline = Arc::new(Inline::new(state, &plane.name));
        let files: Arc<dyn InlineFiles> = Arc::clone(&inline) as _;
        let whole = plane.settings.whole();
        // Clusters that requests needed are waited for, too, before others take their place.
        let follows = plane.on_demand.is_some() && !keeper.proxy.demand().is_answered_by(&[]);
        Self {
            name: plane.name.clone(),
            // What the one before it has sent goes on until all of it has been said again.
            collecting: keeper.has_received(&plane.name),
            keeper,
            translator: Translator::new(schema)
                .with_inline_files(files)
                .with_clusters_on_demand(plane.on_demand.is_some()),
            inline,
            status,
            received: Received::of(plane),
            text: String::new(),
            restoring: false,
            says_nothing: false,
            staying: BTreeSet::new(),
            oblivion: Oblivion::default(),
            patience: plane.settings.fetch_timeout,
            pending: whole.iter().copied().chain(follows.then_some(ResourceType::Cluster)).collect(),
            whole,
        }
    }

    /// An update. Says what of it is refused, and what does not go. `said`: the control plane has said it, and waits for the verdict; else its
    /// time has come.
    pub fn hear(&mut self, update: Update, said: bool) -> Verdict {
        let Update { kind, restored, .. } = update;
        if !restored {
            self.restored();
        }
        let verdict = match kind {
            ResourceType::Endpoints => Verdict { refused: self.assign(update), ..Verdict::default() },
            _ => match self.disbelieve(&update, said) {
                Some(verdict) => verdict,
                None => self.replace(update, said),
            },
        };
        if !restored {
            self.said(kind);
        }
        verdict
    }

    /// These do not come; without names, none of a type does. `said`: the control plane is there, and has said so.
    pub fn miss(&mut self, kind: ResourceType, names: &[String], said: bool) {
        self.restored();
        self.given_up(kind, names);
        if said {
            self.said(kind);
        }
    }

    /// All of an update was refused before it came here.
    pub fn refused(&mut self, kind: ResourceType) {
        self.restored();
        self.said(kind);
    }

    /// There was time enough to say what there is.
    pub fn waited(&mut self) {
        if self.collecting {
            self.apply_collected(true);
        }
    }

    /// Endpoints, which make no generation.
    fn assign(&mut self, update: Update) -> Refused {
        let assignments = self.keeper.proxy.assignments();
        for service in &update.removed {
            assignments.forget(&self.name, service);
        }
        let mut refused = Vec::new();
        for one in update.added {
            match hosts::of_assignment(one.value) {
                Ok(hosts) => assignments.put(&self.name, &one.name, Assignment { version: one.version, hosts }),
                Err(why) => refused.push((one.name, why)),
            }
        }
        refused
    }

    /// All that was on disk has come: it comes in pieces, and counts when the first thing comes that is not from there.
    pub fn restored(&mut self) {
        if std::mem::take(&mut self.restoring) {
            self.pending.clear();
            self.apply_collected(false);
        }
    }

    /// Nobody waits any more for clusters that were waited for.
    pub fn looked_again(&mut self) {
        if self.collecting {
            self.said(ResourceType::Cluster);
        }
    }

    /// It has said what there is of a type.
    fn said(&mut self, kind: ResourceType) {
        // Of clusters that are asked for by name it says one after the other.
        let names = || self.received.names(ResourceType::Cluster);
        if kind != ResourceType::Cluster
            || self.whole.contains(&kind)
            || self.keeper.proxy.demand().is_answered_by(&names())
        {
            self.pending.remove(&kind);
        }
        if self.collecting {
            self.apply_collected(false);
        }
    }

    /// Applies all that was collected: when it is whole, or `now`.
    fn apply_collected(&mut self, now: bool) {
        let whole = self.pending.is_empty() && self.received.waiting().next().is_none();
        if self.collecting && !whole && !now {
            return;
        }
        if self.collecting && !self.whole.is_empty() && WHOLE.iter().all(|kind| self.received.names(*kind).is_empty()) {
            if !std::mem::replace(&mut self.says_nothing, true) {
                let what =
                    "it names no listener and no cluster: what the control plane of its name had sent before goes on";
                self.keeper.note_refusal(&self.name, what.to_owned());
            }
            return;
        }
        self.collecting = false;
        let next = self.received.clone();
        if let Err(report) = self.apply(&next) {
            tracing::debug!(plane = self.name, "not all that was collected can run: {}", report.summary());
            self.salvage();
        }
    }

    /// What of all that was collected can run.
    fn salvage(&mut self) {
        let mut base = self.received.emptied();
        for (kind, resources) in self.received.all() {
            let names: Vec<String> = resources.iter().map(|one| one.name.clone()).collect();
            let until = Instant::now() + PATIENCE;
            let (next, bad) =
                sort_out(base, kind, resources, until, &mut |received| self.object(kind, &names, received));
            base = next;
            for (name, why) in bad {
                self.keeper.note_refusal(&self.name, format!("{} {name:?}: {why}", kind.kind().noun()));
            }
        }
        match self.apply(&base) {
            Ok(()) => self.received = base,
            Err(report) => self.keeper.note_refusal(&self.name, report.summary()),
        }
    }

    /// Resources in place of others. What has stayed of those that are gone may be able to go after that.
    fn replace(&mut self, mut update: Update, said: bool) -> Verdict {
        let kind = update.kind;
        let forgotten = if said { self.remembers(&mut update) } else { Vec::new() };
        for one in &update.added {
            self.staying.remove(&(kind, one.name.clone()));
        }
        let removed = update.removed.clone();
        // To try them with the others would make of every update one that cannot run.
        update.removed.retain(|name| !self.staying.contains(&(kind, name.clone())));
        let refused = self.update(update);
        let mut gone = self.let_go();
        // What something refers to goes when nothing does any more.
        let is_kept = |name: &String| !WHOLE.contains(&kind) && self.received.has(kind, name);
        let stays: Vec<String> =
            removed.into_iter().filter(|name| self.staying.contains(&(kind, name.clone())) || is_kept(name)).collect();
        gone.extend(forgotten.into_iter().filter(|name| !stays.contains(name)).map(|name| (kind, name)));
        Verdict { refused, stays, gone }
    }

    fn update(&mut self, update: Update) -> Refused {
        let kind = update.kind;
        let mut refused = Vec::new();
        let mut good = Vec::new();
        for one in update.added {
            let findings = self.translator.check(kind.kind(), &one.name, &one.value);
            match refusal(findings.iter().filter(|finding| finding.severity == Severity::Refused)) {
                Some(why) => refused.push((one.name, why)),
                None => good.push(one),
            }
        }
        let next = self.received.without(kind, &update.removed).with(kind, &good);
        if update.restored || self.collecting {
            self.received = next;
            self.restoring |= update.restored;
            return refused;
        }
        match self.apply(&next) {
            Ok(()) => {
                self.received = next;
                return refused;
            }
            Err(report) => tracing::debug!(plane = self.name, "not all of an update can run: {}", report.summary()),
        }
        let until = Instant::now() + PATIENCE;
        let base = self.without(kind, &update.removed, until);
        let names: Vec<String> = good.iter().map(|one| one.name.clone()).collect();
        let whole = good.clone();
        let (next, bad) =
            sort_out(base.clone(), kind, good, until, &mut |received| self.object(kind, &names, received));
        refused.extend(bad);
        if self.apply(&next).is_ok() {
            self.received = next;
            return refused;
        }
        // What only shows when it is done, and could not be foreseen: one after the other.
        let good = whole.into_iter().filter(|one| !refused.iter().any(|(name, _)| *name == one.name)).collect();
        let (next, bad) = sort_out(base, kind, good, Instant::now() + PATIENCE, &mut |received| {
            let report = self.apply(received).err()?;
            Some(Objection { why: report.summary(), about: Vec::new() })
        });
        if self.apply(&next).is_ok() {
            self.received = next;
        }
        refused.extend(bad);
        refused
    }

    /// These do not come: what has waited for them is used without.
    fn given_up(&mut self, kind: ResourceType, names: &[String]) {
        let next = self.received.given_up(kind, names);
        if self.collecting {
            self.received = next;
            return;
        }
        match self.apply(&next) {
            Ok(()) => self.received = next,
            Err(report) => self.keeper.note_refusal(&self.name, report.summary()),
        }
    }

    fn fragment(&self, text: String) -> Fragment {
        Fragment { name: received_from(&self.name), text }
    }

    fn apply(&mut self, received: &Received) -> Result<(), Report> {
        let (text, findings) = received.translate(&self.translator);
        for finding in &findings {
            tracing::debug!(plane = self.name, "{finding}");
        }
        if text != self.text {
            let followed = self.keeper.follow(&self.name, self.fragment(text.clone()))?;
            self.text = text;
            // What is held has not taken the place of anything yet.
            if matches!(followed, Followed::Applied(_)) {
                self.forget_files();
            }
        }
        self.status.waits(received.waiting());
        Ok(())
    }

    /// Forgets files that no generation needs, those included that can be gone back to: one of them may be what a restart begins with.
    fn forget_files(&self) {
        let name = received_from(&self.name);
        let history = self.keeper.proxy.history();
        let texts = history.iter().flat_map(|snapshot| snapshot.written.sources.received());
        let texts = texts.filter(|(from, _)| *from == name).map(|(_, text)| text);
        self.inline.keep_only(&texts.chain([&*self.text]).collect::<Vec<_>>());
    }
}
