//! Errors: of a method, which cost one stream, and of a configuration, which cost nothing because the old one keeps serving.

use std::fmt;

/// What a filter's method answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a method of a filter failed. It costs the stream (500, details `filter_error`) and is logged; the instance goes on.
///
/// Every [`std::error::Error`] becomes one with `?`. (It therefore cannot be one itself.)
pub struct Error {
    message: Box<str>,
}

impl Error {
    /// An error that says `message` in the log.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into().into() }
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why a configuration was refused, and at which place in it.
///
/// ```
/// use fyke_sdk::ConfigError;
///
/// let error = ConfigError::at("match.path", "must begin with '/'").under("routes[2]");
/// assert_eq!(error.path(), "routes[2].match.path");
/// assert_eq!(error.to_string(), "routes[2].match.path: must begin with '/'");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    path: String,
    message: String,
}

impl ConfigError {
    /// Something is wrong with the configuration as a whole.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { path: String::new(), message: message.into() }
    }

    /// Something is wrong at `path`: field names joined by dots, list positions in brackets.
    #[must_use]
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// The same error seen from outside: `prefix` goes before its path.
    #[must_use]
    pub fn under(mut self, prefix: impl AsRef<str>) -> Self {
        let prefix = prefix.as_ref();
        self.path = match (prefix.is_empty(), self.path.is_empty()) {
            (true, _) => self.path,
            (false, true) => prefix.to_owned(),
            (false, false) if self.path.starts_with('[') => format!("{prefix}{}", self.path),
            (false, false) => format!("{prefix}.{}", self.path),
        };
        self
    }

    /// The place; empty for the whole configuration.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

impl std::error::Error for ConfigError {}
