//! The host that tests talk to.

use std::time::Duration;

use super::chunking::chunkings;
use super::message::{Outcome, Received, TestRequest, TestResponse};
use super::place::{Place, Ring};
use super::redis::{RedisAnswer, RedisReceived};
use super::services::{GrpcAnswer, GrpcReceived};
use crate::error::ConfigError;
use crate::filter::{HttpFilter, Present};
use crate::testing::native::{self, Native};
use crate::testing::pipe::{self, Driven};
use crate::testing::spans::{RecordedSpan, Tracing};
use crate::testing::world::World;
use crate::testing::yaml;

/// A host with one filter in it, an upstream behind it and the clusters that it calls.
///
/// ```
/// # use fyke_sdk::{Cluster, ConfigError, Env, FilterConfig, Flow, HttpFilter, HttpRequest, Reply, Request, Result, http_filter};
/// use fyke_sdk::testing::{TestHost, TestRequest, TestResponse};
/// # #[derive(serde::Deserialize, FilterConfig)]
/// # struct Config { cluster: String }
/// # struct Auth { authz: Cluster }
/// # #[http_filter]
/// # impl HttpFilter for Auth {
/// #     type Config = Config;
/// #     type Ctx = ();
/// #     fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> { Ok(Self { authz: env.cluster(&config.cluster)? }) }
/// #     async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow> {
/// #         let Some(token) = request.get("authorization") else { return Ok(Reply::new(401).into()) };
/// #         let answer = self.authz.call(HttpRequest::get("/").header("authorization", token)).await?;
/// #         request.set("x-user", answer.body())?;
/// #         Ok(Flow::Continue)
/// #     }
/// # }
///
/// let mut host = TestHost::<Auth>::configure("cluster: authz")?;
/// host.cluster("authz", |request| TestResponse::ok().body("alice"));
/// let out = host.send(TestRequest::get("/").header("authorization", "token"));
/// assert_eq!(out.upstream().header("x-user"), "alice");
/// assert_eq!(host.send(TestRequest::get("/")).status(), 401);
/// # Ok::<(), ConfigError>(())
/// ```
///
/// # Rings
/// The same test runs in more than one place. `cargo test` runs it natively, in this process and thread, in microseconds. `fyke filter
/// test --wasm` builds the module and runs the test against it, in the engine of the `fyke` binary; `--envoy` runs it in Envoy. Nothing
/// in the test changes.
///
/// # Time
/// Time stands still until [`advance`](Self::advance) moves it, natively and in Fyke; Envoy's is real. So a filter that sleeps, or
/// that calls a cluster which [hangs](TestResponse::hang), never ends a [`send`](Self::send): take [`start`](Self::start),
/// `advance` and [`finish`](Self::finish).
///
/// # Leaks
/// At its end, a `TestHost` makes sure that the filter holds no stream any more, that no started stream was forgotten, and that no call of Redis
/// outlives its stream.
pub struct TestHost<F: HttpFilter + Present> {
    place: Place<Native<F>>,
}

/// A stream that was started and is not finished.
#[derive(Debug)]
#[must_use = "finish it, with host.finish(..)"]
pub struct Flight {
    stream: u32,
}

impl<F: HttpFilter + Present> TestHost<F> {
    /// A host whose filter has this configuration, in YAML or JSON. Empty: none.
    ///
    /// # Errors
    /// The filter's refusal: the field, and what is wrong with it.
    ///
    /// # Panics
    /// When the configuration is no YAML.
    #[track_caller]
    pub fn configure(configuration: &str) -> Result<Self, ConfigError> {
        let configuration = json(configuration);
        let place = match pipe::ring() {
            Ring::Native => Place::Native(Box::new(Native::configure(&configuration)?)),
            ring => {
                let clusters = native::clusters::<F>(&configuration);
                Place::driven(ring, Driven::configure(ring, "http", &configuration, &clusters)?)
            }
        };
        Ok(Self { place })
    }

    /// Where this test runs, for what cannot be the same everywhere.
    #[must_use]
    pub fn ring(&self) -> Ring {
        self.place.ring()
    }

    /// A new configuration for the streams to come. Those that are under way keep the filter with which they began.
    ///
    /// # Errors
    /// The filter's refusal. Then the old configuration goes on.
    ///
    /// # Panics
    /// When the configuration is no YAML.
    #[track_caller]
    pub fn reload(&mut self, configuration: &str) -> Result<(), ConfigError> {
        let configuration = json(configuration);
        match &mut self.place {
            Place::Native(native) => native.reload(&configuration),
            Place::Driven(_, driven) => {
                let clusters = native::clusters::<F>(&configuration);
                driven.get_mut().reload(&configuration, &clusters)
            }
        }
    }

    /// What the upstream answers. Default: 200, empty.
    pub fn upstream(&mut self, service: impl FnMut(&Received) -> TestResponse + 'static) {
        self.place.services().set_upstream(Box::new(service));
    }

    /// What a cluster answers: to a filter that calls it, and to streams that a filter routes there.
    pub fn cluster(&mut self, name: &str, service: impl FnMut(&Received) -> TestResponse + 'static) {
        self.place.services().set_http(name, Box::new(service));
    }

    /// What a cluster answers to gRPC calls of the filter.
    pub fn grpc(&mut self, name: &str, service: impl FnMut(&GrpcReceived) -> GrpcAnswer + 'static) {
        self.place.services().set_grpc(name, Box::new(service));
    }

    /// What the Redis servers of a cluster answer: to each command a [`Value`](crate::redis::Value), a [`RedisError`](crate::RedisError) in its place, or a
    /// [`RedisAnswer`] that takes its time. Native ring only.
    ///
    /// ```
    /// # use fyke_sdk::{ConfigError, Env, Flow, HttpFilter, Redis, Request, Result, http_filter};
    /// # struct Visits { store: Redis }
    /// # #[http_filter]
    /// # impl HttpFilter for Visits {
    /// #     type Config = ();
    /// #     type Ctx = ();
    /// #     fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> { Ok(Self { store: env.redis("cache")? }) }
    /// #     async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow> {
    /// #         let visits = self.store.call(&["INCR", "visits"]).await?;
    /// #         request.set("x-visits", visits.as_integer().unwrap_or(0).to_string())?;
    /// #         Ok(Flow::Continue)
    /// #     }
    /// # }
    /// use fyke_sdk::redis::Value;
    /// use fyke_sdk::testing::{TestHost, TestRequest};
    ///
    /// let mut host = TestHost::<Visits>::configure("")?;
    /// let mut visits = 0;
    /// host.redis("cache", move |command| match command.name().as_str() {
    ///     "INCR" => {
    ///         visits += 1;
    ///         Value::Integer(visits)
    ///     }
    ///     other => Value::error(format!("ERR unknown command '{other}'")),
    /// });
    /// assert_eq!(host.send(TestRequest::get("/")).upstream().header("x-visits"), "1");
    /// assert_eq!(host.send(TestRequest::get("/")).upstream().header("x-visits"), "2");
    /// # Ok::<(), ConfigError>(())
    /// ```
    ///
    /// # Panics
    /// In another ring.
    #[track_caller]
    pub fn redis<A: Into<RedisAnswer>>(&mut self, cluster: &str, service: impl FnMut(&RedisReceived) -> A + 'static) {
        assert!(self.ring() == Ring::Native, "Redis is faked in the native ring only: ask host.ring()");
        self.place.services().set_redis(cluster, service);
    }

    /// From here on there is no such cluster: calls of it fail. Native ring only; elsewhere a cluster goes with a configuration.
    ///
    /// # Panics
    /// In another ring.
    #[track_caller]
    pub fn remove_cluster(&mut self, name: &str) {
        match &mut self.place {
            Place::Native(native) => native.remove_cluster(name),
            Place::Driven(..) => panic!("clusters vanish in the native ring only: ask host.ring()"),
        }
    }

    /// Sends a request, and waits for everything that comes of it.
    ///
    /// # Panics
    /// When the stream waits for time to pass, or for something that never comes.
    #[track_caller]
    pub fn send(&mut self, request: TestRequest) -> Outcome {
        let flight = self.start(request);
        self.finish(flight)
    }

    /// Sends a request, and comes back as soon as the stream is over or nothing but time can move it.
    #[track_caller]
    pub fn start(&mut self, request: TestRequest) -> Flight {
        let stream = match &mut self.place {
            Place::Native(native) => native.start(request.message),
            Place::Driven(_, driven) => driven.get_mut().start(request.message),
        };
        Flight { stream }
    }

    /// Whether a stream is over.
    #[must_use]
    pub fn is_done(&self, flight: &Flight) -> bool {
        match &self.place {
            Place::Native(native) => native.is_done(flight.stream),
            Place::Driven(_, driven) => driven.borrow_mut().is_done(flight.stream),
        }
    }

    /// What came of a stream.
    ///
    /// # Panics
    /// When it is not over.
    #[track_caller]
    pub fn finish(&mut self, flight: Flight) -> Outcome {
        let finished = match &mut self.place {
            Place::Native(native) => native.finish(flight.stream),
            Place::Driven(_, driven) => driven.get_mut().finish(flight.stream),
        };
        match finished {
            Ok(outcome) => outcome,
            Err(waits_for) => {
                panic!("the stream is not over: {waits_for}. Time stands still until host.advance(..) moves it")
            }
        }
    }

    /// The client goes away in the middle of a stream.
    pub fn cancel(&mut self, flight: Flight) {
        match &mut self.place {
            Place::Native(native) => native.cancel(flight.stream),
            Place::Driven(_, driven) => driven.get_mut().cancel(flight.stream),
        }
    }

    /// Time passes: timers fire, timeouts strike, in their order.
    pub fn advance(&mut self, duration: Duration) {
        self.place.advance(duration);
    }

    /// Sends a request again and again, its body cut into chunks in every sensible way: whole, byte by byte, in two at every
    /// place, and natively with empty chunks. `check` sees what came of each.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    #[track_caller]
    pub fn every_chunking(&mut self, request: TestRequest, mut check: impl FnMut(&Outcome)) {
        for chunks in chunkings(&request.message.chunks.concat(), self.ring() == Ring::Native) {
            let outcome = self.send(request.clone().chunks(chunks));
            check(&outcome);
        }
    }

    /// As [`every_chunking`](Self::every_chunking), of the upstream's answer.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    #[track_caller]
    pub fn every_response_chunking(
        &mut self,
        request: TestRequest,
        response: TestResponse,
        mut check: impl FnMut(&Outcome),
    ) {
        for chunks in chunkings(&response.message.chunks.concat(), self.ring() == Ring::Native) {
            let response = response.clone().chunks(chunks);
            self.upstream(move |_| response.clone());
            let outcome = self.send(request.clone());
            check(&outcome);
        }
    }

    /// What a counter counted; zero, if it was never touched. The labels may come in any order.
    #[must_use]
    pub fn counter<const N: usize>(&self, name: &str, labels: [(&str, &str); N]) -> i64 {
        self.place.metric(name, &labels).0
    }

    /// A gauge; zero, if it was never set.
    #[must_use]
    pub fn gauge<const N: usize>(&self, name: &str, labels: [(&str, &str); N]) -> i64 {
        self.place.metric(name, &labels).0
    }

    /// How many values a histogram was given.
    #[must_use]
    pub fn histogram_count<const N: usize>(&self, name: &str, labels: [(&str, &str); N]) -> usize {
        self.place.metric(name, &labels).1
    }

    /// What the filter logged, a line each.
    #[must_use]
    pub fn logs(&self) -> Vec<String> {
        self.place.logs()
    }

    /// What the filter wrote to log sinks, a record each.
    #[must_use]
    pub fn records(&self) -> Vec<String> {
        match &self.place {
            Place::Native(_) => native::records(),
            Place::Driven(_, driven) => driven.borrow_mut().records(),
        }
    }

    /// Spans that the filter made, in the order in which they began. The stream's own is among them, with the name `stream` or one that the
    /// filter gave it, once the filter wrote something to it. Native ring only, where every stream is part of a trace that is sampled, unless the
    /// filter begins one itself.
    ///
    /// ```
    /// # use fyke_sdk::{ConfigError, Env, Flow, HttpFilter, Request, Result, http_filter};
    /// # struct Auth;
    /// # #[http_filter]
    /// # impl HttpFilter for Auth {
    /// #     type Config = ();
    /// #     type Ctx = ();
    /// #     fn configure((): (), _: &mut Env) -> Result<Self, ConfigError> { Ok(Self) }
    /// #     async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow> {
    /// #         let span = request.span("authorise");
    /// #         span.tag("user", "alice").tag("attempts", 2);
    /// #         span.error("denied");
    /// #         Ok(Flow::Continue)
    /// #     }
    /// # }
    /// use fyke_sdk::testing::{Ring, TestHost, TestRequest};
    ///
    /// let mut host = TestHost::<Auth>::configure("")?;
    /// let _ = host.send(TestRequest::get("/"));
    /// if host.ring() == Ring::Native {
    ///     let spans = host.spans();
    ///     assert_eq!(spans[0].name(), "authorise");
    ///     assert_eq!(spans[0].tag("user"), Some("alice"));
    ///     assert_eq!(spans[0].tag("attempts"), Some(2_i64));
    ///     assert_eq!(spans[0].error(), Some("denied"));
    ///     assert!(spans[0].has_ended());
    /// }
    /// # Ok::<(), ConfigError>(())
    /// ```
    ///
    /// # Panics
    /// In another ring.
    #[must_use]
    #[track_caller]
    pub fn spans(&self) -> Vec<RecordedSpan> {
        match &self.place {
            Place::Native(_) => native::spans(),
            Place::Driven(..) => panic!("spans are recorded in the native ring only: ask host.ring()"),
        }
    }

    /// From here on streams are part of no trace unless the filter begins one, as behind no filter that does. Native ring only.
    ///
    /// # Panics
    /// In another ring.
    #[track_caller]
    pub fn without_trace(&mut self) {
        match &self.place {
            Place::Native(_) => World::with(|world| world.tracing = Tracing::Absent),
            Place::Driven(..) => panic!("traces are assumed in the native ring only: ask host.ring()"),
        }
    }

    /// How many streams the filter holds.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        match &self.place {
            Place::Native(native) => native.open_streams(),
            Place::Driven(_, driven) => driven.borrow_mut().open_streams(),
        }
    }
}

impl<F: HttpFilter + Present> Drop for TestHost<F> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let open = self.open_streams();
            assert!(
                open == 0,
                "{open} streams are still open: one was started and not finished, or the filter leaks them"
            );
            let waiting = crate::redis::held_by_streams();
            assert!(
                waiting == 0,
                "{waiting} calls of Redis are still waited for by streams that are over: the filter leaks them"
            );
        }
    }
}

#[track_caller]
pub(super) fn json(configuration: &str) -> String {
    match yaml::parse(configuration) {
        Ok(value) => value.to_string(),
        Err(error) => panic!("this configuration is no YAML: {error}"),
    }
}
