//! What is known of a connection.

use fyke_sdk::Side;

use crate::flight::Flights;
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
    /// The application that the client said it is.
    pub application: Option<Label>,
    /// The server that it is connected to, once it has said something.
    pub server: Option<Label>,
    /// The client's address, once somebody asked for it.
    pub client: Option<String>,
    /// Where requests begin and end that do not go on, as far as they are not over.
    pub dropped: Vec<(u64, u64)>,
    /// Where the request begins about which a decision was made.
    pub decided: Option<u64>,
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

/// Where a stream is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// Bytes of it before those that are shown next.
    pub base: u64,
    /// Of those that are shown next, so many were seen already: they were held.
    pub seen: usize,
}
