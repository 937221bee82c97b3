//! What a filter is.

use serde::de::DeserializeOwned;

use crate::body::{Body, Chunk};
use crate::env::Env;
use crate::error::{ConfigError, Result};
use crate::flow::Flow;
use crate::log::StreamLog;
use crate::panel::Panel;
use crate::request::Request;
use crate::response::Response;

/// A filter of HTTP streams. The value is one configuration: immutable, shared by the streams of a worker; what belongs to a
/// stream is in `Ctx`. A route's own configuration is a value of its own.
///
/// Every method but [`configure`](HttpFilter::configure) has a default, and [`http_filter`](crate::http_filter) exports only
/// the callbacks of the methods that are there, so a method that is left out costs nothing. The chart of when each is called is
/// at the top of the [crate documentation](crate).
///
/// An `Err` costs the stream: it is logged and answered with 500 (details `filter_error`). The instance goes on.
/// Waiting pauses the stream and nothing else; when the client gives up meanwhile, or another filter replies, the method's
/// future is dropped at its `.await`.
#[expect(async_fn_in_trait, reason = "a filter lives on one thread, so nobody needs the futures to be Send")]
pub trait HttpFilter: Sized + 'static {
    /// The configuration, from JSON. Add `#[serde(deny_unknown_fields)]`, so that a misspelt key is an error. `()` takes none.
    type Config: DeserializeOwned + 'static;
    /// State of one stream, from its first callback to its last; `()` if there is none.
    type Ctx: Default + 'static;

    /// Charts of the metrics that it defines, for a page of its own in Fyke's dashboard: at most 24. They are part of the module; what is
    /// wrong with one does not compile. Default: none.
    const PANELS: &'static [Panel] = &[];

    /// Makes a filter of its configuration. Called at load, once for every configuration and worker, never on the way of a request.
    ///
    /// # Errors
    /// A [`ConfigError`] refuses the configuration: the operator sees it at its place in the file, and the old one keeps serving.
    fn configure(config: Self::Config, env: &mut Env) -> Result<Self, ConfigError>;

    /// The request's headers are here.
    ///
    /// # Errors
    /// Costs the stream.
    async fn on_request(&self, cx: &mut Self::Ctx, request: &mut Request) -> Result<Flow> {
        let _ = (cx, request);
        Ok(Flow::Continue)
    }

    /// The whole request is here, headers and body (an empty one, if there is none). A body above
    /// [`maximum_body`](HttpFilter::maximum_body) was answered with 413 instead.
    ///
    /// The headers are held while the body comes. Fyke knows that from the module (its custom section `fyke.manifest`); Envoy
    /// has to be told (`allow_on_headers_stop_iteration`).
    ///
    /// # Errors
    /// Costs the stream.
    async fn on_request_with_body(&self, cx: &mut Self::Ctx, request: &mut Request, body: &mut Body) -> Result<Flow> {
        let _ = (cx, request, body);
        Ok(Flow::Continue)
    }

    /// Whether [`on_request_with_body`](HttpFilter::on_request_with_body) wants the body of this request. Asked once, when `on_request` is
    /// done; a body that is not wanted passes chunk by chunk as it comes, of whatever length. Default: yes.
    fn wants_request_body(&self, cx: &mut Self::Ctx, request: &Request) -> bool {
        let _ = (cx, request);
        true
    }

    /// A chunk of the request's body passes. Excludes `on_request_with_body`.
    ///
    /// # Errors
    /// Costs the stream.
    fn on_request_chunk(&self, cx: &mut Self::Ctx, chunk: &mut Chunk) -> Result<()> {
        let _ = (cx, chunk);
        Ok(())
    }

    /// Whether what a method leaves in a stream's `Ctx` matters to a later one. Where it does not, each method is given a new one, and Fyke
    /// tells neither of a stream's begin nor of its end, which saves a small filter a good part of what it costs. Asked once for each
    /// configuration, and only of filters that look at heads alone and never wait. Default: yes.
    fn keeps_ctx(&self) -> bool {
        true
    }

    /// Another filter changed what routing depends on; a filter that routes selects again. If it does not, its old selection
    /// stands. Called on Fyke only, before an endpoint is picked.
    ///
    /// # Errors
    /// Costs the stream.
    fn on_reroute(&self, cx: &mut Self::Ctx, request: &mut Request) -> Result<Flow> {
        let _ = (cx, request);
        Ok(Flow::Continue)
    }

    /// What this filter is about to make of the request whose headers are here, for a person: a line for each thing, in the order in
    /// which it is looked at. What does not apply is worth a line that says why. For `fyke explain`; called on Fyke only, just before
    /// the request is shown to [`on_request`](HttpFilter::on_request), on an instance that was made for the question. It decides
    /// nothing. Of what it says the first 10,000 lines and 1 MiB are kept. Default: nothing.
    fn explain(&self, request: &Request) -> Vec<String> {
        let _ = request;
        Vec::new()
    }

    /// The response's headers are here.
    ///
    /// # Errors
    /// Costs the stream.
    async fn on_response(&self, cx: &mut Self::Ctx, response: &mut Response) -> Result<Flow> {
        let _ = (cx, response);
        Ok(Flow::Continue)
    }

    /// The whole response is here. A body above [`maximum_body`](HttpFilter::maximum_body) was answered with 502 instead. See
    /// [`on_request_with_body`](HttpFilter::on_request_with_body).
    ///
    /// # Errors
    /// Costs the stream.
    async fn on_response_with_body(
        &self,
        cx: &mut Self::Ctx,
        response: &mut Response,
        body: &mut Body,
    ) -> Result<Flow> {
        let _ = (cx, response, body);
        Ok(Flow::Continue)
    }

    /// As [`wants_request_body`](HttpFilter::wants_request_body), of the response. Default: yes.
    fn wants_response_body(&self, cx: &mut Self::Ctx, response: &Response) -> bool {
        let _ = (cx, response);
        true
    }

    /// A chunk of the response's body passes. Excludes `on_response_with_body`.
    ///
    /// # Errors
    /// Costs the stream: the connection to the client is reset, for it has seen the headers.
    fn on_response_chunk(&self, cx: &mut Self::Ctx, chunk: &mut Chunk) -> Result<()> {
        let _ = (cx, chunk);
        Ok(())
    }

    /// The stream is over, one way or another. Nothing can be changed any more.
    fn on_log(&self, cx: &mut Self::Ctx, log: &StreamLog) {
        let _ = (cx, log);
    }

    /// Whether this configuration looks at the heads of requests; as [`wants_response`](HttpFilter::wants_response). Default: yes.
    fn wants_request(&self) -> bool {
        true
    }

    /// Whether this configuration looks at the ends of streams ([`on_log`](HttpFilter::on_log)); as
    /// [`wants_response`](HttpFilter::wants_response). Of a module that is a filter of connections as well, this is about their ends, too.
    /// Default: yes.
    fn wants_log(&self) -> bool {
        true
    }

    /// Whether this configuration looks at chunks of request bodies; as [`wants_response`](HttpFilter::wants_response). Where no filter
    /// does, bodies stream through untouched. Default: yes.
    fn wants_request_chunks(&self) -> bool {
        true
    }

    /// As [`wants_request_chunks`](HttpFilter::wants_request_chunks), of responses. Default: yes.
    fn wants_response_chunks(&self) -> bool {
        true
    }

    /// Whether this configuration looks at the heads of responses. Asked once, after [`configure`](HttpFilter::configure): where the
    /// answer is no, the host need not call [`on_response`](HttpFilter::on_response) at all. A host other than Fyke calls it all
    /// the same. Default: yes.
    fn wants_response(&self) -> bool {
        true
    }

    /// The most bytes that a `_with_body` method is given. Default: 1 MiB.
    fn maximum_body(&self) -> usize {
        1 << 20
    }
}

/// Which of a filter's methods are there. Implemented by [`http_filter`](crate::http_filter), never by hand.
#[doc(hidden)]
pub trait Present {
    const CALLBACKS: Callbacks;
}

/// The methods that are there, one flag each.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a set with names, made by a macro")]
pub struct Callbacks {
    pub on_request: bool,
    pub on_request_with_body: bool,
    pub on_request_chunk: bool,
    pub on_reroute: bool,
    pub explain: bool,
    pub on_response: bool,
    pub on_response_with_body: bool,
    pub on_response_chunk: bool,
    pub on_log: bool,
    /// Whether one of them may wait. Where none does, none needs a task.
    pub waits: bool,
    /// Whether the module is told of timers and answers: a method waits, or the filter has tasks of its own.
    pub tasks: bool,
    /// Whether the module exports `proxy_on_foreign_function`.
    pub answers: bool,
}

impl Callbacks {
    /// Whether each method is done when it returns, and nothing else of a stream is looked at than its heads.
    pub(crate) const fn sees_heads_only(self) -> bool {
        let Self { on_request_with_body, on_request_chunk, on_response_with_body, on_response_chunk, .. } = self;
        let sees_bodies = on_request_with_body || on_request_chunk || on_response_with_body || on_response_chunk;
        !(sees_bodies || self.on_log || self.waits)
    }
}
