//! What stands for Redis: closures that get a command and answer it.

use std::time::Duration;

use super::text::Text;
use crate::redis::{RedisError, Value};

/// A command, as a server got it.
#[derive(Debug, Clone)]
pub struct RedisReceived {
    pub(in crate::testing) endpoint: String,
    pub(in crate::testing) greeting: Vec<Vec<Vec<u8>>>,
    pub(in crate::testing) command: Vec<Vec<u8>>,
}

impl RedisReceived {
    /// The command's name, in upper case.
    #[must_use]
    pub fn name(&self) -> String {
        self.command.first().map(|name| String::from_utf8_lossy(name).to_ascii_uppercase()).unwrap_or_default()
    }

    /// All of it: the name, and what follows.
    #[must_use]
    pub fn command(&self) -> &[Vec<u8>] {
        &self.command
    }

    /// What follows the name, the first of it at 0.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    #[track_caller]
    pub fn argument(&self, at: usize) -> Text<'_> {
        match self.command.get(at + 1) {
            Some(argument) => Text::new(argument),
            None => panic!("{} has no argument {at}: {self:?}", self.name()),
        }
    }

    /// The commands that its connection began with: login, database, protocol.
    #[must_use]
    pub fn greeting(&self) -> &[Vec<Vec<u8>>] {
        &self.greeting
    }

    /// The endpoint that it was sent to; empty: the balancer's choice.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

/// What a server answers to a command.
///
/// ```
/// use std::time::Duration;
/// use fyke_sdk::RedisError;
/// use fyke_sdk::redis::Value;
/// use fyke_sdk::testing::RedisAnswer;
///
/// let number: RedisAnswer = Value::Integer(3).into();
/// let gone: RedisAnswer = RedisError::Closed.into();
/// let late = RedisAnswer::from(Value::ok()).after(Duration::from_millis(5));
/// ```
#[derive(Debug, Clone)]
pub struct RedisAnswer {
    pub(in crate::testing) said: Result<Value, RedisError>,
    /// `None`: never.
    pub(in crate::testing) after: Option<Duration>,
}

impl RedisAnswer {
    /// Nothing, ever: time passes, until the call's timeout.
    #[must_use]
    pub const fn hang() -> Self {
        Self { said: Ok(Value::Null), after: None }
    }

    /// The same, after a while. A call of several commands takes as long as the slowest.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        self.after = Some(time);
        self
    }
}

impl From<Value> for RedisAnswer {
    fn from(value: Value) -> Self {
        Self { said: Ok(value), after: Some(Duration::ZERO) }
    }
}

/// There is no answer, and this is why. The whole call fails, with the first failure among its commands.
impl From<RedisError> for RedisAnswer {
    fn from(error: RedisError) -> Self {
        Self { said: Err(error), after: Some(Duration::ZERO) }
    }
}

impl From<Result<Value, RedisError>> for RedisAnswer {
    fn from(said: Result<Value, RedisError>) -> Self {
        Self { said, after: Some(Duration::ZERO) }
    }
}
