//! What was changed over the admin endpoint, on top of what the configuration file says.
//!
//! A change of a filter stands until it is taken back, until the file says something else of that filter than it did when the change
//! was made, or until the process ends.

use std::{collections::BTreeMap, sync::Arc};

use crate::config::{
    Config,
    fingerprint::Fingerprint,
    resolved::{Allow, Canary, Filter, FilterLimits, Isolation, ModuleSource, OnFailure, Origin, Reload, Rest},
    suggest,
};

/// Changes that can be gone back to, of one filter.
const KEPT: usize = 10;

/// Changes by filter.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    changes: BTreeMap<String, Arc<Change>>,
}

/// What stands of one filter in place of what is written.
#[derive(Debug, Clone)]
struct Change {
    /// What was written of the filter then; `None`: nothing.
    written: Option<Fingerprint>,
    state: State,
    /// What stood before; `None`: what is written.
    before: Option<Arc<Change>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// Another module.
    version: Option<Version>,
    canary: Trying,
    /// It is in no chain.
    removed: bool,
    /// Where a filter is that is not written.
    place: Option<Place>,
}

#[derive(Debug, Clone, Default)]
enum Trying {
    /// What is written.
    #[default]
    AsWritten,
    /// None.
    Nothing,
    /// This one.
    This(Trial),
}

/// A module that somebody loaded.
#[derive(Debug, Clone)]
pub struct Version {
    /// It.
    pub module: ModuleSource,
    /// What it is configured with; `None`: as its filter is.
    pub configuration: Option<Vec<u8>>,
}

/// A canary that somebody loaded.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Its version.
    pub version: Version,
    /// Share of the streams, between 0 and 1.
    pub share: f64,
    /// Streams before it is judged.
    pub min_streams: u64,
    /// What it must not do.
    pub rollback_on: crate::config::resolved::RollbackOn,
}

/// A filter's place in a chain.
#[derive(Debug, Clone)]
pub struct Place {
    /// The listener.
    pub listener: String,
    /// The filter that comes next; `None`: the chain ends here.
    pub before: Option<String>,
}

/// Why a change cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChangeError {
    /// There is no such thing.
    #[error("{0}")]
    Unknown(String),
    /// Not as things stand.
    #[error("{0}")]
    Conflict(String),
    /// It says too little.
    #[error("{0}")]
    Invalid(String),
}

impl Overlay {
    /// The changes that still stand on top of a file as it is now, and the filters whose changes do not.
    #[must_use]
    pub fn on(&self, written: &Config) -> (Self, Vec<String>) {
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.changes.clone().into_iter().partition(|(name, change)| change.written == fingerprint(written, name));
        (Self { changes: kept }, gone.into_keys().collect())
    }

    /// Whether something stands of this filter, and how often it can be taken back.
    #[must_use]
    pub fn depth(&self, filter: &str) -> usize {
        let change = self.changes.get(filter).map(|change| &**change);
        std::iter::successors(change, |change| change.before.as_deref()).count()
    }

    /// Puts a version in the place of a filter, or a filter where there was none.
    ///
    /// # Errors
    /// When there is no such filter and no place is named, or not that place.
    pub fn load(
        &self,
        written: &Config,
        name: &str,
        version: Version,
        place: Option<Place>,
    ) -> Result<Self, ChangeError> {
        let mut state = self.state(name);
        if !written.filters.contains_key(name) && state.place.is_none() {
            let Some(place) = place else { return Err(self.no_filter(written, name)) };
            check(written, &place)?;
            state.place = Some(place);
        } else if place.is_some() {
            let message =
                format!("filter \"{name}\" has its place already; a chain's order is the configuration's to say");
            return Err(ChangeError::Conflict(message));
        }
        state.version = Some(version);
        state.removed = false;
        Ok(self.with(written, name, state))
    }

    /// Tries a version on a share of a filter's streams.
    ///
    /// # Errors
    /// When there is no such filter.
    pub fn try_out(&self, written: &Config, name: &str, trial: Trial) -> Result<Self, ChangeError> {
        let mut state = self.state(name);
        if !written.filters.contains_key(name) && state.place.is_none() {
            return Err(self.no_filter(written, name));
        }
        state.canary = Trying::This(trial);
        Ok(self.with(written, name, state))
    }

    /// Has a filter's canary take its place.
    ///
    /// # Errors
    /// When it has none.
    pub fn promote(&self, written: &Config, name: &str) -> Result<Self, ChangeError> {
        let canary = self.canary(written, name)?;
        let mut state = self.state(name);
        state.version =
            Some(Version { module: canary.module.clone(), configuration: Some(canary.configuration.clone()) });
        state.canary = Trying::Nothing;
        Ok(self.with(written, name, state))
    }

    /// Ends a canary.
    ///
    /// # Errors
    /// When there is none.
    pub fn abort(&self, written: &Config, name: &str) -> Result<Self, ChangeError> {
        self.canary(written, name)?;
        let mut state = self.state(name);
        state.canary = Trying::Nothing;
        Ok(self.with(written, name, state))
    }

    /// Takes a filter out of all chains.
    ///
    /// # Errors
    /// When there is no such filter.
    pub fn remove(&self, written: &Config, name: &str) -> Result<Self, ChangeError> {
        let mut state = self.state(name);
        if state.place.take().is_none() && !written.filters.contains_key(name) {
            return Err(self.no_filter(written, name));
        }
        state.removed = true;
        Ok(self.with(written, name, state))
    }

    /// Takes a filter's last change back.
    ///
    /// # Errors
    /// When there is none.
    pub fn take_back(&self, written: &Config, name: &str) -> Result<Self, ChangeError> {
        let Some(change) = self.changes.get(name) else {
            if !written.filters.contains_key(name) {
                return Err(self.no_filter(written, name));
            }
            let message = format!(
                "filter \"{name}\" is as the configuration says; `fyke rollback` goes back to an earlier generation of all"
            );
            return Err(ChangeError::Conflict(message));
        };
        let mut changes = self.changes.clone();
        match &change.before {
            Some(before) => changes.insert(name.to_owned(), Arc::clone(before)),
            None => changes.remove(name),
        };
        Ok(Self { changes })
    }

    fn state(&self, name: &str) -> State {
        self.changes.get(name).map(|change| change.state.clone()).unwrap_or_default()
    }

    fn with(&self, written: &Config, name: &str, state: State) -> Self {
        let mut changes = self.changes.clone();
        let before = changes.get(name).map(|before| shortened(before, KEPT - 1));
        let change = Change { written: fingerprint(written, name), state, before };
        changes.insert(name.to_owned(), Arc::new(change));
        Self { changes }
    }

    fn canary(&self, written: &Config, name: &str) -> Result<Arc<Filter>, ChangeError> {
        let config = self.apply(written);
        let Some(filter) = config.filters.get(name) else { return Err(self.no_filter(written, name)) };
        let canary = filter.canary.as_ref().map(|canary| Arc::clone(&canary.version));
        canary.ok_or_else(|| ChangeError::Conflict(format!("filter \"{name}\" has no canary")))
    }

    fn no_filter(&self, written: &Config, name: &str) -> ChangeError {
        let known: Vec<&str> = written.filters.keys().chain(self.changes.keys()).map(String::as_str).collect();
        let near = suggest::nearest(name, known.iter().copied());
        let help = match near {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => {
                "say where it shall be: `--listener NAME`, and `--before FILTER` where it is not the last".to_owned()
            }
        };
        ChangeError::Unknown(format!("there is no filter \"{name}\"; {help}"))
    }

    /// What is written, with the changes on top.
    #[must_use]
    pub fn apply(&self, written: &Config) -> Config {
        let mut config = written.clone();
        for (name, change) in &self.changes {
            let filter = match config.filters.get(name) {
                Some(filter) => (**filter).clone(),
                None => plain(name),
            };
            let filter = Arc::new(changed(filter, &change.state));
            config.put(&filter);
            for listener in &mut config.listeners {
                let plain = listener.fingerprint;
                let fingerprint = |word: &[u8]| Fingerprint::of([plain.bytes(), word, name.as_bytes()]);
                if change.state.removed && listener.filter_lists().flatten().any(|one| one.name == *name) {
                    listener.fingerprint = fingerprint(b"without");
                    for filters in listener.filter_lists_mut() {
                        filters.retain(|one| one.name != *name);
                    }
                }
                if let Some(place) = change.state.place.as_ref().filter(|place| place.listener == listener.name) {
                    listener.fingerprint = fingerprint(b"with");
                    listener.rest = Rest::Own;
                    let next = place.before.as_ref();
                    let next = next.and_then(|next| listener.filters.iter().position(|one| one.name == *next));
                    listener.filters.insert(next.unwrap_or(listener.filters.len()), Arc::clone(&filter));
                }
            }
        }
        config
    }
}

/// A change and those before it, at most so many.
fn shortened(change: &Arc<Change>, most: usize) -> Arc<Change> {
    let before = change.before.as_ref().filter(|_| most > 1).map(|before| shortened(before, most - 1));
    Arc::new(Change { before, ..(**change).clone() })
}

fn fingerprint(written: &Config, name: &str) -> Option<Fingerprint> {
    written.filters.get(name).map(|filter| filter.fingerprint)
}

fn check(written: &Config, place: &Place) -> Result<(), ChangeError> {
    let Some(listener) = written.listeners.iter().find(|listener| listener.name == place.listener) else {
        return Err(ChangeError::Unknown(format!("there is no listener \"{}\"", place.listener)));
    };
    match &place.before {
        Some(next) if !listener.filters.iter().any(|filter| filter.name == *next) => {
            Err(ChangeError::Unknown(format!("listener \"{}\" has no filter \"{next}\"", place.listener)))
        }
        _ => Ok(()),
    }
}

/// A filter that is not written, before it has a module.
fn plain(name: &str) -> Filter {
    Filter {
        name: name.to_owned(),
        origin: Origin::default(),
        module: ModuleSource::Builtin(String::new()),
        module_origin: Origin::default(),
        sha256: None,
        signed_by: Vec::new(),
        configuration: Vec::new(),
        locations: Arc::default(),
        root_id: name.to_owned(),
        vm: None,
        environment: Vec::new(),
        on_failure: OnFailure::default(),
        isolation: Isolation::default(),
        limits: FilterLimits::default(),
        allow: Allow::default(),
        callbacks: None,
        headers_pause: None,
        reload: Reload::default(),
        canary: None,
        of_instance: Fingerprint::default(),
        fingerprint: Fingerprint::default(),
    }
}

/// A filter with another module and configuration.
fn with_version(filter: &Filter, version: &Version) -> Filter {
    let mut filter = Filter { module: version.module.clone(), sha256: None, ..filter.clone() };
    if let Some(configuration) = &version.configuration {
        filter.configuration.clone_from(configuration);
        // They are in no file.
        filter.locations = Arc::default();
    }
    let module = format!("{:?}", filter.module);
    let with = |before: Fingerprint| Fingerprint::of([before.bytes(), module.as_bytes(), &filter.configuration]);
    (filter.of_instance, filter.fingerprint) = (with(filter.of_instance), with(filter.fingerprint));
    filter
}

fn changed(mut filter: Filter, state: &State) -> Filter {
    if let Some(version) = &state.version {
        filter = Filter { reload: Reload::Manual, ..with_version(&filter, version) };
    }
    match &state.canary {
        Trying::AsWritten => {}
        Trying::Nothing => {
            if filter.canary.take().is_some() {
                filter.fingerprint = Fingerprint::of([filter.fingerprint.bytes(), b"no canary"]);
            }
        }
        Trying::This(trial) => {
            let mut version = with_version(&Filter { canary: None, ..filter.clone() }, &trial.version);
            version.name = filter.canary_name();
            let settings = format!("{} {} {:?}", trial.share, trial.min_streams, trial.rollback_on);
            filter.fingerprint =
                Fingerprint::of([filter.fingerprint.bytes(), version.fingerprint.bytes(), settings.as_bytes()]);
            filter.canary = Some(Arc::new(Canary {
                version: Arc::new(version),
                share: trial.share,
                min_streams: trial.min_streams,
                rollback_on: trial.rollback_on,
            }));
        }
    }
    filter
}
