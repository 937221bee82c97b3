//! A request that a policy may send more than once: retries, hedged attempts, mirrors.
//!
//! The body is held in a [`Tee`] as far as the policy's buffer goes. An attempt whose answer the policy does not want is dropped, and its
//! connection with it unless the rest of the answer is short. At most one new attempt is being waited for at a time; with hedging an
//! attempt that is late goes on beside the next one, and whichever answers first and well wins: the others are cancelled by being dropped.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue};
use http_body::Body;
use smallvec::SmallVec;
use tokio::time::{Instant, Sleep};

use super::{
    Outgoing, UpstreamError,
    dispatch::{Answered, Purpose, Replay, dispatch},
    flags::Further,
    mirror,
    retry::{RetryPolicy, Verdict, backoff, conditions},
    tee::{Pace, Tee},
};
use crate::cluster::{Choice, RequestBody, breakers::RetryPermit, lease::Lease, local::LocalCluster};

/// The most of an unwanted answer that is read to keep its connection.
const SHORT: usize = 64 * 1024;
/// How long that may take.
const DRAIN: Duration = Duration::from_secs(1);

/// What to do with a request beyond sending it once.
pub struct Order<'a> {
    /// When to try again.
    pub retry: &'a RetryPolicy,
    /// Bytes of the body that are held for another attempt.
    pub buffer: usize,
    /// An attempt that exceeds `per_try_timeout` goes on beside the next one.
    pub hedges: bool,
    /// Says in `x-envoy-attempt-count` which attempt it is.
    pub counts: bool,
    /// Which endpoint.
    pub choice: Choice,
    /// Clusters that get a copy, and how long each may take.
    pub mirrors: Vec<mirror::Mirror>,
    /// The route's timeout, which the caller watches: how long a mirror may take.
    pub timeout: Option<Duration>,
    /// When the whole request had been received; `None` while it is under way.
    pub received: &'a dyn Fn() -> Option<Instant>,
    /// Called when an attempt has a connection.
    pub leased: &'a dyn Fn(&Lease),
    /// Is told of each attempt.
    pub observer: Option<&'a dyn Observer>,
}

/// Whoever wants to know of each attempt. They are numbered from 1.
pub trait Observer {
    /// It begins with these fields.
    fn begins(&self, number: u32, fields: &mut HeaderMap);
    /// It has a connection to this endpoint.
    fn reached(&self, number: u32, address: std::net::SocketAddr);
    /// It has come to the head of an answer, or to nothing.
    fn ended(&self, number: u32, result: &Result<Answered, UpstreamError>);
    /// Its answer is not the one that stands.
    fn discarded(&self, number: u32);
}

/// What became of it.
pub struct Executed {
    /// The answer that stands, or why there is none.
    pub result: Result<Answered, UpstreamError>,
    /// Whether the policy wanted another attempt.
    pub further: Further,
}

/// Sends a request as often as its policy says.
///
/// Cancel safe: dropping it cancels every attempt.
pub async fn execute(cluster: &Rc<LocalCluster>, mut outgoing: Box<Outgoing>, order: Order<'_>) -> Executed {
    let body = std::mem::replace(&mut outgoing.body, RequestBody::Empty);
    let body = Repeatable::new(body, order.buffer);
    let mut work = Work {
        cluster,
        template: outgoing,
        body,
        choice: order.choice.clone(),
        order,
        running: SmallVec::new(),
        begun: 0,
        pause: None,
        alarm: None,
        second_best: None,
        further: Further::default(),
    };
    for mirror in std::mem::take(&mut work.order.mirrors) {
        if work.template.purpose != Purpose::Answer {
            // A tunnel cannot be copied.
            continue;
        }
        let mut copy = work.template.again(work.body.copy());
        // What it says of its own connection, and when it wants the body, is not the client's to hear.
        copy.extensions = http::Extensions::new();
        copy.fields.remove(http::header::EXPECT);
        mirror::send(mirror, Box::new(copy), work.order.timeout);
    }
    work.begin(None);
    loop {
        let event = poll_fn(|cx| work.poll(cx)).await;
        if let Some(result) = work.on(event) {
            return Executed { result, further: work.further };
        }
    }
}

/// A body that can be sent again.
enum Repeatable {
    Empty,
    Shared(Tee),
}

impl Repeatable {
    fn new(body: RequestBody, limit: usize) -> Self {
        if matches!(body, RequestBody::Empty) { Self::Empty } else { Self::Shared(Tee::new(body, limit)) }
    }

    fn again(&self) -> RequestBody {
        match self {
            Self::Empty => RequestBody::Empty,
            Self::Shared(tee) => tee.reader(Pace::Leads),
        }
    }

    fn copy(&self) -> RequestBody {
        match self {
            Self::Empty => RequestBody::Empty,
            Self::Shared(tee) => tee.reader(Pace::Follows),
        }
    }

    fn is_repeatable(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Shared(tee) => tee.is_repeatable(),
        }
    }
}

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Answered, UpstreamError>> + 'a>>;

struct Attempt<'a> {
    number: u32,
    sending: Sending<'a>,
    begun: Instant,
    /// Where it went, once there was a connection.
    address: Rc<Cell<Option<std::net::SocketAddr>>>,
    /// Its time is over, and it goes on beside another one.
    late: bool,
    /// Counts it among the retries that are under way; the first attempt is none.
    _permit: Option<RetryPermit>,
}

/// The next attempt, until it is due. It counts as under way, as in Envoy.
struct Pause {
    sleep: Pin<Box<Sleep>>,
    permit: RetryPermit,
}

enum Event {
    /// One of the attempts has ended.
    Ended(usize, Box<Result<Answered, UpstreamError>>),
    /// The time of one is over.
    Late(usize, Duration),
    /// The next one is due.
    Due(RetryPermit),
}

struct Work<'a> {
    cluster: &'a Rc<LocalCluster>,
    template: Box<Outgoing>,
    body: Repeatable,
    choice: Choice,
    order: Order<'a>,
    running: SmallVec<[Attempt<'a>; 2]>,
    begun: u32,
    pause: Option<Pause>,
    alarm: Option<Pin<Box<Sleep>>>,
    /// What stands when no attempt that is still running does better.
    second_best: Option<Result<Answered, UpstreamError>>,
    further: Further,
}

impl Work<'_> {
    fn begin(&mut self, permit: Option<RetryPermit>) {
        self.begun += 1;
        let mut outgoing = Box::new(self.template.again(self.body.again()));
        if self.order.counts {
            outgoing.fields.insert("x-envoy-attempt-count", HeaderValue::from(self.begun));
        }
        if let Some(observer) = self.order.observer {
            observer.begins(self.begun, &mut outgoing.fields);
        }
        let address = Rc::new(Cell::new(None));
        let (cluster, choice, seen, noted) =
            (self.cluster, self.choice.clone(), self.order.leased, Rc::clone(&address));
        let (observer, number) = (self.order.observer, self.begun);
        let sending = Box::pin(async move {
            let leased = |lease: &Lease| {
                noted.set(Some(lease.address()));
                if let Some(observer) = observer {
                    observer.reached(number, lease.address());
                }
                seen(lease);
            };
            dispatch(cluster, outgoing, Replay::Copy, Some(&choice), leased).await
        });
        self.running.push(Attempt {
            number: self.begun,
            sending,
            begun: Instant::now(),
            address,
            late: false,
            _permit: permit,
        });
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        for (index, attempt) in self.running.iter_mut().enumerate() {
            if let Poll::Ready(result) = attempt.sending.as_mut().poll(cx) {
                return Poll::Ready(Event::Ended(index, Box::new(result)));
            }
        }
        if let Some(pause) = self.pause.take_if(|pause| pause.sleep.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Event::Due(pause.permit));
        }
        // The time of an attempt begins when the request is complete: a slow client is not the endpoint's fault.
        let (Some(limit), Some(received)) = (self.order.retry.patience(), (self.order.received)()) else {
            return Poll::Pending;
        };
        let until = |attempt: &Attempt<'_>| attempt.begun.max(received) + limit;
        let on_time = self.running.iter().enumerate().filter(|(_, attempt)| !attempt.late);
        let Some((index, next)) = on_time.map(|(index, attempt)| (index, until(attempt))).min_by_key(|(_, at)| *at)
        else {
            return Poll::Pending;
        };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
        if alarm.deadline() != next {
            alarm.as_mut().reset(next);
        }
        alarm.as_mut().poll(cx).map(|()| Event::Late(index, limit))
    }

    /// Returns what stands, when it does.
    fn on(&mut self, event: Event) -> Option<Result<Answered, UpstreamError>> {
        match event {
            Event::Due(permit) => {
                self.begin(Some(permit));
                None
            }
            Event::Ended(index, result) => {
                // With its permit: an attempt that has failed leaves room for the next one.
                let Attempt { number, address, .. } = self.running.remove(index);
                self.ended(number, *result, address.get())
            }
            Event::Late(index, timeout) => {
                let address = self.running.get(index).and_then(|attempt| attempt.address.get());
                if let Some(address) = address {
                    self.cluster.timed_out(address);
                }
                let error = UpstreamError::PerTryTimeout { address, timeout };
                if self.order.hedges {
                    if let Some(attempt) = self.running.get_mut(index) {
                        attempt.late = true;
                    }
                    if let Verdict::Again { reason, after } = conditions::of_failure(self.order.retry, &error, true) {
                        self.avoid(address);
                        self.may_try_again(reason, after);
                    }
                    return None;
                }
                let number = self.running.remove(index).number;
                self.ended(number, Err(error), address)
            }
        }
    }

    fn ended(
        &mut self,
        number: u32,
        result: Result<Answered, UpstreamError>,
        address: Option<std::net::SocketAddr>,
    ) -> Option<Result<Answered, UpstreamError>> {
        if let Some(observer) = self.order.observer {
            observer.ended(number, &result);
        }
        let policy = self.order.retry;
        let verdict = match &result {
            Ok(answered) => {
                let response = &answered.response;
                conditions::of_answer(policy, response.status(), response.headers(), SystemTime::now())
            }
            Err(error) => conditions::of_failure(policy, error, address.is_some()),
        };
        let Verdict::Again { reason, after } = verdict else { return Some(result) };
        let failed_at = address.or_else(|| result.as_ref().err().and_then(UpstreamError::address));
        self.avoid(failed_at);
        if self.pause.is_some() || self.may_try_again(reason, after) {
            self.discard(number);
            self.keep(result);
            return None;
        }
        if self.running.is_empty() {
            // Nothing that is still under way can do better, and the policy has no attempt left.
            if self.begun > self.order.retry.attempts && self.order.retry.attempts > 0 {
                self.further = Further::Exhausted;
                self.cluster.metrics.retries.exhausted();
            }
            // An answer says more than the lack of one.
            return match (result, self.second_best.take()) {
                (Err(_), Some(Ok(answered))) => Some(Ok(answered)),
                (result, _) => Some(result),
            };
        }
        self.discard(number);
        self.keep(result);
        None
    }

    fn discard(&self, number: u32) {
        if let Some(observer) = self.order.observer {
            observer.discarded(number);
        }
    }

    /// Keeps an unwanted answer only where nothing better is kept, and lets go of the other one.
    fn keep(&mut self, result: Result<Answered, UpstreamError>) {
        // With an attempt to come, that one's outcome stands, whatever it is.
        if self.pause.is_some() {
            if let Ok(answered) = result {
                let _drained = tokio::task::spawn_local(drain(answered));
            }
        } else if let Some(Ok(answered)) = self.second_best.replace(result) {
            let _drained = tokio::task::spawn_local(drain(answered));
        }
    }

    /// Has another attempt begin after its wait, if there may be one.
    fn may_try_again(&mut self, reason: &'static str, after: Option<Duration>) -> bool {
        let metrics = &self.cluster.metrics;
        self.further = Further::Unwanted;
        if self.begun > self.order.retry.attempts {
            return false;
        }
        if !self.body.is_repeatable() {
            metrics.retries.unrepeatable();
            return false;
        }
        let Some(permit) = self.cluster.shared.retry_permit(self.choice.priority) else {
            metrics.retries.overflow();
            self.further = Further::Refused;
            return false;
        };
        metrics.retries.begun(reason);
        let random = |range| fastrand::u64(..range);
        let wait = match after {
            Some(asked) => backoff::spread(asked, random),
            None => backoff::wait(&self.order.retry.backoff, self.begun, random),
        };
        self.pause = Some(Pause { sleep: Box::pin(tokio::time::sleep(wait)), permit });
        true
    }

    /// What the next attempt rather does not go to, after one to `address`.
    fn avoid(&mut self, address: Option<std::net::SocketAddr>) {
        let retry = self.order.retry;
        if (retry.avoid_previous_hosts || retry.avoid_previous_priorities)
            && let Some(address) = address
        {
            self.choice.avoid.push(address);
        }
        self.choice.avoid_priorities = retry.avoid_previous_priorities;
        self.choice.avoid_labels = retry.avoid_labels.clone().map(|labels| (labels, retry.host_attempts));
    }
}

/// Reads the rest of an answer that nobody wants, if it is short: its connection can serve another request then.
pub(crate) async fn drain(answered: Answered) {
    let Answered { response, lease } = answered;
    let mut body = response.into_body();
    if body.size_hint().lower() > SHORT as u64 {
        return;
    }
    let mut read = 0usize;
    let whole = tokio::time::timeout(DRAIN, async {
        loop {
            match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                None => return true,
                Some(Ok(frame)) => {
                    read = read.saturating_add(frame.data_ref().map_or(0, bytes::Bytes::len));
                    if read > SHORT {
                        return false;
                    }
                }
                Some(Err(_)) => return false,
            }
        }
    });
    if whole.await == Ok(true) {
        lease.finish();
    }
}
