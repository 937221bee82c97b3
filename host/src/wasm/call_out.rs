//! `proxy_http_call`: from what a guest asked to the answer in its hands.

use std::{cell::Cell, rc::Rc};

use bytes::{Bytes, BytesMut};
use fyke_engine::{ContextId, HttpCall, Map, Status};
use http::HeaderMap;
use tokio::sync::Notify;

use super::{
    call::Call,
    env::Env,
    grants::{Capability, Grants},
    maps::{Fields, RequestHead, ResponseHead},
    vm::{Slot, Vm},
};
use crate::{callout, config::resolved};

/// A callout's answer, readable while it is delivered.
#[derive(Debug, Default)]
pub struct Answer {
    /// Head; the `:status` pseudo header comes first.
    pub head: ResponseHead,
    /// Body.
    pub body: BytesMut,
    /// Trailers.
    pub trailers: HeaderMap,
}

/// A callout that a guest asked for.
#[derive(Debug)]
pub struct PendingCall {
    /// The plugin context that gets the answer.
    pub root: ContextId,
    /// Its token.
    pub token: u32,
    /// The request.
    pub request: callout::http::Request,
}

/// Checks what a guest asks and copies it out of its memory.
///
/// # Errors
/// `BadArgument` when the cluster is not granted or the headers do not make a request.
pub fn callout_request(
    grants: &Grants,
    settings: Option<&resolved::Filter>,
    call: &HttpCall<'_>,
) -> Result<callout::http::Request, Status> {
    let cluster = std::str::from_utf8(call.cluster).map_err(|_| Status::BadArgument)?;
    if !grants.allow(settings, Capability::Clusters, cluster.as_bytes()) {
        return Err(Status::BadArgument);
    }
    let mut head = RequestHead::new(
        http::Method::GET,
        http::uri::PathAndQuery::from_static("/"),
        http::uri::Scheme::HTTP,
        HeaderMap::with_capacity(call.headers.len()),
    );
    for (key, value) in call.headers {
        Map::add(&mut head, key, value).map_err(|_| Status::BadArgument)?;
    }
    let mut trailers = HeaderMap::new();
    for (key, value) in call.trailers {
        Fields(&mut trailers).add(key, value).map_err(|_| Status::BadArgument)?;
    }
    Ok(callout::http::Request {
        cluster: cluster.to_owned(),
        method: head.method,
        path: head.path,
        scheme: head.scheme,
        fields: head.fields,
        body: Bytes::copy_from_slice(call.body),
        trailers,
        timeout: call.timeout,
    })
}

/// Callouts of one instance that may wait for their answers at the same time.
const MOST_CALLS: usize = 4096;
/// Bytes that their requests may keep meanwhile.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// The callouts of one instance that wait for their answers.
#[derive(Debug, Default)]
pub struct Waiting {
    calls: Cell<usize>,
    bytes: Cell<usize>,
    /// Nobody waits any more: the instance has trapped, or is gone.
    over: Cell<bool>,
    told: Notify,
}

/// One of them.
#[derive(Debug)]
pub struct Place {
    of: Rc<Waiting>,
    bytes: usize,
}

impl Waiting {
    /// Room for one more of this size, while it waits.
    pub fn enter(self: &Rc<Self>, bytes: usize) -> Option<Place> {
        let (calls, held) = (self.calls.get() + 1, self.bytes.get().saturating_add(bytes));
        if calls > MOST_CALLS || held > MOST_BYTES {
            return None;
        }
        self.calls.set(calls);
        self.bytes.set(held);
        Some(Place { of: Rc::clone(self), bytes })
    }

    /// Ends all of them, those included whose tasks have not begun.
    pub fn end(&self) {
        self.over.set(true);
        self.told.notify_waiters();
    }
}

impl Place {
    /// Waits until nobody wants the answer any more.
    pub(super) async fn over(&self) {
        let told = self.of.told.notified();
        // The end may have come between the guest's call and the first turn of the task that makes it.
        if !self.of.over.get() {
            told.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.calls.set(self.of.calls.get().saturating_sub(1));
        self.of.bytes.set(self.of.bytes.get().saturating_sub(self.bytes));
    }
}

/// Sends a callout and gives its answer to the guest. When the instance traps meanwhile, the call is dropped.
pub fn begin(vm: &Rc<Vm>, slot: &Rc<Slot>, env: &Rc<Env>, call: PendingCall, place: Place) {
    let vm = Rc::clone(vm);
    let env = Rc::clone(env);
    let slot = Rc::downgrade(slot);
    vm.metrics().calls.inc();
    tokio::task::spawn_local(async move {
        let made = async {
            match env.clusters.get(&call.request.cluster) {
                Some(cluster) => callout::http::call(&cluster, call.request).await,
                None => Err(callout::http::CallError::UnknownCluster),
            }
        };
        let answer = tokio::select! {
            biased;
            () = place.over() => return,
            answer = made => answer,
        };
        drop(place);
        let Some(slot) = slot.upgrade() else { return };
        deliver(&vm, &slot, &env, (call.root, call.token), answer);
    });
}

fn deliver(
    vm: &Rc<Vm>,
    slot: &Rc<Slot>,
    env: &Rc<Env>,
    (root, token): (ContextId, u32),
    answer: Result<callout::http::Answer, callout::http::CallError>,
) {
    let mut answer = match answer {
        Ok(answer) => Some(Answer {
            head: ResponseHead { status: answer.status, fields: answer.fields },
            body: answer.body,
            trailers: answer.trailers,
        }),
        Err(error) => {
            vm.metrics().failed_calls.inc();
            tracing::debug!(filter = &*vm.name, "callout failed: {error}");
            None
        }
    };
    let (headers, body, trailers) =
        answer.as_ref().map_or((0, 0, 0), |answer| (answer.head.len(), answer.body.len(), answer.trailers.len()));
    let result = {
        let mut host = Call::for_answer(env, vm, slot, answer.as_mut());
        slot.enter(|instance| instance.on_http_call_response(&mut host, root, token, headers, body, trailers))
    };
    if let Some(Err(trap)) = result {
        vm.trapped(slot, env, &trap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callouts_that_wait_are_bounded_by_number_and_by_bytes() {
        let waiting = Rc::new(Waiting::default());
        let places: Vec<_> = (0..MOST_CALLS).map_while(|_| waiting.enter(1)).collect();
        assert_eq!(places.len(), MOST_CALLS);
        assert!(waiting.enter(1).is_none());
        drop(places);
        let large = waiting.enter(MOST_BYTES).unwrap();
        assert!(waiting.enter(1).is_none());
        drop(large);
        assert!(waiting.enter(MOST_BYTES + 1).is_none());
        assert!(waiting.enter(1).is_some());
    }

    #[tokio::test]
    async fn a_callout_of_an_instance_that_has_trapped_ends_though_it_had_not_begun() {
        let waiting = Rc::new(Waiting::default());
        let place = waiting.enter(1).unwrap();
        waiting.end();
        assert!(tokio::time::timeout(std::time::Duration::from_secs(5), place.over()).await.is_ok());
    }
}
