//! One call of gRPC in both directions, over HTTP/2: messages behind five bytes (gRPC over HTTP/2, "Length-Prefixed-Message").

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;
use tokio::sync::mpsc;

use super::connect::Connection;

/// Requests that the control plane has not read: more than one for each type, and a control plane that reads none is broken.
const UNREAD: usize = 256;
/// A flag, and the length.
const PREFIX: usize = 5;

/// A task that ends with this.
pub(super) struct Guard<T>(pub tokio::task::JoinHandle<T>);

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Messages that are sent as they come.
pub(super) struct RequestBody(mpsc::Receiver<Bytes>);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|message| message.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Where requests go.
#[derive(Clone)]
pub(super) struct Requests(mpsc::Sender<Bytes>);

impl Requests {
    /// # Errors
    /// Nobody reads them.
    pub fn send(&self, message: &impl Message) -> Result<(), String> {
        let length = message.encoded_len();
        let mut frame = BytesMut::with_capacity(length + PREFIX);
        frame.put_u8(0);
        let Ok(told) = u32::try_from(length) else { return Err("a request is too large".to_owned()) };
        frame.put_u32(told);
        if message.encode(&mut frame).is_err() {
            return Err("a request cannot be written".to_owned());
        }
        self.0.try_send(frame.freeze()).map_err(|_| "the control plane does not read requests".to_owned())
    }
}

type Answer = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

/// Where responses come from.
pub(super) struct Responses {
    /// Until there are headers, which may come with the first message only.
    answer: Option<Answer>,
    body: Option<Incoming>,
    buffer: BytesMut,
    largest: usize,
}

/// Begins a call. `origin`: scheme and authority; `largest` bounds a message.
///
/// # Errors
/// The headers make no sense.
pub(super) fn call(
    connection: &Connection,
    path: &'static str,
    origin: &str,
    headers: &[(String, String)],
    largest: usize,
) -> Result<(Requests, Responses), String> {
    let (sender, receiver) = mpsc::channel(UNREAD);
    let mut request = Request::post(format!("{origin}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", concat!("fyke/", env!("CARGO_PKG_VERSION")))
        .body(RequestBody(receiver))
        .map_err(|error| error.to_string())?;
    for (name, value) in headers {
        let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
        let mut value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        request.headers_mut().append(name, value);
    }
    let mut sender_of_requests = connection.sender.clone();
    let answer = Box::pin(async move { sender_of_requests.send_request(request).await });
    Ok((Requests(sender), Responses { answer: Some(answer), body: None, buffer: BytesMut::new(), largest }))
}

impl Responses {
    /// The next message. Cancel-safe: what has come is kept.
    ///
    /// # Errors
    /// The call has ended, and how.
    pub async fn next(&mut self) -> Result<Bytes, String> {
        loop {
            if let Some(message) = self.whole()? {
                return Ok(message);
            }
            if let Some(answer) = &mut self.answer {
                let response = answer.await.map_err(|error| format!("the call failed: {}", causes(&error)));
                self.answer = None;
                let (head, body) = response?.into_parts();
                if head.status != StatusCode::OK {
                    return Err(format!("the control plane answered with status {}", head.status.as_u16()));
                }
                if let Some(end) = status(&head.headers) {
                    return Err(end);
                }
                self.body = Some(body);
                continue;
            }
            let Some(body) = &mut self.body else { return Err("the call is over".to_owned()) };
            match body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.put(data),
                    Err(frame) => {
                        self.body = None;
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return Err(status(&trailers).unwrap_or_else(|| "the call ended".to_owned()));
                    }
                },
                Some(Err(error)) => {
                    self.body = None;
                    return Err(format!("the connection was lost: {}", causes(&error)));
                }
                None => {
                    self.body = None;
                    return Err("the control plane ended the call".to_owned());
                }
            }
        }
    }

    fn whole(&mut self) -> Result<Option<Bytes>, String> {
        let Some((prefix, _)) = self.buffer.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let [compressed, length @ ..] = *prefix;
        if compressed != 0 {
            return Err("a message is compressed, which nobody has asked for".to_owned());
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > self.largest {
            return Err(format!("a message of {length} bytes is larger than the {} that are taken", self.largest));
        }
        if self.buffer.len() < PREFIX + length {
            self.buffer.reserve(PREFIX + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

/// How a call ended; `None`: headers do not say.
fn status(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status")?;
    let message: String = text("grpc-message").unwrap_or_default().chars().take(500).collect();
    Some(match (code, message.as_str()) {
        ("0", _) => "the control plane ended the call".to_owned(),
        ("12", message) => format!("the control plane does not implement the call (status 12): {message}"),
        (code, "") => format!("the control plane ended the call with status {code}"),
        (code, message) => format!("the control plane ended the call with status {code}: {message}"),
    })
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
