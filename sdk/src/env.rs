//! What the world grants a filter. Everything here is asked for in `configure`, and nothing that was not asked for can be used
//! later: so a test can fake all of it, and the host can grant it by name.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi::MetricKind;
use crate::call::Cluster;
use crate::error::ConfigError;
use crate::log::LogSink;
use crate::metric::{Counter, Gauge, Histogram, define};
use crate::routes::Routes;
use crate::shared::Shared;

/// Handed to [`configure`](crate::HttpFilter::configure).
#[derive(Debug)]
pub struct Env {
    _private: (),
}

impl Env {
    pub(crate) fn new() -> Self {
        Self { _private: () }
    }

    /// A cluster that the filter calls. Whether it exists shows at the first call on hosts that cannot tell earlier.
    ///
    /// # Errors
    /// When the name is empty.
    pub fn cluster(&mut self, name: &str) -> Result<Cluster, ConfigError> {
        if name.is_empty() {
            return Err(ConfigError::new("a cluster's name must not be empty"));
        }
        Ok(Cluster::new(name))
    }

    /// A number that only grows. Defining a name again gives the same series.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn counter(&mut self, name: &str) -> Result<Counter, ConfigError> {
        define(MetricKind::Counter, name).map(Counter)
    }

    /// A number that goes up and down.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn gauge(&mut self, name: &str) -> Result<Gauge, ConfigError> {
        define(MetricKind::Gauge, name).map(Gauge)
    }

    /// A distribution.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn histogram(&mut self, name: &str) -> Result<Histogram, ConfigError> {
        define(MetricKind::Histogram, name).map(Histogram)
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
