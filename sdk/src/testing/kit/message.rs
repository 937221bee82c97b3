//! What tests send, and what they look at.

use std::fmt;

use super::text::Text;
use crate::testing::world::Pair;

/// Headers, body in chunks, trailers.
#[derive(Clone, Default, PartialEq, Eq)]
pub(in crate::testing) struct Message {
    pub headers: Vec<Pair>,
    pub chunks: Vec<Vec<u8>>,
    pub trailers: Vec<Pair>,
}

pub(in crate::testing) fn pair(name: &str, value: impl AsRef<[u8]>) -> Pair {
    (name.to_ascii_lowercase().into_bytes(), value.as_ref().to_vec())
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(list(&self.headers).trim_start())?;
        if !self.chunks.is_empty() {
            write!(f, "\n  body in {} chunks: {:?}", self.chunks.len(), Text::new(&self.chunks.concat()))?;
        }
        if !self.trailers.is_empty() {
            write!(f, "\n  trailers:{}", list(&self.trailers))?;
        }
        Ok(())
    }
}

impl Message {
    fn set_body(&mut self, body: &[u8]) {
        self.headers.retain(|(name, _)| name != b"content-length");
        self.headers.push(pair("content-length", body.len().to_string()));
        self.chunks = if body.is_empty() { Vec::new() } else { vec![body.to_vec()] };
    }

    fn set_chunks(&mut self, chunks: Vec<Vec<u8>>) {
        self.headers.retain(|(name, _)| name != b"content-length");
        self.chunks = chunks;
    }

    fn values(&self, name: &str) -> Vec<Text<'_>> {
        values(&self.headers, name)
    }
}

fn values<'a>(pairs: &'a [Pair], name: &str) -> Vec<Text<'a>> {
    pairs
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| Text::new(value))
        .collect()
}

fn list(pairs: &[Pair]) -> String {
    pairs
        .iter()
        .fold(String::new(), |list, (name, value)| format!("{list}\n  {}: {}", Text::new(name), Text::new(value)))
}

/// The builder methods that requests and responses have in common.
macro_rules! builder {
    () => {
        /// Adds a header.
        #[must_use]
        pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
            self.message.headers.push(pair(name, value));
            self
        }

        /// The body, in one chunk, with its `content-length`.
        #[must_use]
        pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
            self.message.set_body(body.as_ref());
            self
        }

        /// The body in these chunks, without a `content-length`. Only the natively run ring delivers empty ones: HTTP cannot send them.
        #[must_use]
        pub fn chunks<C: AsRef<[u8]>>(mut self, chunks: impl IntoIterator<Item = C>) -> Self {
            self.message.set_chunks(chunks.into_iter().map(|chunk| chunk.as_ref().to_vec()).collect());
            self
        }

        /// Adds a trailer.
        #[must_use]
        pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
            self.message.trailers.push(pair(name, value));
            self
        }
    };
}

/// The accessors that everything received has in common.
macro_rules! accessors {
    () => {
        /// The first value of a header.
        ///
        /// # Panics
        /// When there is none; see `has_header`.
        #[must_use]
        #[track_caller]
        pub fn header(&self, name: &str) -> Text<'_> {
            match self.message.values(name).first() {
                Some(value) => *value,
                None => panic!("there is no header \"{name}\"; there are:{}", list(&self.message.headers)),
            }
        }

        /// Every value of a header, in order.
        #[must_use]
        pub fn values(&self, name: &str) -> Vec<Text<'_>> {
            self.message.values(name)
        }

        /// Whether there is such a header.
        #[must_use]
        pub fn has_header(&self, name: &str) -> bool {
            !self.message.values(name).is_empty()
        }

        /// The first value of a trailer.
        ///
        /// # Panics
        /// When there is none.
        #[must_use]
        #[track_caller]
        pub fn trailer(&self, name: &str) -> Text<'_> {
            match values(&self.message.trailers, name).first() {
                Some(value) => *value,
                None => panic!("there is no trailer \"{name}\"; there are:{}", list(&self.message.trailers)),
            }
        }

        /// The whole body.
        #[must_use]
        pub fn body(&self) -> Text<'_> {
            Text::new(&self.body)
        }
    };
}

/// A request of a client.
///
/// ```
/// use fyke_sdk::testing::TestRequest;
///
/// let request = TestRequest::post("/orders?dry=1").header("authorization", "token").body("three apples");
/// ```
#[derive(Debug, Clone)]
pub struct TestRequest {
    pub(in crate::testing) message: Message,
}

impl TestRequest {
    /// A request with this method and path, to `test.example`.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        let headers = vec![
            pair(":method", method),
            pair(":path", path),
            pair(":scheme", "http"),
            pair(":authority", "test.example"),
        ];
        Self { message: Message { headers, ..Message::default() } }
    }

    /// GET.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// POST.
    #[must_use]
    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    /// To whom; HTTP/1.1's `Host`. Default: `test.example`.
    #[must_use]
    pub fn authority(mut self, authority: &str) -> Self {
        self.message.headers.retain(|(name, _)| name != b":authority");
        self.message.headers.push(pair(":authority", authority));
        self
    }

    builder!();
}

/// What an upstream or a called cluster answers.
///
/// ```
/// use fyke_sdk::testing::TestResponse;
///
/// let answer = TestResponse::ok().header("x-user", "alice").body("fine");
/// let silence = TestResponse::hang();
/// ```
#[derive(Debug, Clone)]
pub struct TestResponse {
    pub(in crate::testing) message: Message,
    pub(in crate::testing) fate: Fate,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::testing) enum Fate {
    Answered,
    /// Nothing is ever said.
    Hangs,
    /// The connection breaks instead.
    Reset,
}

impl TestResponse {
    /// An empty answer with this status.
    #[must_use]
    pub fn new(status: u16) -> Self {
        let mut message = Message { headers: vec![pair(":status", status.to_string())], ..Message::default() };
        message.set_body(b"");
        Self { message, fate: Fate::Answered }
    }

    /// 200.
    #[must_use]
    pub fn ok() -> Self {
        Self::new(200)
    }

    /// No answer at all: time passes, until somebody's timeout.
    #[must_use]
    pub fn hang() -> Self {
        Self { fate: Fate::Hangs, ..Self::ok() }
    }

    /// The connection breaks in place of an answer.
    #[must_use]
    pub fn reset() -> Self {
        Self { fate: Fate::Reset, ..Self::ok() }
    }

    builder!();
}

/// A request, as an upstream or a called cluster got it.
#[derive(Clone)]
pub struct Received {
    message: Message,
    body: Vec<u8>,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

impl Received {
    pub(in crate::testing) fn new(message: Message) -> Self {
        let body = message.chunks.concat();
        Self { message, body }
    }

    /// `:method`.
    #[must_use]
    pub fn method(&self) -> Text<'_> {
        self.header(":method")
    }

    /// `:path`, with its query.
    #[must_use]
    pub fn path(&self) -> Text<'_> {
        self.header(":path")
    }

    /// `:authority`.
    #[must_use]
    pub fn authority(&self) -> Text<'_> {
        self.header(":authority")
    }

    accessors!();
}

/// What became of a request.
#[derive(Clone)]
pub struct Outcome {
    message: Message,
    body: Vec<u8>,
    upstream: Option<Received>,
    reset: bool,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the client got{}:\n  {:?}", if self.reset { " (and was cut off)" } else { "" }, self.message)?;
        match &self.upstream {
            Some(received) => write!(f, "\nthe upstream got:\n  {received:?}"),
            None => f.write_str("\nthe upstream got nothing"),
        }
    }
}

impl Outcome {
    pub(in crate::testing) fn new(message: Message, upstream: Option<Received>, reset: bool) -> Self {
        let body = message.chunks.concat();
        Self { message, body, upstream, reset }
    }

    /// The status that the client got.
    ///
    /// # Panics
    /// When the stream was reset before there was one.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> u16 {
        match std::str::from_utf8(self.header(":status").bytes()).ok().and_then(|status| status.parse().ok()) {
            Some(status) => status,
            None => panic!("the answer has no status: {self:?}"),
        }
    }

    /// The request as the upstream got it.
    ///
    /// # Panics
    /// When it never got there; see `reached_upstream`.
    #[must_use]
    #[track_caller]
    pub fn upstream(&self) -> &Received {
        match &self.upstream {
            Some(received) => received,
            None => panic!("the request did not reach the upstream; the client got:{}", list(&self.message.headers)),
        }
    }

    /// Whether the request reached the upstream.
    #[must_use]
    pub fn reached_upstream(&self) -> bool {
        self.upstream.is_some()
    }

    /// Whether the stream broke before the answer's end.
    #[must_use]
    pub fn was_reset(&self) -> bool {
        self.reset
    }

    accessors!();
}
