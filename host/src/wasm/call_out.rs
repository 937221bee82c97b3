//! `proxy_http_call`: from what a guest asked to the answer in its hands.

use std::rc::Rc;

use bytes::Bytes;
use fyke_engine::{ContextId, HttpCall, Map, Status};
use http::HeaderMap;

use super::{
    call::{Answer, Call},
    env::Env,
    maps::{Fields, RequestHead, ResponseHead},
    vm::{Slot, Vm},
};
use crate::{callout, config::resolved};

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
pub fn callout_request(allow: Option<&resolved::Allow>, call: &HttpCall<'_>) -> Result<callout::http::Request, Status> {
    let cluster = std::str::from_utf8(call.cluster).map_err(|_| Status::BadArgument)?;
    if !allow.is_some_and(|allow| allow.clusters.iter().any(|granted| granted == cluster)) {
        tracing::warn!(target: "fyke::filter", cluster, "callout refused: the filter may not use this cluster; grant it with `allow: {{ clusters: [{cluster}] }}`");
        return Err(Status::BadArgument);
    }
    let mut head = RequestHead {
        method: http::Method::GET,
        path: http::uri::PathAndQuery::from_static("/"),
        scheme: http::uri::Scheme::HTTP,
        fields: HeaderMap::with_capacity(call.headers.len()),
    };
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

/// Sends a callout and gives its answer to the guest.
pub fn begin(vm: &Rc<Vm>, slot: &Rc<Slot>, env: &Rc<Env>, call: PendingCall) {
    let vm = Rc::clone(vm);
    let env = Rc::clone(env);
    let slot = Rc::downgrade(slot);
    vm.metrics().calls.inc();
    tokio::task::spawn_local(async move {
        let answer = match env.clusters.get(&call.request.cluster) {
            Some(cluster) => callout::http::call(cluster, call.request).await,
            None => Err(callout::http::CallError::UnknownCluster),
        };
        let Some(slot) = slot.upgrade() else { return };
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
            let mut host = Call::for_answer(&env, &vm, &slot, answer.as_mut());
            slot.enter(|instance| {
                instance.on_http_call_response(&mut host, call.root, call.token, headers, body, trailers)
            })
        };
        if let Some(Err(trap)) = result {
            vm.trapped(&slot, &env, &trap);
        }
    });
}
