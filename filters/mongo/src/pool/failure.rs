//! What a client is told when its operation cannot be served, so that its driver does the right thing.
//!
//! Drivers decide by code and label (retryable reads, retryable writes, transactions, server discovery and client
//! backpressure specifications):
//!
//! - Codes 6, 89 and 262 make them retry reads once, and do not make them mark the server (us) unknown or clear their
//!   pool, which the "not primary" and "node is recovering" codes (10107, 91, 11600, ...) do. One upstream server that
//!   failed is no reason to leave the proxy. Only a connection that cannot follow the switch says 91, because then it is.
//! - `RetryableWriteError` makes them retry a write that has a transaction number, a commit or an abort.
//! - `TransientTransactionError` tells the application to run its transaction again; never on a commit, whose outcome
//!   is then `UnknownTransactionCommitResult`.
//! - `NoWritesPerformed` says that nothing of it ran: after a failed retry the first error is the one to show.
//! - A full queue is overload: code 262 for drivers of before 2026, and `SystemOverloadedError` with `RetryableError`,
//!   with which newer ones retry any operation, after a backoff. (A server says 462 there, which older drivers do not
//!   retry.)

use super::errors::{Code, ErrorReply};
use super::facts::Labels;
use super::operation::{Kind, Operation};

/// Why no connection was lent; nothing of the operation was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaseFailure {
    /// The time in the queue ran out.
    QueueTimeout,
    /// The queue was full.
    QueueFull,
    /// No server fits: no primary, or the pinned one is gone.
    NoEndpoint,
    /// No connection could be made.
    Connect,
    /// The proxy's own credential was refused: a human must act, retries do not help.
    Authentication,
    /// Operations go where this client's connection cannot lead: its driver has to connect anew.
    Draining,
}

/// Why a connection failed with the operation sent to it, in part or as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Breakage {
    /// The server or the network closed it.
    Closed,
    /// The server took too long.
    TimedOut,
    /// The server sent what is no reply to the request.
    Violation,
}

/// How much of a request reached the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Not all of it: the server cannot have run it.
    Partly,
    /// All of it: it may have run.
    Wholly,
}

/// The error for an operation of which nothing was sent.
pub fn not_sent(operation: &Operation, why: LeaseFailure) -> ErrorReply {
    let (code, message) = match why {
        LeaseFailure::QueueTimeout => {
            (Code::EXCEEDED_TIME_LIMIT, "timed out waiting for an upstream connection from the proxy's pool")
        }
        LeaseFailure::QueueFull => {
            (Code::EXCEEDED_TIME_LIMIT, "too many operations wait for an upstream connection from the proxy's pool")
        }
        LeaseFailure::NoEndpoint => (Code::HOST_UNREACHABLE, "no upstream server can serve this operation"),
        LeaseFailure::Connect => (Code::HOST_UNREACHABLE, "the proxy could not connect to an upstream server"),
        LeaseFailure::Authentication => {
            let message = "the upstream server refused the proxy's own credential";
            return ErrorReply::new(Code::AUTHENTICATION_FAILED, message);
        }
        LeaseFailure::Draining => {
            (Code::SHUTDOWN_IN_PROGRESS, "the proxy has been switched to another cluster: connect anew")
        }
    };
    let overloaded = matches!(why, LeaseFailure::QueueTimeout | LeaseFailure::QueueFull);
    let overload = if overloaded { Labels::OVERLOADED.and(Labels::RETRYABLE) } else { Labels::NONE };
    ErrorReply::new(code, message).with(labels(operation, Sent::Partly)).with(overload)
}

/// The error for an operation that may write while nobody may. Drivers ask who takes writes now, and try again.
pub fn denied(operation: &Operation) -> ErrorReply {
    ErrorReply::new(Code::NOT_WRITABLE_PRIMARY, "writes are disabled at the proxy")
        .with(labels(operation, Sent::Partly))
}

/// The error for a transaction that would write to a cluster which operations do not go to any more: nothing of it was committed, and nothing will be.
pub fn left_behind() -> ErrorReply {
    ErrorReply::new(Code::NO_SUCH_TRANSACTION, "the transaction was begun on a cluster that the proxy has left")
        .with(Labels::TRANSIENT_TRANSACTION)
}

/// The error for an operation whose connection failed before any byte of a reply came.
pub fn broken(operation: &Operation, breakage: Breakage, sent: Sent) -> ErrorReply {
    let (code, message) = match breakage {
        Breakage::Closed => (Code::HOST_UNREACHABLE, "the upstream connection was lost before the reply"),
        Breakage::TimedOut => (Code::NETWORK_TIMEOUT, "the upstream server did not reply in time"),
        Breakage::Violation => (Code::HOST_UNREACHABLE, "the upstream server sent what is no reply to this request"),
    };
    ErrorReply::new(code, message).with(labels(operation, sent))
}

fn labels(operation: &Operation, sent: Sent) -> Labels {
    match (operation.kind, sent) {
        (Kind::Commit, Sent::Wholly) => Labels::RETRYABLE_WRITE.and(Labels::UNKNOWN_COMMIT),
        // Drivers add `UnknownTransactionCommitResult` to a retryable error themselves.
        (Kind::Commit, Sent::Partly) | (Kind::Abort, _) => Labels::RETRYABLE_WRITE,
        _ if operation.in_transaction => Labels::TRANSIENT_TRANSACTION,
        (_, Sent::Wholly) if operation.is_retryable_write() => Labels::RETRYABLE_WRITE,
        (_, Sent::Partly) if operation.is_retryable_write() => Labels::RETRYABLE_WRITE.and(Labels::NO_WRITES),
        _ => Labels::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::facts::Command;

    const SESSION: Option<&[u8]> = Some(&[1; 16]);

    fn operation(name: &'static str, txn_number: Option<i64>, in_transaction: bool) -> Operation {
        Operation::of(&Command { name, session: SESSION, txn_number, in_transaction, ..Command::default() })
    }

    fn names(error: &ErrorReply) -> Vec<&'static str> {
        error.labels.names().collect()
    }

    #[test]
    fn labels_follow_the_specifications() {
        let closed = |operation: &Operation| names(&broken(operation, Breakage::Closed, Sent::Wholly));
        assert_eq!(closed(&operation("find", None, false)), [""; 0]);
        // Not retryable: no number.
        assert_eq!(closed(&operation("update", None, false)), [""; 0]);
        assert_eq!(closed(&operation("update", Some(1), false)), ["RetryableWriteError"]);
        assert_eq!(closed(&operation("update", Some(1), true)), ["TransientTransactionError"]);
        assert_eq!(closed(&operation("find", Some(1), true)), ["TransientTransactionError"]);
        assert_eq!(
            closed(&operation("commitTransaction", Some(1), true)),
            ["RetryableWriteError", "UnknownTransactionCommitResult"]
        );
        assert_eq!(closed(&operation("abortTransaction", Some(1), true)), ["RetryableWriteError"]);
        let partly = broken(&operation("insert", Some(1), false), Breakage::Closed, Sent::Partly);
        assert_eq!(names(&partly), ["RetryableWriteError", "NoWritesPerformed"]);
    }

    #[test]
    fn overload_is_retryable_for_old_and_new_drivers() {
        let error = not_sent(&operation("insert", Some(1), false), LeaseFailure::QueueTimeout);
        assert_eq!(error.code.0, 262);
        let expected = ["RetryableWriteError", "NoWritesPerformed", "SystemOverloadedError", "RetryableError"];
        assert_eq!(names(&error), expected);
        let error = not_sent(&operation("find", None, false), LeaseFailure::QueueFull);
        assert_eq!(names(&error), ["SystemOverloadedError", "RetryableError"]);
    }

    /// Server discovery specification, "not writable primary" and "node is recovering".
    #[test]
    fn only_a_connection_that_cannot_follow_makes_drivers_leave() {
        let state_changes = [10107, 13435, 10058, 11600, 11602, 13436, 189, 91];
        let find = operation("find", None, false);
        for why in
            [LeaseFailure::QueueTimeout, LeaseFailure::QueueFull, LeaseFailure::NoEndpoint, LeaseFailure::Connect]
        {
            assert!(!state_changes.contains(&not_sent(&find, why).code.0));
        }
        for breakage in [Breakage::Closed, Breakage::TimedOut, Breakage::Violation] {
            assert!(!state_changes.contains(&broken(&find, breakage, Sent::Wholly).code.0));
        }
        assert!(state_changes.contains(&not_sent(&find, LeaseFailure::Draining).code.0));
    }

    /// Retryable reads specification.
    #[test]
    fn reads_get_codes_that_drivers_retry() {
        let retryable = [262, 11600, 11602, 10107, 13435, 13436, 189, 134, 91, 7, 6, 89, 9001];
        let find = operation("find", None, false);
        for why in [LeaseFailure::QueueTimeout, LeaseFailure::NoEndpoint, LeaseFailure::Connect, LeaseFailure::Draining]
        {
            assert!(retryable.contains(&not_sent(&find, why).code.0));
        }
        for breakage in [Breakage::Closed, Breakage::TimedOut, Breakage::Violation] {
            assert!(retryable.contains(&broken(&find, breakage, Sent::Wholly).code.0));
        }
        assert!(!retryable.contains(&not_sent(&find, LeaseFailure::Authentication).code.0));
    }
}
