//! The service: what all connections share, and how a program starts and steers it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::decide::Refusal;
use crate::error::{Mistakes, ReloadError, StartError};
use crate::messages::{RateLimitRequest, RateLimitResponse};
use crate::metrics::{self, Metrics, Registry, Text};
use crate::rules::{self, Loaded, Reading, Rules, Signature};
use crate::server::{self, Certificates};
use crate::settings::Settings;
use crate::store::{Embedded, Keys, MetricsText, RedisStore, Store};
use crate::yaml::Mistake;

/// A service that has read its rules. It serves when [`Service::serve`] is called.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
}

/// Steers a service from outside; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// What a service is given besides its settings.
#[derive(Debug, Default)]
pub struct Env {
    /// Default: the machine's.
    pub clock: Option<Clock>,
    /// Default: what the settings say.
    pub store: Option<Arc<dyn Store>>,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub settings: Settings,
    pub rules: ArcSwap<Rules>,
    pub registry: Arc<Registry>,
    pub metrics: Metrics,
    pub store: Arc<dyn Store>,
    pub keys: Keys,
    /// One for each listener; of one without TLS it is empty.
    pub certificates: Vec<Certificates>,
    /// How reading the rules went. Whoever reads them holds `reading`.
    state: Mutex<State>,
    reading: tokio::sync::Mutex<()>,
    draining: std::sync::atomic::AtomicBool,
}

#[derive(Debug)]
struct State {
    /// When the rules that are there were read.
    read: Instant,
    /// Why later ones were not.
    error: Option<ReloadError>,
    /// What was read, or refused.
    signature: Signature,
    /// A hash of what was read. It is looked at while the files are too young for their signature to show that they were written again.
    fingerprint: u64,
}

/// How the service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether it serves, and is not about to end.
    pub is_serving: bool,
    /// In words, a line for each thing; the first is `OK`, or says why not.
    pub text: String,
}

impl Service {
    /// Reads rules and certificates, and begins to connect to Redis.
    ///
    /// # Errors
    /// [`StartError`]: something that somebody wrote is wrong. A Redis that is away is no error.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        Self::start_with(settings, Env::default()).await
    }

    /// The same, with a clock or a store of one's own.
    ///
    /// # Errors
    /// See [`Service::start`].
    pub async fn start_with(settings: Settings, env: Env) -> Result<Self, StartError> {
        settings.check().map_err(|(path, message)| StartError::Settings(format!("{path}: {message}")))?;
        let registry = Arc::new(Registry::default());
        let certificates = settings
            .listeners
            .iter()
            .map(|listener| Certificates::read(listener.tls.as_ref()))
            .collect::<Result<Vec<_>, String>>()
            .map_err(StartError::Tls)?;
        let (signature, loaded) = look_and_read(&settings, Arc::clone(&registry)).await;
        let (rules, fingerprint) = (loaded.rules.map_err(Mistakes)?, loaded.fingerprint);
        tell(&rules);
        let clock = env.clock.unwrap_or_else(Clock::system);
        let embedded = || Arc::new(Embedded::new(settings.memory.0, clock.clone()));
        let store: Arc<dyn Store> = match (env.store, &settings.redis) {
            (Some(store), _) => store,
            (None, Some(redis)) => Arc::new(RedisStore::new(redis, embedded())?),
            (None, None) => embedded(),
        };
        let prefix = settings.redis.as_ref().map_or("", |redis| redis.prefix.as_str());
        let metrics = Metrics::default();
        metrics.config_load_success.add(1);
        let shared = Shared {
            keys: Keys::new(prefix),
            rules: ArcSwap::from_pointee(rules),
            registry,
            metrics,
            store,
            certificates,
            state: Mutex::new(State { read: Instant::now(), error: None, signature, fingerprint }),
            reading: tokio::sync::Mutex::default(),
            draining: std::sync::atomic::AtomicBool::new(false),
            settings,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Listens where the settings say. A port of 0 is one that is free.
    ///
    /// # Errors
    /// [`StartError::Listen`]
    pub async fn listen(&self) -> Result<Vec<TcpListener>, StartError> {
        let mut listeners = Vec::new();
        for listener in &self.shared.settings.listeners {
            let address = listener.address;
            let bound = TcpListener::bind(address).await;
            listeners.push(bound.map_err(|error| StartError::Listen { address, error })?);
        }
        Ok(listeners)
    }

    /// Steers it, while it serves and after.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Serves until `shutdown` is ready, lets the requests end that are there, for at most `limits.drain`, and is done. Needs a Tokio runtime
    /// with time and I/O. `listeners` are as many as in the settings, in their order. Dropped, it ends at once.
    ///
    /// # Errors
    /// [`StartError::Settings`] where there are more or fewer listeners.
    pub async fn serve(
        self,
        listeners: Vec<TcpListener>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), StartError> {
        let expected = self.shared.settings.listeners.len();
        if listeners.len() != expected {
            let message = format!("{} listeners are bound, and {expected} are in the settings", listeners.len());
            return Err(StartError::Settings(message));
        }
        server::serve(self.shared, listeners, shutdown).await;
        Ok(())
    }
}

impl Handle {
    /// Reads rules and certificates again, whether they have changed or not.
    ///
    /// # Errors
    /// [`ReloadError`]: something in them is wrong. Then all stays as it was, and [`Handle::health`] tells until they are right.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        self.shared.reload().await
    }

    /// The rules that apply.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.shared.rules.load_full()
    }

    /// How the service is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Metrics, in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.shared.metrics_text()
    }

    /// Decides, as for a client.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn should_rate_limit(&self, request: &RateLimitRequest) -> Result<RateLimitResponse, Refusal> {
        self.shared.should_rate_limit(request).await
    }
}

impl Shared {
    /// Decides, and counts that.
    pub async fn should_rate_limit(&self, request: &RateLimitRequest) -> Result<RateLimitResponse, Refusal> {
        let began = Instant::now();
        let decision = self.decide(request).await;
        self.metrics.requests.add(1);
        self.metrics.seconds.add(began.elapsed());
        match &decision {
            Ok(_) => {}
            Err(Refusal::Invalid(_)) => self.metrics.service_errors.add(1),
            Err(Refusal::Store(_)) => self.metrics.store_errors.add(1),
        }
        decision
    }

    pub async fn reload(&self) -> Result<(), ReloadError> {
        let _reading = self.reading.lock().await;
        let (signature, loaded) = look_and_read(&self.settings, Arc::clone(&self.registry)).await;
        let outcome = self.replace(loaded.rules);
        self.registry.prune();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.signature, state.fingerprint) = (signature, loaded.fingerprint);
        match &outcome {
            Ok(()) => {
                self.metrics.config_load_success.add(1);
                (state.read, state.error) = (Instant::now(), None);
                tracing::info!(target: "fyke::ratelimit", "rules were read");
            }
            Err(error) => {
                self.metrics.config_load_error.add(1);
                // A file that stays broken is told once, however often it is looked at.
                if state.error.as_ref() != Some(error) {
                    tracing::error!(target: "fyke::ratelimit", %error, "rules were not read, those before are kept");
                }
                state.error = Some(error.clone());
            }
        }
        outcome
    }

    /// All is replaced, or nothing.
    fn replace(&self, rules: Result<Rules, Vec<Mistake>>) -> Result<(), ReloadError> {
        let rules = rules.map_err(Mistakes)?;
        let listeners = self.settings.listeners.iter();
        let read = listeners
            .map(|listener| Certificates::read(listener.tls.as_ref()))
            .collect::<Result<Vec<_>, String>>()
            .map_err(ReloadError::Tls)?;
        tell(&rules);
        self.rules.store(Arc::new(rules));
        for (certificates, read) in self.certificates.iter().zip(read) {
            certificates.replace(read);
        }
        Ok(())
    }

    /// Reads again if files have changed since they were looked at.
    pub async fn reload_if_changed(&self) {
        let settings = self.settings.clone();
        let look = move || {
            let signature = look(&settings);
            let fingerprint = (!signature.is_settled()).then(|| rules::fingerprint(&settings.rules));
            (signature, fingerprint)
        };
        let Ok((signature, fingerprint)) = tokio::task::spawn_blocking(look).await else { return };
        let changed = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.signature != signature || fingerprint.is_some_and(|fingerprint| fingerprint != state.fingerprint)
        };
        if changed {
            // What is wrong has been told.
            let _ = self.reload().await;
        }
    }

    pub fn health(&self) -> Health {
        let is_serving = !self.draining.load(std::sync::atomic::Ordering::Acquire);
        let mut text = if is_serving { "OK\n".to_owned() } else { "about to end\n".to_owned() };
        let rules = self.rules.load();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (domains, seconds) = (rules.domains().len(), state.read.elapsed().as_secs());
        text.push_str(&format!("rules: domains: {domains}, read {seconds} s ago\n"));
        if let Some(error) = &state.error {
            text.push_str(&format!("rules: those of now were not read, the ones before apply\n{error}\n"));
        }
        drop(state);
        text.push_str(&format!("counters: {}\n", self.store.status().text));
        Health { is_serving, text }
    }

    /// From now on it is about to end.
    pub fn drain(&self) {
        self.draining.store(true, std::sync::atomic::Ordering::Release);
    }

    pub fn metrics_text(&self) -> String {
        let mut text = Text::default();
        metrics::render(&self.metrics, &self.registry, &mut text);
        self.store.write_metrics(&mut MetricsText(&mut text));
        text.finish()
    }
}

/// The files' signature is of before they are read: what changes in between is seen next time.
async fn look_and_read(settings: &Settings, registry: Arc<Registry>) -> (Signature, Loaded) {
    let settings = settings.clone();
    let task = tokio::task::spawn_blocking(move || {
        let signature = look(&settings);
        (signature, rules::load(&settings.rules, &Reading { registry }))
    });
    task.await.unwrap_or_else(|_| {
        let message = "reading the rules was cut short".to_owned();
        let (file, path) = (String::new(), String::new());
        let rules = Err(vec![Mistake { file, line: 0, column: 0, path, message }]);
        (Signature::default(), Loaded { rules, fingerprint: 0 })
    })
}

fn look(settings: &Settings) -> Signature {
    let tls = settings.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let others: Vec<PathBuf> = tls
        .flat_map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()])
        .flatten()
        .cloned()
        .collect();
    Signature::of(&settings.rules, &others)
}

fn tell(rules: &Rules) {
    for warning in rules.warnings() {
        tracing::warn!(target: "fyke::ratelimit", "{warning}");
    }
}
