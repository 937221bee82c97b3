//! A proxy that announces its service, lives, and leaves.
//!
//! It registers at once and then with every third of the registry's TTL, a little early and never at the same time as its neighbours, so that two heartbeats in a
//! row may be lost. What fails is tried again, a second later at first and half a minute later at last: a registry that was away hears everybody
//! within that time, and not everybody at once.

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    pace::Pace,
    transport::{self, Answer, Origin, TlsFiles},
};
use crate::{
    clock::Clock,
    error::{Problem, shown},
    host::{Fields, ServiceName, Tags, host_address},
    load::Load,
};

/// The `register:` block of a proxy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationSettings {
    /// The service that is here.
    pub service: String,
    /// Where others reach it: an IP address and a port.
    pub address: String,
    /// The registry: `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    pub registry: String,
    /// Has the token of the service, and nothing else but white space. Read with each request.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// What it runs; default: nothing is said.
    #[serde(default)]
    pub revision: Option<String>,
    /// `az`, `region`, `canary`, `load_balancing_weight`, `instance_id` and others.
    #[serde(default)]
    pub tags: Map<String, Value>,
    /// Certificates (PEM) that the registry's must come from; default: what the system trusts.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A certificate (PEM) that names the service, in place of a token; with `key`.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// Asked before each heartbeat; nothing is reported when it says nothing. It must not block.
pub type LoadSource = Arc<dyn Fn() -> Option<Load> + Send + Sync>;

/// Why a registry was not told.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("the registry cannot be reached: {0}")]
    Connect(io::Error),
    /// No TLS.
    #[error("TLS with the registry failed: {0}")]
    Tls(String),
    /// No token.
    #[error("token_file: {0}")]
    Token(String),
    /// No answer.
    #[error("the registry did not answer: {0}")]
    Exchange(String),
    /// Not in time.
    #[error("the registry took too long")]
    Timeout,
    /// An answer that says no.
    #[error("the registry answered {status}: {message}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its `error`.
        message: String,
    },
}

impl ClientError {
    /// Whether asking once more would be answered the same.
    fn stands(&self) -> bool {
        let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        matches!(self, Self::Refused { status, .. } if status.is_client_error() && !passes.contains(status))
    }
}

/// How it stands with a registration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Heartbeats that were taken.
    pub heartbeats: u64,
    /// Those that were not.
    pub failures: u64,
    /// Why the last one was not; `None` when it was taken, or none was sent.
    pub last_error: Option<String>,
}

/// A registration under way. Dropped without [`Self::deregister`] it ends, and the host expires with its TTL.
pub struct Registration {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
    status: watch::Receiver<Status>,
    caller: Arc<Caller>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("service", &self.caller.service).finish_non_exhaustive()
    }
}

/// Of a registry that does not say: lyft/discovery's.
const TTL: Duration = Duration::from_secs(600);

impl RegistrationSettings {
    /// Whether these can be.
    ///
    /// # Errors
    /// The first field that cannot.
    pub fn check(&self) -> Result<(), Problem> {
        self.caller().map(drop)
    }

    /// Whether both are about the same host at the same registry: what one says takes the place of what the other has said.
    #[must_use]
    pub fn is_of_same_host(&self, other: &Self) -> bool {
        (&self.service, &self.address, &self.registry) == (&other.service, &other.address, &other.registry)
    }

    fn caller(&self) -> Result<Caller, Problem> {
        let service = ServiceName::parse(&self.service)?;
        let address = host_address(&self.address).map_err(|message| Problem::new("address", message))?;
        let origin = Origin::read(&self.registry).map_err(|message| Problem::new("registry", message))?;
        let tags = Tags::read(&self.tags, usize::MAX).map_err(|problem| problem.within("tags"))?;
        if self.certificate.is_some() != self.key.is_some() {
            return Err(Problem::new("certificate", "goes with `key`"));
        }
        let tls = TlsFiles { ca: self.ca.clone(), certificate: self.certificate.clone(), key: self.key.clone() };
        Ok(Caller {
            service,
            address,
            origin,
            tags,
            tls,
            revision: self.revision.clone().unwrap_or_default(),
            token_file: self.token_file.clone(),
        })
    }
}

impl Registration {
    /// Begins. Call it within a Tokio runtime; the first heartbeat goes out at once.
    ///
    /// # Errors
    /// Settings that cannot be. What the registry says is in [`Self::status`].
    pub fn start(settings: &RegistrationSettings, load: Option<LoadSource>, clock: Clock) -> Result<Self, Problem> {
        let caller = Arc::new(settings.caller()?);
        let stop = watch::Sender::new(false);
        let (report, status) = watch::channel(Status::default());
        let beat = Beat { caller: Arc::clone(&caller), load, clock, report };
        let task = tokio::spawn(beat.run(stop.subscribe()));
        Ok(Self { task, stop, status, caller })
    }

    /// How it stands, now and whenever it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Ends without a farewell: another registration of the host takes its place. A heartbeat under way is waited for, because it could arrive after
    /// the successor's first; for no longer than the deadline.
    pub async fn end(mut self, deadline: Duration) {
        self.stop.send_replace(true);
        let _ = tokio::time::timeout(deadline, &mut self.task).await;
    }

    /// Ends, and takes the host out of the registry: what a proxy does first when it drains. A heartbeat under way is waited for, because it could
    /// arrive after the farewell. Within the deadline what fails is tried again.
    ///
    /// # Errors
    /// The host is still there until its TTL is over: the last failure, or [`ClientError::Timeout`].
    pub async fn deregister(mut self, deadline: Duration) -> Result<(), ClientError> {
        self.stop.send_replace(true);
        let mut last = None;
        let farewell = async {
            let _ = (&mut self.task).await;
            let mut pause = Duration::from_millis(100);
            loop {
                match self.caller.leave().await {
                    Ok(()) => return Ok(()),
                    Err(error) if error.stands() => return Err(error),
                    Err(error) => last = Some(error),
                }
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(Pace::first_wait());
            }
        };
        match tokio::time::timeout(deadline, farewell).await {
            Ok(left) => left,
            Err(_) => Err(last.unwrap_or(ClientError::Timeout)),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Says things to the registry.
#[derive(Debug)]
struct Caller {
    service: ServiceName,
    address: SocketAddr,
    origin: Origin,
    tags: Tags,
    revision: String,
    token_file: Option<PathBuf>,
    tls: TlsFiles,
}

impl Caller {
    async fn send(&self, method: Method, path: &str, body: Option<String>) -> Result<Answer, ClientError> {
        let token = match &self.token_file {
            Some(path) => Some(transport::token(path).await?),
            None => None,
        };
        self.origin.send(&self.tls, method, path, token, body).await
    }

    /// One heartbeat; how long the host stays after it.
    async fn live(&self, load: Option<Load>) -> Result<Duration, ClientError> {
        let mut body = json!({
            "ip": self.address.ip(),
            "port": self.address.port(),
            "revision": self.revision,
            "tags": self.tags,
        });
        if let (Some(load), Some(body)) = (load, body.as_object_mut()) {
            body.insert("load".to_owned(), json!({"cpu": load.cpu, "memory": load.memory}));
        }
        let path = format!("/v1/registration/{}", self.service);
        let answer = self.send(Method::POST, &path, Some(body.to_string())).await?;
        if !answer.status.is_success() {
            return Err(refused(&answer));
        }
        let ttl = serde_json::from_slice::<Fields>(&answer.body).ok();
        let ttl = ttl.and_then(|fields| fields.get("ttl")?.as_u64()).filter(|seconds| (1..=86_400).contains(seconds));
        Ok(ttl.map_or(TTL, Duration::from_secs))
    }

    async fn leave(&self) -> Result<(), ClientError> {
        let path = format!("/v1/registration/{}/{}", self.service, self.address);
        let answer = self.send(Method::DELETE, &path, None).await?;
        // Gone is gone.
        if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(refused(&answer))
    }
}

fn refused(answer: &Answer) -> ClientError {
    let said = serde_json::from_slice::<Fields>(&answer.body).ok();
    let said = said.and_then(|fields| Some(fields.get("error")?.as_str()?.to_owned()));
    ClientError::Refused { status: answer.status, message: shown(said.unwrap_or_default()) }
}

/// The heart.
struct Beat {
    caller: Arc<Caller>,
    load: Option<LoadSource>,
    clock: Clock,
    report: watch::Sender<Status>,
}

impl Beat {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut pace = Pace::default();
        while !*stop.borrow() {
            let load = self.load.as_ref().and_then(|load| load());
            // Not given up when it ends: see `deregister`.
            let pause = match self.caller.live(load).await {
                Ok(ttl) => {
                    if pace.fails() {
                        tracing::info!(service = %self.caller.service, "registered again");
                    }
                    self.report.send_modify(|status| {
                        status.heartbeats += 1;
                        status.last_error = None;
                    });
                    pace.taken(ttl, fastrand::f64())
                }
                Err(error) => {
                    if !pace.fails() {
                        tracing::warn!(service = %self.caller.service, %error, "not registered; trying again");
                    }
                    self.report.send_modify(|status| {
                        status.failures += 1;
                        status.last_error = Some(error.to_string());
                    });
                    pace.failed(fastrand::f64())
                }
            };
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> RegistrationSettings {
        serde_json::from_value(
            json!({"service": "users", "address": "10.0.0.1:8080", "registry": "http://127.0.0.1:1"}),
        )
        .unwrap()
    }

    #[test]
    fn settings_that_cannot_be_are_named() {
        settings().check().unwrap();
        let field = |change: fn(&mut RegistrationSettings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.check().unwrap_err().field
        };
        assert_eq!(field(|settings| settings.service = "a b".to_owned()), "service");
        assert_eq!(field(|settings| settings.address = "users:80".to_owned()), "address");
        assert_eq!(field(|settings| settings.address = "0.0.0.0:80".to_owned()), "address");
        assert_eq!(field(|settings| settings.registry = "127.0.0.1".to_owned()), "registry");
        assert_eq!(field(|settings| settings.key = Some("a".into())), "certificate");
        assert_eq!(field(|settings| drop(settings.tags.insert("az".to_owned(), json!(1)))), "tags.az");
    }
}
