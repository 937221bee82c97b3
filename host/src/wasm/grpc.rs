//! `proxy_grpc_call`, `proxy_grpc_stream` and what belongs to them: from what a guest asked to the events in its hands.

use std::{rc::Rc, time::Duration};

use bytes::{Bytes, BytesMut};
use fyke_engine::{ContextId, GrpcCall, Instance, Status, Trap};
use http::{HeaderMap, HeaderName, HeaderValue, uri::PathAndQuery};
use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    call::Call,
    call_out::Place,
    env::Env,
    protobuf,
    vm::{Slot, Vm},
};
use crate::{
    callout::grpc::{self, Event},
    cluster::RequestBody,
};

/// What of a call is readable while an event of it is delivered.
#[derive(Debug, Default)]
pub struct Received {
    /// Initial metadata.
    pub initial: HeaderMap,
    /// The message.
    pub message: BytesMut,
    /// Messages that came so far, of a unary call.
    pub messages: u32,
    /// Trailing metadata.
    pub trailing: HeaderMap,
    /// `proxy_get_status`
    pub status: Option<grpc::Status>,
}

/// A call that goes on.
#[derive(Debug)]
pub struct Open {
    /// Takes messages, until the guest has sent its last one. A unary call has sent it already.
    messages: Option<mpsc::UnboundedSender<(Bytes, Place)>>,
    task: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A call that a guest asked for, copied out of its memory.
#[derive(Debug)]
pub struct Asked {
    cluster: String,
    request: grpc::Request,
    /// Of a unary call.
    message: Option<Bytes>,
}

/// Checks what a guest asks.
///
/// # Errors
/// `ParseFailure` when there is no such cluster, or the words make no call.
pub fn asked(call: &GrpcCall<'_>) -> Result<Asked, Status> {
    let cluster = protobuf::cluster_name(call.cluster).ok_or(Status::ParseFailure)?.to_owned();
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Status::ParseFailure);
    let path = format!("/{}/{}", text(call.service)?, text(call.method)?);
    let path = PathAndQuery::try_from(path).map_err(|_| Status::ParseFailure)?;
    let mut metadata = HeaderMap::with_capacity(call.metadata.len());
    for (name, value) in call.metadata {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else { continue };
        if !is_the_hosts(&name) {
            let _ = metadata.try_append(name, value);
        }
    }
    let request = grpc::Request { path, metadata, timeout: call.timeout.filter(|limit| *limit > Duration::ZERO) };
    Ok(Asked { cluster, request, message: call.message.map(grpc::frame) })
}

impl Asked {
    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Whether messages are sent one by one.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.message.is_none()
    }

    /// Bytes that it keeps until it is answered.
    #[must_use]
    pub fn size(&self) -> usize {
        let fields: usize = self.request.metadata.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        self.message.as_ref().map_or(0, Bytes::len) + fields
    }
}

/// Fields that frame or route the call.
fn is_the_hosts(name: &HeaderName) -> bool {
    use http::header;
    let own = [
        header::HOST,
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::TE,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
    ];
    own.contains(name) || name == "grpc-timeout"
}

/// Starts a call. When the instance traps meanwhile, it is dropped.
pub fn begin(
    (vm, slot, env): (&Rc<Vm>, &Rc<Slot>, &Rc<Env>),
    (root, token): (ContextId, u32),
    asked: Asked,
    place: Place,
) {
    vm.metrics().calls.inc();
    let unary = asked.message.is_some();
    let (body, messages) = match asked.message {
        Some(message) => (RequestBody::Full { bytes: Some(message), trailers: None }, None),
        None => {
            let (sender, receiver) = mpsc::unbounded_channel();
            (RequestBody::Stream(Box::pin(grpc::Messages(receiver))), Some(sender))
        }
    };
    let deliver = Deliver { vm: Rc::clone(vm), slot: Rc::downgrade(slot), env: Rc::clone(env), root, token };
    let (name, request) = (asked.cluster, asked.request);
    let task = tokio::task::spawn_local(async move {
        let mut received = Received::default();
        let made = async {
            match deliver.env.clusters.get(&name) {
                Some(cluster) => {
                    grpc::call(&cluster, request, body, |event| deliver.event(&mut received, unary, event)).await
                }
                None => grpc::Status { code: 14, message: format!("there is no cluster {name}") },
            }
        };
        let status = tokio::select! {
            biased;
            () = place.over() => return,
            status = made => status,
        };
        drop(place);
        deliver.end(received, unary, status);
    });
    slot.grpc.borrow_mut().insert(token, Open { messages, task: task.abort_handle() });
}

/// `proxy_grpc_send`, of a message in its frame.
pub fn send(slot: &Slot, token: u32, message: Bytes, last: bool) -> Status {
    let mut calls = slot.grpc.borrow_mut();
    let Some(open) = calls.get_mut(&token) else { return Status::NotFound };
    let Some(messages) = &open.messages else { return Status::BadArgument };
    let Some(place) = slot.room_for_call(message.len()) else { return Status::BadArgument };
    let sent = messages.send((message, place));
    if last {
        open.messages = None;
    }
    if sent.is_ok() { Status::Ok } else { Status::BadArgument }
}

/// `proxy_grpc_close`: nothing more is sent; what comes back still does.
pub fn half_close(slot: &Slot, token: u32) -> Status {
    match slot.grpc.borrow_mut().get_mut(&token) {
        Some(open) => {
            open.messages = None;
            Status::Ok
        }
        None => Status::NotFound,
    }
}

/// `proxy_grpc_cancel`: the call is over, and nobody hears of it.
pub fn cancel(slot: &Slot, token: u32) -> Status {
    let open = slot.grpc.borrow_mut().remove(&token);
    if open.is_some() { Status::Ok } else { Status::NotFound }
}

/// Where events go.
struct Deliver {
    vm: Rc<Vm>,
    slot: std::rc::Weak<Slot>,
    env: Rc<Env>,
    root: ContextId,
    token: u32,
}

impl Deliver {
    /// Gives one event to the guest; a unary call has none before its end. Returns whether anybody still listens.
    fn event(&self, received: &mut Received, unary: bool, event: Event) -> bool {
        let (root, token) = (self.root, self.token);
        if unary {
            if let Event::Message(message) = event {
                received.message = message;
                received.messages += 1;
            }
            return true;
        }
        match event {
            Event::Initial(fields) => {
                let count = fields.len();
                received.initial = fields;
                self.enter(received, |instance, call| {
                    instance.on_grpc_receive_initial_metadata(call, root, token, count)
                })
            }
            Event::Message(message) => {
                let size = message.len();
                received.message = message;
                self.enter(received, |instance, call| instance.on_grpc_receive(call, root, token, size))
            }
            Event::Trailing(fields) => {
                let count = fields.len();
                received.trailing = fields;
                self.enter(received, |instance, call| {
                    instance.on_grpc_receive_trailing_metadata(call, root, token, count)
                })
            }
        }
    }

    /// The last that a guest hears of a call: the message of a unary one that went well, else its status.
    fn end(&self, mut received: Received, unary: bool, mut status: grpc::Status) {
        if unary && status.code == 0 && received.messages != 1 {
            let message = format!("{} messages came back instead of one", received.messages);
            status = grpc::Status { code: grpc::INTERNAL, message };
        }
        let (root, token, code) = (self.root, self.token, status.code);
        // Out of the list first: the guest may begin another call, and has nothing to cancel here any more.
        let Some(open) = self.slot.upgrade().and_then(|slot| slot.grpc.borrow_mut().remove(&token)) else { return };
        if code != 0 {
            self.vm.metrics().failed_calls.inc();
            tracing::debug!(filter = &*self.vm.name, code, "gRPC call failed: {}", status.message);
        }
        let size = received.message.len();
        received.status = Some(status);
        if unary && code == 0 {
            self.enter(&mut received, |instance, call| instance.on_grpc_receive(call, root, token, size));
        } else {
            self.enter(&mut received, |instance, call| instance.on_grpc_close(call, root, token, code));
        }
        drop(open);
    }

    fn enter(&self, received: &mut Received, f: impl FnOnce(&mut Instance, &mut Call<'_>) -> Result<(), Trap>) -> bool {
        let Some(slot) = self.slot.upgrade() else { return false };
        let mut call = Call::for_grpc(&self.env, &self.vm, &slot, received);
        match slot.enter(|instance| f(instance, &mut call)) {
            Some(Ok(())) => slot.grpc.borrow().contains_key(&self.token),
            Some(Err(trap)) => {
                self.vm.trapped(&slot, &self.env, &trap);
                false
            }
            None => false,
        }
    }
}
