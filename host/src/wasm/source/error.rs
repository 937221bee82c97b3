//! Why a module could not be had.

use std::{borrow::Cow, io, path::PathBuf, time::Duration};

use crate::config::module::SignatureError;

/// Why a module could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No such module in the binary.
    #[error("there is no builtin module \"{name}\"; {help}")]
    UnknownBuiltin {
        /// The name asked for.
        name: String,
        /// What may have been meant.
        help: String,
    },
    /// The file, or the signature beside it, could not be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No connection, or one that broke.
    #[error("cannot fetch {at}: {reason}")]
    Unreachable {
        /// What was asked for.
        at: String,
        /// Why.
        reason: String,
    },
    /// The other side is not who it should be, or does not speak TLS.
    #[error("cannot trust the server of {at}: {reason}")]
    Tls {
        /// What was asked for.
        at: String,
        /// Why, and what to try.
        reason: String,
    },
    /// Something took too long.
    #[error("cannot fetch {at}: {doing} has taken more than {after:?}")]
    Timeout {
        /// What was asked for.
        at: String,
        /// What was waited for.
        doing: &'static str,
        /// The limit.
        after: Duration,
    },
    /// An answer that is none of what was hoped for.
    #[error("cannot fetch {at}: the answer is {status}{}", because(reason.as_ref()))]
    Status {
        /// What was asked for.
        at: String,
        /// The status.
        status: http::StatusCode,
        /// What the server says about it.
        reason: Option<String>,
    },
    /// 401, 403, or a challenge that cannot be met.
    #[error("not allowed to fetch {at}: {reason}")]
    Unauthorized {
        /// What was asked for.
        at: String,
        /// Why, and what to try.
        reason: String,
    },
    /// 404 or 410.
    #[error("there is no {at}{}", because(reason.as_ref()))]
    NotFound {
        /// What was asked for.
        at: String,
        /// What the server says about it.
        reason: Option<String>,
    },
    /// More bytes than a module may have.
    #[error("{at} is too large: more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        at: String,
        /// How many bytes it may have.
        limit: usize,
    },
    /// A redirect that is not followed.
    #[error("cannot fetch {at}: {reason}")]
    Redirect {
        /// What redirects.
        at: String,
        /// Why it is not followed.
        reason: String,
    },
    /// The content is not what was asked for.
    #[error("{what} SHA-256 is {actual}, {whose} asks for {expected}")]
    Digest {
        /// `its`, or of which part.
        what: Cow<'static, str>,
        /// What it is.
        actual: String,
        /// Who wants another.
        whose: &'static str,
        /// What it should be.
        expected: String,
    },
    /// No signature that would do.
    #[error("{at} is not trusted: {error}")]
    Signature {
        /// Whose signature.
        at: String,
        /// Why not.
        error: SignatureError,
    },
    /// An image in which there is no module, or no one module.
    #[error("{at} cannot be used as a module: {reason}")]
    Manifest {
        /// The image.
        at: String,
        /// Why, and what to try.
        reason: String,
    },
    /// Nobody could be sent to fetch it.
    #[error("cannot start fetching: {error}")]
    Start {
        /// Why.
        error: io::Error,
    },
}

impl SourceError {
    /// A stable name of few, for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::UnknownBuiltin { .. } | Self::NotFound { .. } => "not_found",
            Self::File { .. } => "file",
            Self::Unreachable { .. } => "unreachable",
            Self::Tls { .. } => "tls",
            Self::Timeout { .. } => "timeout",
            Self::Status { .. } => "status",
            Self::Unauthorized { .. } => "unauthorized",
            Self::TooLarge { .. } => "too_large",
            Self::Redirect { .. } => "redirect",
            Self::Digest { .. } => "digest",
            Self::Signature { .. } => "signature",
            Self::Manifest { .. } => "manifest",
            Self::Start { .. } => "start",
        }
    }

    /// Whether the other side is out of order, so that asking again may help and a copy that was good may stand in.
    /// An answer that refuses is none: who takes a module away must not be overruled by a cache.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => true,
            Self::Status { status, .. } => is_transient(*status),
            _ => false,
        }
    }
}

/// Whether the same request may be answered otherwise in a moment.
pub(super) fn is_transient(status: http::StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

fn because(reason: Option<&String>) -> String {
    reason.map_or(String::new(), |reason| format!(" ({reason})"))
}
