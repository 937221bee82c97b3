//! What goes over the pipe: JSON, one object a line. Bytes are strings with one character, U+0000 to U+00FF, for each.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a test wants done.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Order {
    /// The filter, with its configuration.
    Configure(Configure),
    /// Another configuration, for the streams to come.
    Reload {
        /// The configuration.
        config: Value,
        /// Clusters that it calls or routes to.
        clusters: Clusters,
    },
    /// A request. Answered with the stream's number.
    Start(Message),
    /// Whether a stream is over.
    Done(u32),
    /// What came of it.
    Finish(u32),
    /// A client connects, to a filter of TCP. Answered with the connection's number.
    Connect,
    /// One end of a connection says something.
    Send {
        /// Which connection.
        connection: u32,
        /// Which end.
        from: From,
        /// What.
        bytes: String,
        /// Whether that was all.
        end: bool,
    },
    /// What came out at the ends of a connection.
    Look(u32),
    /// The client goes away.
    Cancel(u32),
    /// So many nanoseconds pass.
    Advance(u64),
    /// What the filter counted.
    Metric {
        /// Name.
        name: String,
        /// Labels and their values.
        labels: Vec<(String, String)>,
    },
    /// What the filter logged.
    Logs,
    /// What the filter wrote to sinks.
    Records,
    /// How many streams are open.
    Streams,
}

/// A filter in its surroundings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Configure {
    /// Version of the SDK.
    pub sdk: String,
    /// Path of the module.
    pub module: String,
    /// What kind of filter it is.
    pub layer: Layer,
    /// Its configuration.
    pub config: Value,
    /// Clusters that it calls or routes to.
    pub clusters: Clusters,
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum From {
    /// The client's.
    Client,
    /// The upstream's.
    Upstream,
}

/// What kind of filter it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Layer {
    /// Of HTTP streams.
    Http,
    /// Of TCP connections.
    Tcp,
}

/// Clusters of a filter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clusters {
    /// It calls these.
    pub called: Vec<String>,
    /// It routes streams to these.
    pub routed: Vec<String>,
}

/// A request or an answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    /// Pseudo headers first.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub chunks: Vec<String>,
    /// Trailers.
    pub trailers: Vec<(String, String)>,
}

/// What a service says to a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// This.
    Message(Message),
    /// Nothing, ever.
    Hang,
    /// The stream breaks.
    Reset,
}

/// What a service says to messages of a gRPC call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrpcAnswer {
    /// Messages.
    pub messages: Vec<String>,
    /// The end.
    pub status: Option<(u32, String)>,
    /// Nothing, ever.
    pub hang: bool,
}

/// Bytes to text.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Text to bytes. What is no byte becomes a question mark.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}
