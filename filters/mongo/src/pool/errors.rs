//! Error replies of the proxy's own, in the form of a server's: `{ok: 0, errmsg, code, codeName, errorLabels}`.
//!
//! Codes and names are the server's (`src/mongo/base/error_codes.yml`), because drivers decide by them.

use crate::bson::write::Document;
use crate::wire::reply_flag::{AWAIT_CAPABLE, QUERY_FAILURE};
use crate::wire::write::{op_msg, op_reply};

use super::facts::Labels;

/// An error code with the name that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub i32, pub &'static str);

impl Code {
    /// The server cannot be reached. Retryable; does not mark the server (us) unknown in a driver.
    pub const HOST_UNREACHABLE: Self = Self(6, "HostUnreachable");
    /// Not allowed by policy.
    pub const UNAUTHORIZED: Self = Self(13, "Unauthorized");
    /// A credential was refused.
    pub const AUTHENTICATION_FAILED: Self = Self(18, "AuthenticationFailed");
    /// The server took too long. Retryable; does not mark the server unknown.
    pub const NETWORK_TIMEOUT: Self = Self(89, "NetworkTimeout");
    /// Drivers retry elsewhere, and leave: they mark the server unknown and clear their pool.
    pub const SHUTDOWN_IN_PROGRESS: Self = Self(91, "ShutdownInProgress");
    /// The command is known, but not here.
    pub const COMMAND_NOT_SUPPORTED: Self = Self(115, "CommandNotSupported");
    /// The transaction is none that goes on here.
    pub const NO_SUCH_TRANSACTION: Self = Self(251, "NoSuchTransaction");
    /// Time ran out before the operation began. Retryable; does not mark the server unknown.
    pub const EXCEEDED_TIME_LIMIT: Self = Self(262, "ExceededTimeLimit");
    /// Writes go elsewhere now. Retryable; drivers ask who takes them.
    pub const NOT_WRITABLE_PRIMARY: Self = Self(10107, "NotWritablePrimary");
    /// OP_QUERY is for `hello` only.
    pub const UNSUPPORTED_OP_QUERY: Self = Self(352, "UnsupportedOpQueryCommand");
    /// A client without `loadBalanced=true` where it is needed.
    pub const LOAD_BALANCER_MISMATCH: Self = Self(354, "LoadBalancerSupportMismatch");
}

/// How the request came, which decides about the form of its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OP_MSG.
    Message,
    /// A command in an OP_QUERY on `<database>.$cmd`.
    QueryCommand,
    /// A query in an OP_QUERY on a collection.
    QueryFind,
}

/// An error reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    /// Code and name.
    pub code: Code,
    /// For people; must not quote secrets.
    pub message: String,
    /// Labels that drivers act by.
    pub labels: Labels,
}

impl ErrorReply {
    /// An error without labels.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), labels: Labels::NONE }
    }

    /// The same with labels added.
    #[must_use]
    pub fn with(mut self, labels: Labels) -> Self {
        self.labels = self.labels.and(labels);
        self
    }

    /// The reply's document.
    pub fn document(&self) -> Vec<u8> {
        let mut document = Document::new();
        document.double("ok", 0.0).string("errmsg", &self.message).int32("code", self.code.0);
        document.string("codeName", self.code.1);
        if self.labels != Labels::NONE {
            document.array("errorLabels", |array| {
                for name in self.labels.names() {
                    array.string(name);
                }
            });
        }
        document.finish()
    }

    /// The whole reply message to the request `response_to`.
    pub fn message(&self, form: Form, request_id: i32, response_to: i32) -> Vec<u8> {
        match form {
            Form::Message | Form::QueryCommand => reply(form, request_id, response_to, &self.document()),
            Form::QueryFind => {
                let mut document = Document::new();
                document.string("$err", &self.message).int32("code", self.code.0).double("ok", 0.0);
                op_reply(request_id, response_to, QUERY_FAILURE | AWAIT_CAPABLE, &document.finish())
            }
        }
    }
}

/// A whole reply message with this document.
pub fn reply(form: Form, request_id: i32, response_to: i32, document: &[u8]) -> Vec<u8> {
    match form {
        Form::Message => op_msg(request_id, response_to, 0, document),
        Form::QueryCommand | Form::QueryFind => op_reply(request_id, response_to, AWAIT_CAPABLE, document),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bson::Value;
    use crate::bson::read::find;
    use crate::pool::facts::Reply;

    #[test]
    fn has_the_form_of_a_servers_error() {
        let labels = Labels::RETRYABLE_WRITE.and(Labels::NO_WRITES);
        let error = ErrorReply::new(Code::HOST_UNREACHABLE, "gone").with(labels);
        let document = error.document();
        let read = Reply::read(&document).unwrap();
        assert_eq!((read.ok, read.code, read.labels), (false, Some(6), labels));
        assert_eq!(find(&document, "codeName"), Some(Value::Text(b"HostUnreachable")));
        assert_eq!(find(&document, "errmsg"), Some(Value::Text(b"gone")));
        let message = error.message(Form::Message, 1, 2);
        assert_eq!(&message[21..], document);
        assert_eq!(&error.message(Form::QueryCommand, 1, 2)[36..], document);
    }

    #[test]
    fn a_legacy_query_fails_by_flag() {
        let message = ErrorReply::new(Code::UNSUPPORTED_OP_QUERY, "old").message(Form::QueryFind, 1, 2);
        assert_eq!(message[16], 0b1010);
        assert_eq!(find(&message[36..], "$err"), Some(Value::Text(b"old")));
        assert_eq!(find(&ErrorReply::new(Code::UNAUTHORIZED, "").document(), "errorLabels"), None);
    }
}
