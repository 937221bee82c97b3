//! Errors as MongoDB answers them: a code, its name, a message, and the labels by which drivers decide whether to retry.

use bson::{Bson, Document, doc};

/// Result of a command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Label of errors after which a driver starts the whole transaction anew.
pub const TRANSIENT: &str = "TransientTransactionError";
/// Label of errors after which a driver sends a retryable write again.
pub const RETRYABLE_WRITE: &str = "RetryableWriteError";
/// Label of errors after which a driver commits again.
pub const UNKNOWN_COMMIT: &str = "UnknownTransactionCommitResult";
/// Label of errors after which a driver resumes a change stream.
pub const RESUMABLE: &str = "ResumableChangeStreamError";

/// An error reply: `{ok: 0, errmsg, code, codeName, errorLabels}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// MongoDB's number of the error.
    pub code: i32,
    /// `errmsg`.
    pub message: String,
    /// `errorLabels`; absent from the reply if empty.
    pub labels: Vec<String>,
    /// Further fields of the reply, such as `keyValue` of a duplicate key.
    pub details: Box<Document>,
}

impl Failure {
    /// An error without labels.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), labels: Vec::new(), details: Box::default() }
    }

    /// The same error with one more label.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        if !self.labels.iter().any(|known| known == label) {
            self.labels.push(label.to_owned());
        }
        self
    }

    /// The reply's document.
    pub fn to_document(&self) -> Document {
        let mut reply =
            doc! { "ok": 0.0, "errmsg": &self.message, "code": self.code, "codeName": code_name(self.code) };
        if !self.labels.is_empty() {
            let labels: Vec<Bson> = self.labels.iter().map(Bson::from).collect();
            reply.insert("errorLabels", labels);
        }
        reply.extend(self.details.as_ref().clone());
        reply
    }

    pub(crate) fn bad_value(message: impl Into<String>) -> Self {
        Self::new(2, message)
    }

    pub(crate) fn failed_to_parse(message: impl Into<String>) -> Self {
        Self::new(9, message)
    }

    pub(crate) fn type_mismatch(field: &str, expected: &str) -> Self {
        Self::new(14, format!("BSON field '{field}' is the wrong type, expected type '{expected}'"))
    }

    pub(crate) fn missing(field: &str) -> Self {
        Self::new(40414, format!("BSON field '{field}' is missing but a required field"))
    }

    pub(crate) fn cursor_not_found(id: i64) -> Self {
        Self::new(43, format!("cursor id {id} not found"))
    }

    pub(crate) fn write_conflict() -> Self {
        Self::new(
            112,
            "WriteConflict error: this operation conflicted with another operation. Please retry your operation or multi-document transaction.",
        )
    }

    pub(crate) fn duplicate_key(namespace: &str, index: &str, key: Document) -> Self {
        let message = format!("E11000 duplicate key error collection: {namespace} index: {index} dup key: {key}");
        let pattern: Document = key.keys().map(|name| (name.clone(), Bson::Int32(1))).collect();
        let mut failure = Self::new(11000, message);
        *failure.details = doc! { "keyPattern": pattern, "keyValue": key };
        failure
    }

    /// Whether drivers may send a retryable write again after this error (the retryable-writes specification).
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self.code, 6 | 7 | 89 | 91 | 134 | 189 | 262 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436)
    }
}

/// The `codeName` that servers print for a code.
pub fn code_name(code: i32) -> &'static str {
    match code {
        1 => "InternalError",
        2 => "BadValue",
        6 => "HostUnreachable",
        7 => "HostNotFound",
        9 => "FailedToParse",
        11 => "UserNotFound",
        13 => "Unauthorized",
        14 => "TypeMismatch",
        17 => "ProtocolError",
        18 => "AuthenticationFailed",
        20 => "IllegalOperation",
        26 => "NamespaceNotFound",
        27 => "IndexNotFound",
        43 => "CursorNotFound",
        48 => "NamespaceExists",
        50 => "MaxTimeMSExpired",
        52 => "DollarPrefixedFieldName",
        54 => "NotSingleValueField",
        59 => "CommandNotFound",
        64 => "WriteConcernFailed",
        66 => "ImmutableField",
        72 => "InvalidOptions",
        73 => "InvalidNamespace",
        89 => "NetworkTimeout",
        91 => "ShutdownInProgress",
        96 => "OperationFailed",
        100 => "UnsatisfiableWriteConcern",
        112 => "WriteConflict",
        117 => "ConflictingOperationInProgress",
        133 => "FailedToSatisfyReadPreference",
        134 => "ReadConcernMajorityNotAvailableYet",
        189 => "PrimarySteppedDown",
        202 => "NetworkInterfaceExceededTimeLimit",
        225 => "TransactionTooOld",
        237 => "CursorKilled",
        244 => "TransactionAborted",
        251 => "NoSuchTransaction",
        256 => "TransactionCommitted",
        262 => "ExceededTimeLimit",
        263 => "OperationNotSupportedInTransaction",
        279 => "ClientDisconnect",
        286 => "ChangeStreamHistoryLost",
        352 => "UnsupportedOpQueryCommand",
        391 => "ReauthenticationRequired",
        462 => "IngressRequestRateLimitExceeded",
        8000 => "AtlasError",
        9001 => "SocketException",
        10058 => "LegacyConnPoolTimedOut",
        10107 => "NotWritablePrimary",
        10334 => "BSONObjectTooLarge",
        11000 => "DuplicateKey",
        11600 => "InterruptedAtShutdown",
        11601 => "Interrupted",
        11602 => "InterruptedDueToReplStateChange",
        13388 => "StaleConfig",
        13435 => "NotPrimaryNoSecondaryOk",
        13436 => "NotPrimaryOrSecondary",
        17280 => "KeyTooLong",
        _ => unnamed(code),
    }
}

/// Codes outside the table of names are printed as their location in the server's source; only those that we raise have a text.
fn unnamed(code: i32) -> &'static str {
    match code {
        40324 => "Location40324",
        40414 => "Location40414",
        40352 => "Location40352",
        50738 => "Location50738",
        16872 => "Location16872",
        _ => "UnknownError",
    }
}
