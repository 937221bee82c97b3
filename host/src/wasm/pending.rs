//! Callouts that a guest begins while it is configured: there is no worker yet to make them, so they wait for its instance to serve.

use std::rc::Rc;

use bytes::Bytes;
use fyke_engine::{ContextId, Status};

use super::{
    call_out::{self, PendingCall},
    env::Env,
    grpc::{self, Asked},
    vm::{Slot, Vm},
};
use crate::callout::{grpc::frame, http};

/// Callouts that one instance may begin before it serves.
const MOST_CALLS: usize = 64;
/// Messages of their streams. With the calls themselves fewer than an instance may have waiting.
const MOST_MESSAGES: usize = 1024;
/// Bytes that all of it may keep, less than an instance may.
const MOST_BYTES: usize = 31 * 1024 * 1024;

/// Callouts that wait.
#[derive(Debug, Default)]
pub struct Pending {
    calls: Vec<Call>,
    last_token: u32,
    bytes: usize,
    sent: usize,
}

#[derive(Debug)]
enum Call {
    Http(PendingCall),
    Grpc { root: ContextId, token: u32, asked: Asked, messages: Vec<Bytes>, open: bool },
}

impl Pending {
    /// The token that the instance gives out next.
    #[must_use]
    pub fn next_token(&self) -> u32 {
        self.last_token + 1
    }

    /// `proxy_http_call`
    ///
    /// # Errors
    /// `InternalFailure`: there are too many.
    pub fn http(&mut self, root: ContextId, request: http::Request) -> Result<u32, Status> {
        let token = self.room(request.size())?;
        self.calls.push(Call::Http(PendingCall { root, token, request }));
        Ok(token)
    }

    /// `proxy_grpc_call` and `proxy_grpc_stream`
    ///
    /// # Errors
    /// `InternalFailure`: there are too many.
    pub fn grpc(&mut self, root: ContextId, asked: Asked) -> Result<u32, Status> {
        let token = self.room(asked.size())?;
        let open = asked.is_stream();
        self.calls.push(Call::Grpc { root, token, asked, messages: Vec::new(), open });
        Ok(token)
    }

    /// `proxy_grpc_send`
    pub fn send(&mut self, token: u32, message: &[u8], last: bool) -> Status {
        let message = frame(message);
        let (sent, bytes) = (self.sent + 1, self.bytes.saturating_add(message.len()));
        let Some(Call::Grpc { messages, open, .. }) = self.find(token) else { return Status::NotFound };
        if !*open || bytes > MOST_BYTES || sent > MOST_MESSAGES {
            return Status::BadArgument;
        }
        messages.push(message);
        *open = !last;
        (self.sent, self.bytes) = (sent, bytes);
        Status::Ok
    }

    /// `proxy_grpc_close`
    pub fn half_close(&mut self, token: u32) -> Status {
        let Some(Call::Grpc { open, .. }) = self.find(token) else { return Status::NotFound };
        *open = false;
        Status::Ok
    }

    /// `proxy_grpc_cancel`
    pub fn cancel(&mut self, token: u32) -> Status {
        let before = self.calls.len();
        self.calls.retain(|call| !matches!(call, Call::Grpc { token: other, .. } if *other == token));
        if self.calls.len() < before { Status::Ok } else { Status::NotFound }
    }

    /// Makes all of them.
    pub(super) fn begin(self, vm: &Rc<Vm>, slot: &Rc<Slot>, env: &Rc<Env>) {
        for call in self.calls {
            match call {
                Call::Http(call) => {
                    if let Some(place) = slot.room_for_call(call.request.size()) {
                        call_out::begin(vm, slot, env, call, place);
                    }
                }
                Call::Grpc { root, token, asked, messages, open } => {
                    let stream = asked.is_stream();
                    if let Some(place) = slot.room_for_call(asked.size()) {
                        grpc::begin((vm, slot, env), (root, token), asked, place);
                    }
                    for message in messages {
                        grpc::send(slot, token, message, false);
                    }
                    if stream && !open {
                        grpc::half_close(slot, token);
                    }
                }
            }
        }
    }

    fn room(&mut self, size: usize) -> Result<u32, Status> {
        let bytes = self.bytes.saturating_add(size);
        if self.calls.len() >= MOST_CALLS || bytes > MOST_BYTES {
            return Err(Status::InternalFailure);
        }
        self.bytes = bytes;
        self.last_token += 1;
        Ok(self.last_token)
    }

    fn find(&mut self, token: u32) -> Option<&mut Call> {
        self.calls.iter_mut().find(|call| matches!(call, Call::Grpc { token: other, .. } if *other == token))
    }
}
