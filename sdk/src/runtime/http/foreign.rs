//! What the host says by foreign functions: to route again, to explain, that a key or an answer is here.

use super::{Runtime, Stream};
use crate::abi::{self, Side};
use crate::filter::{HttpFilter, Present};
use crate::flow::Flow;
use crate::request::Request;
use crate::runtime::Waking;

impl<F: HttpFilter + Present> Runtime<F> {
    /// `proxy_on_foreign_function`; 1 is `fyke.route.again.v1`, 2 is `fyke.explain.v1`, 5 brings a key of `fyke.crypto.pbkdf2.v1`, 6 an
    /// answer of `fyke.redis.call.v1`.
    pub fn on_foreign_function(&self, context: u32, function: u32, size: usize) {
        match function {
            1 if F::CALLBACKS.on_reroute => self.reroute(context),
            2 if F::CALLBACKS.explain => self.explain(context),
            5 => self.on_key(size),
            6 => self.on_redis(size),
            _ => {}
        }
    }

    fn explain(&self, context: u32) {
        // The host may keep no context for the stream, and call with the root's id.
        let filter = self.with_stream(context, |stream| stream.filter.clone()).or_else(|| self.plugins.filter(context));
        let Some(filter) = filter else { return };
        let lines = filter.explain(&Request::new(false));
        // A host that does not know it has not asked.
        let _ = abi::call_foreign_function("fyke.explain.v1", lines.join("\n").as_bytes());
    }

    fn reroute(&self, context: u32) {
        if F::CALLBACKS.sees_heads_only()
            && let Some(filter) = self.plugins.filter(context)
        {
            // Of no stream, as in `on_headers`.
            let result = filter.on_reroute(&mut F::Ctx::default(), &mut Request::new(false));
            if !matches!(result, Ok(Flow::Continue)) {
                self.end(context, Side::Request, result);
            }
            return;
        }
        let Some((filter, mut cx)) = self.with_stream(context, Stream::borrow_idle).flatten() else {
            return;
        };
        let result = filter.on_reroute(&mut cx, &mut Request::new(false));
        self.with_stream(context, |stream| stream.cx = Some(cx));
        if !matches!(result, Ok(Flow::Continue)) {
            self.end(context, Side::Request, result);
        }
    }
}
