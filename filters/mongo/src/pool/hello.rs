//! Answers `hello`, `isMaster` and `ismaster` towards clients.
//!
//! A client sees one server, whatever stands behind: a service behind a load balancer, or a mongos. What it is told
//! holds for every server of the pool. Left out on purpose: `compression` (exchanges are cut at message boundaries and
//! looked into), `topologyVersion` (without it no driver waits on a `hello` or asks for a stream of them, so monitors
//! poll), hosts and set names (drivers would connect past us). Unknown fields of the request are tolerated.
//!
//! Sources: MongoDB's load balancer, handshake, and server discovery specifications.

use crate::bson::read::{elements, find};
use crate::bson::write::Document;
use crate::bson::{Broken, Value};

use super::errors::{Code, ErrorReply};
use super::fleet::Limits;
use super::scram::Hash;

/// What clients take us for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Persona {
    /// A load balancer for clients that say `loadBalanced: true`, a mongos for others. Both may be served at once since
    /// pins are to servers and not to client connections.
    #[default]
    Auto,
    /// A load balancer. A client whose first `hello` does not say `loadBalanced: true` gets the error that a server
    /// behind a balancer gives ([`Code::LOAD_BALANCER_MISMATCH`]).
    LoadBalanced,
    /// A mongos. A client that says `loadBalanced: true` gets no `serviceId`, on which its driver must complain.
    Mongos,
}

/// Configuration of the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloConfig {
    /// What clients take us for.
    pub persona: Persona,
    /// Identity of the service: by it drivers group connections whose pool they clear after an error. Must not change
    /// while the service runs.
    pub service_id: [u8; 12],
    /// Mechanisms that clients may authenticate with; empty if clients are trusted, then none are listed.
    pub mechanisms: Vec<Hash>,
}

/// Name that the request goes by, which decides about a field's name in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloName {
    /// `hello`.
    Hello,
    /// `isMaster` or `ismaster`.
    Legacy,
}

/// A client's `hello`.
#[derive(Debug, Clone, PartialEq)]
pub struct HelloRequest<'a> {
    /// Which of its names it goes by.
    pub name: HelloName,
    /// `loadBalanced: true`.
    pub load_balanced: bool,
    /// `helloOk: true`: the client asks whether it may say `hello` from now on.
    pub hello_ok: bool,
    /// `client.application.name`.
    pub application: Option<&'a str>,
    /// `client.driver.name`.
    pub driver: Option<&'a str>,
    /// `saslSupportedMechs`: the user ("database.user") whose mechanisms are asked for.
    pub mechanisms_of: Option<&'a str>,
    /// `speculativeAuthenticate`: the first step of an authentication, a document.
    pub speculative: Option<&'a [u8]>,
}

/// What differs from one answer to the next.
#[derive(Debug, Clone, Copy)]
pub struct HelloContext<'a> {
    /// Limits from [`super::fleet::Fleet::limits`].
    pub limits: Limits,
    /// Wall clock, milliseconds since 1970.
    pub now: i64,
    /// Number of the client's connection, for logs on both ends.
    pub connection_id: i32,
    /// Whether this is the connection's first `hello`; only that one has to say `loadBalanced`.
    pub first: bool,
    /// The answer to `speculativeAuthenticate`, a document, if clients authenticate here.
    pub speculative: Option<&'a [u8]>,
}

impl HelloName {
    /// The request of a command's name; none for other commands.
    pub fn of_command(name: &str) -> Option<Self> {
        match name {
            "hello" => Some(Self::Hello),
            "isMaster" | "ismaster" => Some(Self::Legacy),
            _ => None,
        }
    }
}

impl<'a> HelloRequest<'a> {
    /// One that asks for nothing.
    pub const fn plain(name: HelloName) -> Self {
        Self {
            name,
            load_balanced: false,
            hello_ok: false,
            application: None,
            driver: None,
            mechanisms_of: None,
            speculative: None,
        }
    }

    /// Reads the command's document.
    ///
    /// # Errors
    /// Not BSON, or another command.
    pub fn read(document: &'a [u8]) -> Result<Self, Broken> {
        let first = |document| elements(document).next().ok_or(Broken::End)?;
        // Once: what is wrapped again is none.
        let document = match first(document)? {
            ("$query" | "query", Value::Document(inner)) => inner,
            _ => document,
        };
        let mut request = Self::plain(HelloName::of_command(first(document)?.0).ok_or(Broken::End)?);
        for element in elements(document) {
            match element? {
                ("loadBalanced", value) => request.load_balanced = value.is_true(),
                ("helloOk", value) => request.hello_ok = value.is_true(),
                ("saslSupportedMechs", value) => request.mechanisms_of = value.str(),
                ("speculativeAuthenticate", Value::Document(start)) => request.speculative = Some(start),
                ("client", Value::Document(client)) => {
                    request.application = name_in(client, "application");
                    request.driver = name_in(client, "driver");
                }
                _ => {}
            }
        }
        Ok(request)
    }
}

impl HelloConfig {
    /// The answer's document.
    ///
    /// # Errors
    /// The error reply for a client that does not know that it speaks to a load balancer.
    pub fn answer(&self, request: &HelloRequest<'_>, context: &HelloContext<'_>) -> Result<Vec<u8>, ErrorReply> {
        let balancer = match self.persona {
            Persona::Auto => request.load_balanced,
            Persona::Mongos => false,
            // SERVER-58502: later ones on the same connection are not held to it.
            Persona::LoadBalanced if context.first && !request.load_balanced => {
                return Err(ErrorReply::new(
                    Code::LOAD_BALANCER_MISMATCH,
                    "The server is being accessed through a load balancer, but this driver does not have load \
                     balancing enabled",
                ));
            }
            Persona::LoadBalanced => true,
        };
        let limits = context.limits;
        let mut answer = Document::new();
        match request.name {
            HelloName::Hello => answer.bool("isWritablePrimary", true),
            HelloName::Legacy => answer.bool("ismaster", true),
        };
        if request.hello_ok {
            answer.bool("helloOk", true);
        }
        answer.string("msg", "isdbgrid");
        if balancer {
            answer.object_id("serviceId", self.service_id);
        }
        answer.int32("maxBsonObjectSize", limits.max_document).int32("maxMessageSizeBytes", limits.max_message);
        answer.int32("maxWriteBatchSize", limits.max_batch).datetime("localTime", context.now);
        if let Some(minutes) = limits.session_minutes {
            answer.int32("logicalSessionTimeoutMinutes", minutes);
        }
        answer.int32("connectionId", context.connection_id);
        answer.int32("minWireVersion", limits.min_wire_version).int32("maxWireVersion", limits.max_wire_version);
        answer.bool("readOnly", false);
        if request.mechanisms_of.is_some() && !self.mechanisms.is_empty() {
            // The same for every user: otherwise the answer tells which exist.
            answer.array("saslSupportedMechs", |names| {
                for hash in &self.mechanisms {
                    names.string(hash.mechanism());
                }
            });
        }
        if let Some(speculative) = context.speculative {
            answer.raw_document("speculativeAuthenticate", speculative);
        }
        answer.double("ok", 1.0);
        Ok(answer.finish())
    }
}

fn name_in<'a>(client: &'a [u8], part: &str) -> Option<&'a str> {
    if let Value::Document(part) = find(client, part)? { find(part, "name")?.str() } else { None }
}

#[cfg(test)]
#[path = "hello_tests.rs"]
mod tests;
