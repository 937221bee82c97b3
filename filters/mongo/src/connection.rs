//! What is known of a connection.

use fyke_sdk::Side;

use crate::flight::Flights;
use crate::identity::Identity;
use crate::memory::Share;
use crate::message::Name;
use crate::message::reply::Reply;
use crate::message::request::Request;
use crate::pool::link::Link;
use crate::series::Label;
use crate::wire::frames::Frames;

/// A connection.
#[derive(Debug, Default)]
pub struct Connection {
    /// What the client says.
    pub requests: Frames<Request>,
    /// What the server says.
    pub replies: Frames<Reply>,
    /// Where the streams are.
    pub downstream: Place,
    pub upstream: Place,
    /// Operations that wait.
    pub flights: Flights,
    /// What is kept of messages.
    pub share: Share,
    /// The application that the client said it is, as it is counted.
    pub application: Option<Label>,
    /// The same, as it was said: by that it is judged.
    pub application_name: Name,
    /// The server that it is connected to, once it has said something.
    pub server: Option<Label>,
    /// The client's address, once somebody asked for it.
    pub client: Option<String>,
    /// As whom it has logged in.
    pub identity: Identity,
    /// The subject of the client's certificate, once somebody asked for it.
    pub subject: Option<Box<str>>,
    /// Where requests begin and end that do not go on, as far as they are not over.
    pub dropped: Vec<(u64, u64)>,
    /// Where the request begins about which a decision was made.
    pub decided: Option<u64>,
    /// The request at hand is known and has waited on purpose.
    pub is_delayed: bool,
    /// Replies of our own that wait until the server's reply at hand is at its end.
    pub late: Vec<u8>,
    /// The number of our next own reply.
    pub number: i32,
    /// A client of the pool.
    pub link: Option<Box<Link>>,
    /// Requests know what to look for.
    pub is_ready: bool,
    /// Which side ended first.
    pub ended: Option<Side>,
    /// It is over.
    pub is_closing: bool,
}

impl Connection {
    /// As whom the client has logged in, or what its certificate says; empty: as nobody.
    #[must_use]
    pub fn user(&self) -> &str {
        let user = self.identity.user();
        if user.is_empty() { self.subject.as_deref().unwrap_or_default() } else { user }
    }

    /// The client's address without its port: of `[::1]:9` what is between the brackets.
    #[must_use]
    pub fn address(&self) -> &str {
        let client = self.client.as_deref().unwrap_or_default();
        let host = client.rsplit_once(':').map_or(client, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// Where a stream is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// Bytes of it before those that are shown next.
    pub base: u64,
    /// Of those that are shown next, so many were seen already: they were held.
    pub seen: usize,
}
