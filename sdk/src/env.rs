//! What the world grants a filter. Everything here is asked for in `configure`, and nothing that was not asked for can be used
//! later: so a test can fake all of it, and the host can grant it by name.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi::{self, Level, Status};
use crate::callout::Cluster;
use crate::error::{ConfigError, Error, Result};
use crate::log::LogSink;
use crate::metric::{Counter, Gauge, Histogram, MetricDefinition};
use crate::redis::Redis;
use crate::routes::Routes;
use crate::runtime::BoxedTask;
use crate::shared::Shared;
use crate::timer;

/// Handed to [`configure`](crate::HttpFilter::configure).
pub struct Env {
    tasks: Vec<BoxedTask>,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("tasks", &self.tasks.len()).finish()
    }
}

impl Env {
    pub(crate) fn new() -> Self {
        Self { tasks: Vec::new() }
    }

    pub(crate) fn into_tasks(self) -> Vec<BoxedTask> {
        self.tasks
    }

    /// A cluster that the filter calls.
    ///
    /// # Errors
    /// When the name is empty; on Fyke also when there is no such cluster, or `allow:` does not grant it. Elsewhere that shows at the
    /// first call.
    pub fn cluster(&mut self, name: &str) -> Result<Cluster, ConfigError> {
        if name.is_empty() {
            return Err(ConfigError::new("a cluster's name must not be empty"));
        }
        match abi::call_foreign_function("fyke.cluster.require.v1", name.as_bytes()) {
            Ok(_) | Err(Status::NOT_FOUND) => Ok(Cluster::new(name)),
            Err(_) => Err(ConfigError::new(format!("the host has no cluster \"{name}\" for this filter"))),
        }
    }

    /// The Redis servers of a cluster; `allow: { clusters: [...] }` of the filter has to grant it. Fyke only. See [`redis`](crate::redis).
    ///
    /// ```
    /// # use fyke_sdk::{ConfigError, Env, Redis};
    /// # use std::time::Duration;
    /// # fn configure(password: &str, env: &mut Env) -> Result<(), ConfigError> {
    /// let cache: Redis = env.redis("cache")?.login("proxy", password).database(2).timeout(Duration::from_millis(50));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The attribute finds a call of `redis` inside the `impl`; where it is hidden in a helper, say `#[http_filter(answers)]` (or `#[tcp_filter(answers)]`).
    ///
    /// # Errors
    /// As [`Env::cluster`]; and where the attribute has not found that the filter calls Redis.
    pub fn redis(&mut self, cluster: &str) -> Result<Redis, ConfigError> {
        self.cluster(cluster)?;
        Redis::is_heard().map_err(ConfigError::new)?;
        Ok(Redis::new(cluster))
    }

    /// A number that only grows. Defining a name again, with the same labels, gives the same metric.
    ///
    /// ```
    /// # use fyke_sdk::{ConfigError, Counter, Env};
    /// # fn configure(env: &mut Env) -> Result<(), ConfigError> {
    /// let denied: Counter<1> = env.counter("auth_denied_total", ["reason"])?;
    /// denied.increment(["missing"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the host refuses it: a name or label that it does not take, or one that is in use for something else.
    pub fn counter<const N: usize>(&mut self, name: &str, labels: [&str; N]) -> Result<Counter<N>, ConfigError> {
        Counter::define(name, labels)
    }

    /// A number that goes up and down.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn gauge<const N: usize>(&mut self, name: &str, labels: [&str; N]) -> Result<Gauge<N>, ConfigError> {
        Gauge::define(name, labels)
    }

    /// A distribution.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn histogram<const N: usize>(&mut self, name: &str, labels: [&str; N]) -> Result<Histogram<N>, ConfigError> {
        Histogram::define(name, labels)
    }

    /// A metric whose labels only the configuration knows, or a histogram with buckets of its own.
    ///
    /// ```
    /// # use fyke_sdk::{ConfigError, DynamicCounter, DynamicHistogram, Env};
    /// # fn configure(labels: Vec<String>, env: &mut Env) -> Result<(), ConfigError> {
    /// let requests: DynamicCounter = env.metric("requests_total").labels(&labels).counter()?;
    /// let seconds: DynamicHistogram = env.metric("wait_seconds").buckets([1, 5, 30]).histogram()?;
    /// requests.add(1, labels.iter().map(|_| "value"));
    /// seconds.record(3, []);
    /// # Ok(())
    /// # }
    /// ```
    pub fn metric(&mut self, name: &str) -> MetricDefinition {
        MetricDefinition::new(name)
    }

    /// Runs `task` again and again, `period` after it began the last time, but not before it is done; for the first time as soon as the
    /// plugin serves. It may wait for callouts as a method may. An `Err` is logged. It ends when the configuration is
    /// replaced. Every worker runs it for itself.
    ///
    /// The attribute finds a call of `every` inside the `impl`; where it is hidden in a helper, say `#[http_filter(tasks)]`.
    ///
    /// ```
    /// # use fyke_sdk::{ConfigError, Env, HttpRequest};
    /// # use std::{cell::RefCell, rc::Rc, time::Duration};
    /// # fn configure(env: &mut Env) -> Result<(), ConfigError> {
    /// let keys = Rc::new(RefCell::new(Vec::new()));
    /// let issuer = env.cluster("issuer")?;
    /// let fresh = keys.clone();
    /// env.every(Duration::from_secs(300), move || {
    ///     let (issuer, fresh) = (issuer.clone(), fresh.clone());
    ///     async move {
    ///         let answer = issuer.call(HttpRequest::get("/keys")).await?;
    ///         fresh.replace(answer.body().to_vec());
    ///         Ok(())
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn every<F>(&mut self, period: Duration, task: impl FnMut() -> F + 'static)
    where
        F: Future<Output = Result<()>> + 'static,
    {
        self.tasks.push(Box::pin(timer::every(period, task, |error: Error| {
            abi::log(Level::Error, &format!("a task of the filter failed: {error}"));
        })));
    }

    /// A value that all workers see under this key.
    ///
    /// # Errors
    /// When the key is empty.
    pub fn shared<T: Serialize + DeserializeOwned>(&mut self, key: &str) -> Result<Shared<T>, ConfigError> {
        if key.is_empty() {
            return Err(ConfigError::new("the key of shared data must not be empty"));
        }
        Ok(Shared::new(key))
    }

    /// Where a filter that routes defines its routes.
    pub fn routes(&mut self) -> Routes {
        Routes::new()
    }

    /// A place for records, one of the configuration's `sinks:`; empty: standard output. A host without sinks writes the
    /// records to its log.
    ///
    /// # Errors
    /// When there is no sink of that name.
    pub fn log_sink(&mut self, name: &str) -> Result<LogSink, ConfigError> {
        LogSink::open(name)
    }
}
