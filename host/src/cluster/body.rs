//! Bodies on their way to an endpoint.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// Any error of a body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Full { .. } => "Full",
            Self::Stream(_) => "Stream",
        })
    }
}

/// A request's body. The usual one is empty and costs nothing.
pub enum RequestBody {
    /// None.
    Empty,
    /// All there already: what filters send.
    Full {
        /// The bytes, until they have been taken.
        bytes: Option<Bytes>,
        /// Sent after them. Boxed, because a body is moved several times and hardly ever has any.
        trailers: Option<Box<HeaderMap>>,
    },
    /// Flowing.
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full { bytes, trailers } => Poll::Ready(
                bytes
                    .take()
                    .filter(|bytes| !bytes.is_empty())
                    .map(Frame::data)
                    .or_else(|| trailers.take().map(|trailers| Frame::trailers(*trailers)))
                    .map(Ok),
            ),
            Self::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full { bytes, trailers } => bytes.as_ref().is_none_or(Bytes::is_empty) && trailers.is_none(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full { bytes, trailers: None } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Full { .. } => SizeHint::default(),
            Self::Stream(body) => body.size_hint(),
        }
    }
}
