//! Breaks where it is told to: by a request's `x-misbehave: PHASE KIND`, or by the same words as configuration for the phases
//! that belong to no stream.
//!
//! Phases are the names of callbacks (`request_headers`, `tick`, `configure`, ...); kinds are `loop`, `panic`, `memory`, `trap`
//! and `nothing`.

#![allow(missing_docs, reason = "the SDK's macro exports a function without documentation")]

use std::time::Duration;

use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType, LogLevel},
};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root { order: Order::default() }) });
}}

/// Where to break, and how.
#[derive(Clone, Default)]
struct Order {
    phase: String,
    kind: String,
}

impl Order {
    fn parse(text: &str) -> Self {
        let (phase, kind) = text.trim().split_once(' ').unwrap_or_default();
        Self { phase: phase.to_owned(), kind: kind.to_owned() }
    }

    fn reach(&self, phase: &str) {
        if self.phase == phase {
            match self.kind.as_str() {
                "loop" => spin(),
                "memory" => fill(),
                "trap" => trap(),
                "nothing" => {}
                _ => misbehave(),
            }
        }
    }
}

#[expect(clippy::panic, reason = "this is what the guest is for")]
fn misbehave() {
    panic!("told to");
}

fn spin() {
    let mut number = 0_u64;
    while number < u64::MAX {
        number = std::hint::black_box(number.wrapping_add(1) >> 1);
    }
}

fn fill() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    while hoard.len() < usize::MAX {
        hoard.push(std::hint::black_box(vec![1; 1024 * 1024]));
    }
}

#[cfg(target_arch = "wasm32")]
fn trap() {
    core::arch::wasm32::unreachable();
}

#[cfg(not(target_arch = "wasm32"))]
fn trap() {
    std::process::abort();
}

struct Root {
    order: Order,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let configuration = self.get_plugin_configuration().unwrap_or_default();
        self.order = Order::parse(&String::from_utf8_lossy(&configuration));
        self.order.reach("configure");
        if self.order.phase == "tick" {
            self.set_tick_period(Duration::from_millis(50));
        }
        self.order.phase != "refuse"
    }

    fn on_tick(&mut self) {
        self.order.reach("tick");
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { order: self.order.clone() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    order: Order,
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _token: u32, _headers: usize, _body: usize, _trailers: usize) {
        self.order.reach("http_call_response");
        self.resume_http_request();
    }

    fn on_done(&mut self) -> bool {
        self.order.reach("done");
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        if let Some(order) = self.get_http_request_header("x-misbehave") {
            self.order = Order::parse(&order);
        }
        self.order.reach("request_headers");
        if self.order.phase == "http_call_response" {
            let headers = vec![(":method", "GET"), (":path", "/callout"), (":authority", "callout")];
            if self.dispatch_http_call("callout", headers, None, vec![], Duration::from_secs(5)).is_ok() {
                return Action::Pause;
            }
        }
        Action::Continue
    }

    fn on_http_request_body(&mut self, _size: usize, _end: bool) -> Action {
        self.order.reach("request_body");
        Action::Continue
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.order.reach("request_trailers");
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        self.order.reach("response_headers");
        Action::Continue
    }

    fn on_http_response_body(&mut self, _size: usize, _end: bool) -> Action {
        self.order.reach("response_body");
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.order.reach("response_trailers");
        Action::Continue
    }

    fn on_log(&mut self) {
        self.order.reach("log");
    }
}
