//! What a route asks for beyond a cluster and a timeout: which endpoint, further attempts, copies.

use std::{rc::Rc, sync::Arc};

use super::stream::Stream;
use crate::{
    cluster::{Choice, choice::Priority, lease::Lease, local::LocalCluster},
    upstream::{
        Outgoing, RetryPolicy, UpstreamError,
        dispatch::Answered,
        execute::{Order, execute},
    },
};

/// More than sending a request once.
pub(super) struct Policy {
    retry: Arc<RetryPolicy>,
    hedges: bool,
    counts: bool,
    mirrors: Vec<Rc<LocalCluster>>,
}

/// What the stream's route asks for. Most ask for nothing: boxed, because all carry the room for it.
pub(super) fn of(stream: &Stream) -> (Option<Box<Choice>>, Option<Policy>) {
    let exchange = stream.exchange.borrow();
    let Some(selection) = &exchange.selection else { return (None, None) };
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
    let choice = asks.then(choice);
    let drawn = action.mirror.iter().filter(|mirror| fastrand::f64() * 100.0 < mirror.percent);
    let mirrors: Vec<_> = drawn.filter_map(|mirror| stream.runtime.env.clusters.get(&mirror.cluster)).collect();
    let retry = selection.retry();
    if retry.is_none() && mirrors.is_empty() && !action.attempt_count_header {
        return (choice, None);
    }
    let never = || Arc::new(RetryPolicy { attempts: 0, ..RetryPolicy::default() });
    let policy = Policy {
        retry: retry.map_or_else(never, Arc::clone),
        hedges: selection.hedges(),
        counts: action.attempt_count_header,
        mirrors,
    };
    (choice, Some(policy))
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
        let received = || stream.exchange.borrow().request_received;
        let most = stream.runtime.limits.buffer;
        let order = Order {
            retry: &self.retry,
            // A filter may ask for less than what the listener holds of a stream, not for more.
            buffer: self.retry.buffer.map_or(most, |buffer| buffer.min(most)),
            hedges: self.hedges,
            counts: self.counts,
            choice: choice.map(|choice| *choice).unwrap_or_default(),
            mirrors: self.mirrors,
            timeout: stream.limits.get().timeout,
            received: &received,
            leased,
        };
        let executed = execute(cluster, outgoing, order).await;
        stream.exchange.borrow_mut().further = executed.further;
        if let Some(idle) = self.retry.per_try_idle_timeout() {
            // From now on there is one attempt: the rest of its answer may not stall either.
            let mut limits = stream.limits.get();
            limits.idle = Some(limits.idle.map_or(idle, |limit| limit.min(idle)));
            stream.limits.set(limits);
        }
        executed.result
    }
}
