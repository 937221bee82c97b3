//! What a route asks for beyond a cluster and a timeout: which endpoint, further attempts, copies.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use http::HeaderMap;

use super::stream::Stream;
use crate::{
    cluster::{Choice, choice::Priority, lease::Lease, local::LocalCluster},
    config::resolved::ClusterProtocol,
    upstream::{
        Outgoing, RetryPolicy, UpstreamError,
        dispatch::Answered,
        execute::{Observer, Order, execute},
        mirror::Mirror,
    },
    wasm::trace::{CANCELLED, Trace},
};

/// More than sending a request once.
pub(super) struct Policy {
    retry: Arc<RetryPolicy>,
    hedges: bool,
    counts: bool,
    mirrors: Vec<Mirror>,
}

/// Which endpoint the stream's route asks for. Most ask for none: boxed, because all carry the room for it.
pub(super) fn choice(stream: &Stream) -> Option<Box<Choice>> {
    let exchange = stream.exchange.borrow();
    let selection = exchange.selection.as_ref()?;
    let action = &selection.route.action;
    let asks = selection.hash.is_some()
        || selection.endpoint.is_some()
        || action.endpoint_labels.is_some()
        || action.auto_host
        || action.priority != Priority::Default;
    let choice = || {
        Box::new(Choice {
            hash: selection.hash,
            endpoint: selection.endpoint,
            labels: action.endpoint_labels.clone(),
            presents_host: action.auto_host,
            priority: action.priority,
            ..Choice::default()
        })
    };
    asks.then(choice)
}

/// What else the stream's route asks for. `fields` are the request's.
pub(super) fn of(stream: &Stream, fields: &HeaderMap) -> Option<Policy> {
    let exchange = stream.exchange.borrow();
    let traced = exchange.trace.as_ref().is_some_and(|trace| trace.is_recorded());
    let never = || Arc::new(RetryPolicy { attempts: 0, ..RetryPolicy::default() });
    let Some(selection) = &exchange.selection else {
        let once = || Policy { retry: never(), hedges: false, counts: false, mirrors: Vec::new() };
        return traced.then(once);
    };
    let action = &selection.route.action;
    let drawn = action.mirror.iter().filter(|mirror| fastrand::f64() * 100.0 < mirror.percent);
    let clusters = &stream.runtime.env.clusters;
    let mirrors = drawn.filter_map(|mirror| {
        let name = match &mirror.cluster_header {
            Some(header) => fields.get(header)?.to_str().ok()?,
            None => mirror.cluster.as_deref()?,
        };
        // A header may name any cluster, and those of TCP take no requests.
        let cluster = clusters.get(name).filter(|one| one.shared.settings.protocol != ClusterProtocol::Tcp)?;
        Some(Mirror { cluster, keep_host: mirror.keep_host })
    });
    let mirrors: Vec<_> = mirrors.collect();
    let retry = selection.retry();
    if retry.is_none() && mirrors.is_empty() && !action.attempt_count_header && !traced {
        return None;
    }
    Some(Policy {
        retry: retry.map_or_else(never, Arc::clone),
        hedges: selection.hedges(),
        counts: action.attempt_count_header,
        mirrors,
    })
}

/// Has the stream's trace know of each attempt.
struct Traced<'a>(&'a Stream);

impl Traced<'_> {
    fn trace(&self, tell: impl FnOnce(&mut Trace)) {
        if let Some(trace) = &mut self.0.exchange.borrow_mut().trace {
            tell(trace);
        }
    }
}

impl Observer for Traced<'_> {
    fn begins(&self, number: u32, fields: &mut HeaderMap) {
        self.trace(|trace| trace.attempts(number, fields));
    }

    fn reached(&self, number: u32, address: SocketAddr) {
        self.trace(|trace| trace.reached(number, address));
    }

    fn ended(&self, number: u32, result: &Result<Answered, UpstreamError>) {
        self.trace(|trace| trace.attempted(number, result));
    }

    fn discarded(&self, number: u32) {
        self.trace(|trace| trace.discarded(number));
    }
}

/// Bytes of a request's body that are held for whoever else may read it. A filter may ask for less than what the listener holds of a stream,
/// not for more.
fn held(retry: &RetryPolicy, mirrored: bool, most: usize) -> usize {
    if retry.attempts == 0 && !mirrored {
        return 0;
    }
    retry.buffer.map_or(most, |buffer| buffer.min(most))
}

impl Policy {
    /// Sends the request as the route asks for.
    pub(super) async fn execute(
        self,
        stream: &Stream,
        cluster: &Rc<LocalCluster>,
        outgoing: Box<Outgoing>,
        choice: Option<Box<Choice>>,
        leased: &dyn Fn(&Lease),
    ) -> Result<Answered, UpstreamError> {
        let traced = stream.exchange.borrow().trace.as_ref().is_some_and(|trace| trace.is_recorded());
        let observer = Traced(stream);
        let received = || stream.exchange.borrow().request_received;
        let most = stream.runtime.limits.buffer;
        let order = Order {
            retry: &self.retry,
            buffer: held(&self.retry, !self.mirrors.is_empty(), most),
            hedges: self.hedges,
            counts: self.counts,
            choice: choice.map(|choice| *choice).unwrap_or_default(),
            mirrors: self.mirrors,
            timeout: stream.limits.get().timeout,
            received: &received,
            leased,
            observer: traced.then_some(&observer),
        };
        let executed = execute(cluster, outgoing, order).await;
        stream.exchange.borrow_mut().further = executed.further;
        // Of several that were under way, one has answered.
        observer.trace(|trace| trace.gave_up(CANCELLED));
        if let Some(idle) = self.retry.per_try_idle_timeout() {
            // From now on there is one attempt: the rest of its answer may not stall either.
            let mut limits = stream.limits.get();
            limits.idle = Some(limits.idle.map_or(idle, |limit| limit.min(idle)));
            stream.limits.set(limits);
        }
        executed.result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_held_only_where_somebody_may_read_it_again() {
        let policy = |attempts, buffer| RetryPolicy { attempts, buffer, ..RetryPolicy::default() };
        for (attempts, buffer, mirrored, expected) in [
            (0, None, false, 0),
            (0, Some(5), false, 0),
            (0, None, true, 100),
            (0, Some(5), true, 5),
            (1, None, false, 100),
            (1, Some(5), false, 5),
            (1, Some(500), false, 100),
        ] {
            let found = held(&policy(attempts, buffer), mirrored, 100);
            assert_eq!(found, expected, "{attempts} attempts, {buffer:?}, {mirrored}");
        }
    }
}
