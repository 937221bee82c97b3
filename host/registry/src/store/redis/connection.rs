//! The one connection to the server.

use std::sync::{Arc, Mutex, PoisonError};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo as _, RedisError, RedisResult, TlsCertificates,
    aio::MultiplexedConnection,
};

use crate::{
    error::{Problem, ServeError},
    files,
    metrics::Metrics,
    settings::RedisSettings,
};

/// A connection that all requests share, or none. It is made by the tick alone: while the server is away, requests do not wait for it.
pub(super) struct Link {
    client: Client,
    config: AsyncConnectionConfig,
    connection: Mutex<Option<MultiplexedConnection>>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its client knows the password.
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    pub(super) async fn open(settings: &RedisSettings, metrics: Arc<Metrics>) -> Result<Self, ServeError> {
        let wrong = |error: RedisError| Problem::new("redis.url", error.to_string());
        let mut info = settings.url.as_str().into_connection_info().map_err(wrong)?;
        if let Some(path) = &settings.password_file {
            let password = files::read(path, 4096).await.map_err(|error| ServeError::file(path, error))?;
            let with = info.redis_settings().clone().set_password(password.trim());
            info = info.set_redis_settings(with);
        }
        let client = match &settings.ca {
            Some(path) => {
                let ca = files::read(path, 1024 * 1024).await.map_err(|error| ServeError::file(path, error))?;
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(ca.into_bytes()) };
                Client::build_with_tls(info, certificates).map_err(wrong)?
            }
            None => Client::open(info).map_err(wrong)?,
        };
        let timeout = Some(settings.timeout);
        let config = AsyncConnectionConfig::new().set_connection_timeout(timeout).set_response_timeout(timeout);
        Ok(Self { client, config, connection: Mutex::default(), metrics })
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connection(&self) -> Option<MultiplexedConnection> {
        self.slot().clone()
    }

    /// Connects anew.
    pub(super) async fn connect(&self) -> Option<MultiplexedConnection> {
        let connected = self.client.get_multiplexed_async_connection_with_config(&self.config).await;
        match connected {
            Ok(connection) => {
                *self.slot() = Some(connection.clone());
                tracing::info!("connected to Redis");
                Some(connection)
            }
            Err(error) => {
                self.metrics.store_failures.add(1);
                tracing::debug!(%error, "Redis is away");
                None
            }
        }
    }

    /// An answer; a failure ends the connection, for whom it may be out of step with its answers, unless it is about the keys that were asked for.
    pub(super) fn checked<T>(&self, answer: RedisResult<T>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(error) if is_of_keys(&error) => {
                self.metrics.store_failures.add(1);
                tracing::warn!(%error, "what is in Redis is not ours");
                None
            }
            Err(error) => {
                self.metrics.store_failures.add(1);
                if self.slot().take().is_some() {
                    tracing::error!(%error, "Redis has failed; what was known is served, what changes is kept for it");
                }
                None
            }
        }
    }
}

/// Whether a failure is about the keys that were asked for, which somebody else has written: other keys, and the connection, are as they were.
pub(super) fn is_of_keys(error: &RedisError) -> bool {
    // By its text: in a pipeline or a script it has no code of its own.
    error.kind() == ErrorKind::UnexpectedReturnType || error.to_string().contains("WRONGTYPE")
}
