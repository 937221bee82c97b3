//! What is refused, and why.

use std::{fmt, io, path::PathBuf};

use http::StatusCode;

/// A value that cannot be, and where it stands: `port: must be 1 to 65535, not 70000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, as whoever wrote it calls it: `tags.az`, `hosts[3].port`. Empty when it is the whole.
    pub field: String,
    /// What is wrong with it, and what may stand there.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    /// The same, one level further out: `port` of `hosts[3]` is `hosts[3].port`.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.field = if self.field.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.field) };
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// A value as an error message shows it: not all of a long one.
pub(crate) fn shown(value: impl fmt::Display) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Why a request was refused; a label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A field that cannot be.
    Invalid,
    /// Nobody has said who they are, or nobody knows them.
    Unauthenticated,
    /// Somebody else's service.
    Forbidden,
    /// No such path, or no such host.
    NotFound,
    /// A path that has other methods.
    Method,
    /// The body came too slowly, or not at all.
    Timeout,
    /// As many services or hosts as there may be.
    Full,
    /// A body above its limit.
    TooLarge,
    /// Neither a form nor JSON.
    MediaType,
    /// As many waiting readers as there may be.
    Waiters,
    /// The shared store has not been read yet.
    NotReady,
}

impl Reason {
    /// All of them, in the order of the metrics.
    pub(crate) const ALL: [Self; 11] = [
        Self::Invalid,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Method,
        Self::Timeout,
        Self::Full,
        Self::TooLarge,
        Self::MediaType,
        Self::Waiters,
        Self::NotReady,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Method => "method",
            Self::Timeout => "timeout",
            Self::Full => "full",
            Self::TooLarge => "too_large",
            Self::MediaType => "media_type",
            Self::Waiters => "waiters",
            Self::NotReady => "not_ready",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Full => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Waiters => StatusCode::TOO_MANY_REQUESTS,
            Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// A request that is answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) field: Option<String>,
    pub(crate) message: String,
    /// Methods that the path has.
    pub(crate) allow: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, field: None, message: message.into(), allow: None }
    }

    pub(crate) fn method(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::new(Reason::Method, format!("this path has {allow}")) }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let message = problem.to_string();
        let field = Some(problem.field).filter(|field| !field.is_empty());
        Self { message, field, reason: Reason::Invalid, allow: None }
    }
}

/// Why a registry does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Settings that cannot be.
    #[error("{0}")]
    Settings(#[from] Problem),
    /// `open` is for loopback.
    #[error("open: the registry would let anybody who reaches {0} register; `open` is for loopback addresses")]
    OpenToOthers(std::net::SocketAddr),
    /// A file that cannot be read, or does not hold what it should.
    #[error("{}: {message}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The listening socket.
    #[error("the listening socket failed: {0}")]
    Listener(#[from] io::Error),
}

impl ServeError {
    pub(crate) fn file(path: &std::path::Path, message: impl fmt::Display) -> Self {
        Self::File { path: path.to_owned(), message: message.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_say_where() {
        let problem = Problem::new("az", "is too long").within("tags").within("hosts[1]");
        assert_eq!(problem.to_string(), "hosts[1].tags.az: is too long");
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        assert_eq!(shown("ä".repeat(61)), format!("{}...", "ä".repeat(60)));
        assert_eq!(shown(7), "7");
    }
}
