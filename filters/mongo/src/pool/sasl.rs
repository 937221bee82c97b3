//! SCRAM inside of MongoDB's commands: `saslStart`, `saslContinue` and their replies.

use crate::bson::Value;
use crate::bson::read::{elements, find};
use crate::bson::write::Document;

use super::scram::{Hash, MAX_MESSAGE};

/// A reply to `saslStart` or `saslContinue`, or the document `speculativeAuthenticate` in a reply to `hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslReply<'a> {
    /// `conversationId`.
    pub conversation: i32,
    /// `done`.
    pub done: bool,
    /// `payload`: a SCRAM message, at most [`MAX_MESSAGE`] bytes.
    pub payload: &'a [u8],
}

/// A `saslStart` or `saslContinue` of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaslCommand<'a> {
    /// Begins a conversation.
    Start {
        /// `mechanism`.
        mechanism: &'a str,
        /// `options.skipEmptyExchange`: the last reply may say `done` at once.
        skip_empty_exchange: bool,
        /// `payload`.
        payload: &'a [u8],
    },
    /// Goes on.
    Continue {
        /// `payload`.
        payload: &'a [u8],
    },
}

/// Writes `saslStart` into a document: the command itself, or the argument `speculativeAuthenticate`.
pub fn start(command: &mut Document, hash: Hash, payload: &[u8]) {
    command.int32("saslStart", 1).string("mechanism", hash.mechanism()).binary("payload", payload);
    // Saves a round trip; servers before 4.4 ignore it.
    command.document("options", |options| {
        options.bool("skipEmptyExchange", true);
    });
}

/// Writes `saslContinue` into a document.
pub fn resume(command: &mut Document, conversation: i32, payload: &[u8]) {
    command.int32("saslContinue", 1).int32("conversationId", conversation).binary("payload", payload);
}

/// The document of an answer to a client's conversation; `ok` is left out inside of `speculativeAuthenticate`.
pub fn answer(conversation: i32, done: bool, payload: &[u8], with_ok: bool) -> Vec<u8> {
    let mut document = Document::new();
    document.int32("conversationId", conversation).bool("done", done).binary("payload", payload);
    if with_ok {
        document.double("ok", 1.0);
    }
    document.finish()
}

impl<'a> SaslReply<'a> {
    /// Reads a reply's document; none if a field is missing or the payload is too long. `ok` is the caller's to check.
    pub fn read(document: &'a [u8]) -> Option<Self> {
        let conversation = i32::try_from(find(document, "conversationId")?.integer()?).ok()?;
        let done = find(document, "done")?.is_true();
        Some(Self { conversation, done, payload: payload(document)? })
    }
}

impl<'a> SaslCommand<'a> {
    /// Reads a client's command, or its `speculativeAuthenticate`; none if it is neither of the two.
    pub fn read(document: &'a [u8]) -> Option<Self> {
        let (name, _) = elements(document).next()?.ok()?;
        let payload = payload(document)?;
        match name {
            "saslStart" => {
                let skip = match find(document, "options") {
                    Some(Value::Document(options)) => find(options, "skipEmptyExchange").is_some_and(Value::is_true),
                    _ => false,
                };
                let mechanism = find(document, "mechanism")?.str()?;
                Some(Self::Start { mechanism, skip_empty_exchange: skip, payload })
            }
            "saslContinue" => Some(Self::Continue { payload }),
            _ => None,
        }
    }
}

fn payload(document: &[u8]) -> Option<&[u8]> {
    match find(document, "payload")? {
        Value::Binary(bytes) if bytes.len() <= MAX_MESSAGE => Some(bytes),
        // Old servers answer with text; it is the same message.
        Value::Text(text) if text.len() <= MAX_MESSAGE => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_replies_read_back() {
        let mut command = Document::new();
        start(&mut command, Hash::Sha256, b"n,,n=u,r=x");
        let command = command.finish();
        let expected =
            SaslCommand::Start { mechanism: "SCRAM-SHA-256", skip_empty_exchange: true, payload: b"n,,n=u,r=x" };
        assert_eq!(SaslCommand::read(&command), Some(expected));
        let mut command = Document::new();
        resume(&mut command, 4, b"c=");
        assert_eq!(SaslCommand::read(&command.finish()), Some(SaslCommand::Continue { payload: b"c=" }));
        let reply = answer(4, true, b"v=", true);
        assert_eq!(SaslReply::read(&reply), Some(SaslReply { conversation: 4, done: true, payload: b"v=" }));
    }

    #[test]
    fn payloads_are_bounded() {
        assert_eq!(SaslReply::read(&answer(1, false, &[0; MAX_MESSAGE + 1], true)), None);
        assert!(SaslReply::read(&answer(1, false, &[0; MAX_MESSAGE], true)).is_some());
    }
}
