//! Answers that go on: server-sent events.
//!
//! A stream has a task that produces and a short channel to its connection. Whoever reads slowly stops the producer, and after [`SLOW`]
//! the stream: what waits for a reader is a few pieces, never more. A comment every [`ALIVE`] finds out who has gone, and keeps proxies
//! in between from closing. There are [`MOST`] of them at most: each is a connection that is never idle.

pub(super) mod events;
pub(super) mod rates;
pub(super) mod tap;

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use super::{body::Body, json as respond};
use crate::telemetry::{Counter, Gauge, Registry, names};

/// Streams at a time.
pub const MOST: usize = 16;
/// How long a reader may take for what lies before it.
const SLOW: Duration = Duration::from_secs(10);
/// How often something is sent when nothing happens.
const ALIVE: Duration = Duration::from_secs(15);
/// Pieces that wait for a reader.
const WAITING: usize = 4;

/// Streams of an endpoint: how many there may be, and are.
#[derive(Debug)]
pub struct Streams {
    room: Arc<Semaphore>,
    registry: Registry,
    /// What was read when somebody asked for rates last.
    rates: rates::Rates,
}

impl Streams {
    /// None yet.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self { room: Arc::new(Semaphore::new(MOST)), registry: registry.clone(), rates: rates::Rates::default() }
    }

    /// Begins one, whose task is what `produce` makes of its outlet. `kind` is for the metrics.
    pub(super) fn begin<F>(
        &self,
        method: &Method,
        kind: &'static str,
        produce: impl FnOnce(Outlet) -> F,
    ) -> Response<Body>
    where
        F: Future<Output = Result<(), End>> + Send + 'static,
    {
        let mut response = if method == Method::HEAD {
            Response::new(Body::from(Bytes::new()))
        } else {
            let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
                let error = format!("{MOST} streams are open already; ask again in a second");
                let mut response = respond(StatusCode::TOO_MANY_REQUESTS, &json!({ "error": error }));
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                return response;
            };
            let labels = [("stream", kind)];
            let (pieces, read) = mpsc::channel(WAITING);
            let open = self.registry.gauge(&names::ADMIN_STREAMS, &labels);
            open.add(1);
            let mut alive = interval_at(Instant::now() + ALIVE, ALIVE);
            alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let slow = self.registry.counter(&names::ADMIN_STREAMS_DROPPED, &labels);
            let produced = produce(Outlet { pieces, alive, _open: open, _permit: permit });
            tokio::spawn(async move {
                if let Err(End::Slow) = produced.await {
                    drop_slow(&slow, kind);
                }
            });
            Response::new(Body::Stream(read))
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Known to proxies that would otherwise wait for more.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }

    pub(super) fn rates(&self) -> &rates::Rates {
        &self.rates
    }
}

fn drop_slow(counter: &Counter, kind: &str) {
    counter.inc();
    tracing::debug!(kind, "a stream of the admin endpoint was ended: nobody reads it fast enough");
}

/// Why a stream has ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nobody listens any more.
    Gone,
    /// Whoever listens is too slow.
    Slow,
}

/// Where a stream's task puts what it has to say.
pub(super) struct Outlet {
    pieces: mpsc::Sender<Bytes>,
    alive: Interval,
    _open: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Outlet {
    /// Sends an event.
    pub async fn event(&mut self, kind: &str, id: Option<u64>, data: &impl Serialize) -> Result<(), End> {
        let mut text = format!("event: {kind}\n");
        if let Some(id) = id {
            text.push_str(&format!("id: {id}\n"));
        }
        // JSON in one line has no line breaks: they are escaped in its texts.
        text.push_str("data: ");
        text.push_str(&serde_json::to_string(data).unwrap_or_default());
        text.push_str("\n\n");
        self.alive.reset();
        self.send(text).await
    }

    /// Sends what readers pass over.
    pub async fn comment(&mut self, text: &str) -> Result<(), End> {
        self.send(format!(": {text}\n\n")).await
    }

    async fn send(&self, text: String) -> Result<(), End> {
        match tokio::time::timeout(SLOW, self.pieces.send(text.into())).await {
            Ok(sent) => sent.map_err(|_| End::Gone),
            Err(_) => Err(End::Slow),
        }
    }

    /// Waits for something, keeping the stream alive meanwhile.
    pub async fn wait<T>(&mut self, happens: impl Future<Output = T>) -> Result<T, End> {
        let mut happens = std::pin::pin!(happens);
        loop {
            tokio::select! {
                biased;
                happened = &mut happens => return Ok(happened),
                () = self.pieces.closed() => return Err(End::Gone),
                _ = self.alive.tick() => self.comment("alive").await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::telemetry::Reading;

    fn read(registry: &Registry, metric: &crate::telemetry::Metric) -> Option<Reading> {
        registry.read(metric, &[("stream", "events")])
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_read_ends_its_stream_and_is_counted() {
        let registry = Registry::new();
        let streams = Streams::new(&registry);
        let response = streams.begin(&Method::GET, "events", |mut outlet| async move {
            loop {
                outlet.event("x", Some(1), &"y".repeat(1000)).await?;
            }
        });
        assert_eq!(streams.room.available_permits(), MOST - 1);
        assert_eq!(read(&registry, &names::ADMIN_STREAMS), Some(Reading::Gauge(1)));
        tokio::time::sleep(2 * SLOW).await;
        assert_eq!(streams.room.available_permits(), MOST);
        assert_eq!(read(&registry, &names::ADMIN_STREAMS_DROPPED), Some(Reading::Counter(1)));
        // What lay before it is all that it gets.
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.len() < (WAITING + 1) * 1100, "{}", body.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_is_kept_alive_and_ends_with_its_reader() {
        let registry = Registry::new();
        let streams = Streams::new(&registry);
        let response = streams
            .begin(&Method::GET, "events", |mut outlet| async move { outlet.wait(std::future::pending::<()>()).await });
        let mut body = response.into_body();
        let begun = Instant::now();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), ": alive\n\n");
        assert_eq!(begun.elapsed().as_secs(), ALIVE.as_secs());
        drop(body);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!((streams.room.available_permits(), read(&registry, &names::ADMIN_STREAMS)), (MOST, None));
    }

    #[tokio::test]
    async fn there_are_only_so_many() {
        let streams = Streams::new(&Registry::new());
        let begin = || {
            streams.begin(&Method::GET, "events", |mut outlet| async move {
                outlet.wait(std::future::pending::<()>()).await
            })
        };
        let open: Vec<_> = (0..MOST).map(|_| begin()).collect();
        assert!(open.iter().all(|response| response.status() == 200));
        assert_eq!(begin().status(), 429);
        let head = streams.begin(&Method::HEAD, "events", |_| async { Ok(()) });
        assert_eq!(head.status(), 200, "nobody streams for that");
    }
}
