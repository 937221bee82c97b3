//! What control planes send is put beside what is written, and watched files are read when they change, until somebody rolls back: then both wait.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    audit::Outcome,
    keeper::{Keeper, lock},
    last_good,
    overlay::Overlay,
    prepare::Prepared,
    proxy::Applied,
    watch::WATCH,
};
use crate::config::{Config, Fragment, Report, load_kept, sender_of};

/// Bytes of a configuration that is compared line by line.
const LARGEST: usize = 256 * 1024;

/// What control planes have sent.
#[derive(Debug, Default)]
pub struct Following {
    /// By their names: the last of each that could run.
    received: BTreeMap<String, Fragment>,
    /// Neither they nor changed files are followed any more, since a rollback to this generation.
    pinned: Option<u64>,
}

impl Following {
    /// With what a configuration was read with.
    pub fn of(config: &Config) -> Self {
        let one = |(name, text): (&str, &str)| {
            let fragment = Fragment { name: name.to_owned(), text: text.to_owned() };
            Some((sender_of(name)?.to_owned(), fragment))
        };
        // A start is no release, but it reads the file: without control planes nothing is left that could be kept away.
        let pinned = config.state.as_deref().filter(|_| !config.control_planes.is_empty()).and_then(last_good::pinned);
        Self { received: config.sources.received().filter_map(one).collect(), pinned }
    }
}

/// What became of what a control plane has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// It was applied.
    Applied(Applied),
    /// It could be, and waits until a rollback is released.
    Held,
}

impl Keeper {
    /// What a control plane has sent takes the place of what it has sent before. Where a rollback is pinned it is only kept.
    ///
    /// # Errors
    /// Everything that is wrong with it; what ran goes on then, and what it has sent before still counts.
    pub fn follow(&self, plane: &str, fragment: Fragment) -> Result<Followed, Report> {
        self.in_turn(|| {
            let (written, overlay) = self.load_running(&self.received_with(plane, &fragment))?;
            let followed = if self.pinned().is_some() {
                self.proxy.prepare(written, overlay, true)?;
                Followed::Held
            } else {
                Followed::Applied(self.change_by(plane, &fragment, (written, overlay))?)
            };
            lock(&self.following).received.insert(plane.to_owned(), fragment);
            Ok(followed)
        })
    }

    /// Whether [`Self::follow`] would do it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn could_follow(&self, plane: &str, fragment: &Fragment) -> Result<(), Report> {
        self.in_turn(|| {
            let (written, overlay) = self.load_running(&self.received_with(plane, fragment))?;
            let prepared = self.proxy.prepare(written, overlay, true)?;
            match self.proxy.unbound(&prepared) {
                problems if problems.is_empty() => Ok(()),
                problems => Err(Report::of(Arc::clone(&prepared.config.sources), problems)),
            }
        })
    }

    /// Something that a control plane has sent was refused.
    pub fn note_refusal(&self, plane: &str, why: String) {
        self.note(&who(plane), "update", Vec::new(), Outcome::Refused(why));
    }

    /// The generation that neither control planes nor changed files replace, where a rollback has asked for that.
    #[must_use]
    pub fn pinned(&self) -> Option<u64> {
        lock(&self.following).pinned
    }

    /// Watched files have changed: they are read again. Where a rollback is pinned, only those are that its texts name, such as certificates.
    ///
    /// # Errors
    /// Everything that is wrong with it; what ran goes on then.
    pub(super) fn files_changed(&self) -> Result<Applied, Report> {
        self.in_turn(|| {
            let Some(pinned) = self.pinned() else { return self.read_again(WATCH) };
            let applied = self.change(WATCH, "renew", self.renewed());
            if matches!(applied, Ok(Applied::Unchanged(_))) {
                tracing::warn!(
                    "generation {pinned} is pinned: what has changed in files is read after `fyke rollback --release`, or with `fyke reload`"
                );
            }
            applied
        })
    }

    /// What runs, with what its texts name as it is on disk now. Its modules are those that it has.
    fn renewed(&self) -> Result<Prepared, Report> {
        let snapshot = self.proxy.snapshot();
        let one = |(name, text): (&str, &str)| Fragment { name: name.to_owned(), text: text.to_owned() };
        let received: Vec<_> = snapshot.written.sources.received().map(one).collect();
        let (written, overlay) = self.load_running(&received)?;
        Ok(self.proxy.renewed(written, overlay))
    }

    /// Control planes and files are followed again, from what they say now.
    ///
    /// # Errors
    /// Everything that is wrong with it; what ran goes on then, still pinned.
    pub fn release(&self, asked: &str) -> Result<Applied, Report> {
        self.in_turn(|| {
            let loaded = self.load(&self.received());
            let prepared = loaded.and_then(|(written, overlay)| self.proxy.prepare(written, overlay, false));
            let applied = self.change(asked, "release", prepared)?;
            self.unpin();
            Ok(applied)
        })
    }

    /// Whether something that a control plane has sent counts.
    #[must_use]
    pub fn has_received(&self, plane: &str) -> bool {
        lock(&self.following).received.contains_key(plane)
    }

    /// What runs, with these: the files may have been changed since, and are nobody's business but those who ask for a reload.
    fn load_running(&self, received: &[Fragment]) -> Result<(Arc<Config>, Overlay), Report> {
        let snapshot = self.proxy.snapshot();
        let texts = snapshot.written.sources.file_texts();
        let files: Vec<_> = texts.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        let written = load_kept(&files, received)?;
        let (overlay, _) = snapshot.overlay.on(&written);
        Ok((Arc::new(written), overlay))
    }

    /// What control planes had sent that are not named any more does not count either.
    pub(super) fn forget_others(&self) {
        let config = Arc::clone(&self.proxy.snapshot().written);
        lock(&self.following).received.retain(|plane, _| config.control_planes.contains_key(plane));
    }

    /// A rollback keeps control planes and changed files away.
    pub(super) fn pin(&self, generation: u64) {
        lock(&self.following).pinned = Some(generation);
        self.keep();
        tracing::warn!(
            generation,
            "neither control planes nor changed files are followed until `fyke rollback --release`"
        );
    }

    pub(super) fn unpin(&self) {
        let was_pinned = lock(&self.following).pinned.take().is_some();
        if was_pinned {
            self.keep();
            tracing::info!("control planes and changed files are followed again");
        }
    }

    /// All that was sent and counts.
    pub(super) fn received(&self) -> Vec<Fragment> {
        lock(&self.following).received.values().cloned().collect()
    }

    fn received_with(&self, plane: &str, fragment: &Fragment) -> Vec<Fragment> {
        let mut received = lock(&self.following).received.clone();
        received.insert(plane.to_owned(), fragment.clone());
        received.into_values().collect()
    }

    fn change_by(
        &self,
        plane: &str,
        fragment: &Fragment,
        (written, overlay): (Arc<Config>, Overlay),
    ) -> Result<Applied, Report> {
        let prepared = self.proxy.prepare(written, overlay, false)?;
        let changes = self.changes(&prepared);
        // Of what is large the words say enough, and it would take long.
        let diff = if fragment.text.len() < LARGEST { self.lines(&prepared) } else { Vec::new() };
        let applied = self.apply(&prepared)?;
        if let Applied::Generation(generation) = applied {
            self.note_with(&who(plane), "update", changes, diff, Outcome::Applied(generation));
        }
        Ok(applied)
    }
}

fn who(plane: &str) -> String {
    format!("control plane {plane}")
}
