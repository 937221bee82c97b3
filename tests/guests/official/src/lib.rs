//! A filter on the official SDK that does one of each thing, as its configuration says.
//!
//! The configuration is a list of steps, one a line (or between semicolons):
//!
//! | step | what it does |
//! |---|---|
//! | `tag NAME` | adds `x-chain: NAME` to the request and to the response |
//! | `upper` | writes bodies in capitals, chunk by chunk |
//! | `double` | holds bodies until they are whole, then lets them go twice as long |
//! | `auth CLUSTER` | asks `/check` of a cluster, and lets the request go or answers 403 or 503 |
//! | `wait` | holds the headers until the body has come, then adds `x-body-size` |
//! | `blow` | makes 30 MB more of a request's body each time it looks at it, and holds it |
//! | `early` | lets the request go before there is anything to hold |
//! | `hold` | holds the headers of the answer for ever |
//! | `length NUMBER` | claims this length in the head of both directions |
//! | `respond STATUS BODY` | answers the request itself |
//! | `replace STATUS BODY` | answers in the upstream's place, when its answer has come |
//! | `cluster NAME` | sends the request to a cluster by `fyke.cluster` |
//! | `properties A,B` | puts properties into response headers `x-p-A`, in the request phase and again in the response's |
//! | `put PATH VALUE` | sets a property |
//! | `count KEY` | counts requests in shared data, into the response header `x-count` |
//! | `seed KEY` | stores 100 in shared data while it is configured, for `count` to go on from |
//! | `born` | asks for `plugin_name` while its stream is made, into the request header `x-born` |
//! | `sibling` | asks for `plugin_name` on behalf of the stream context made before its own, into `x-sibling` |
//! | `flood NUMBER` | logs so many lines for each request |
//! | `goodbye TEXT` | logs TEXT when the plugin is done |
//! | `later TEXT` | is not done when it is asked, and logs TEXT and is done a little later |
//! | `metric NAME` | counts requests in a metric |
//! | `tick METRIC` | counts ticks in a metric |
//! | `trailers` | adds `x-guest-trailer: NUMBER` to the trailers of both directions |
//! | `log TEXT` | logs TEXT, path and status at the end of each stream |
//! | `listen NAME` | registers a queue, and logs what comes out of it |
//! | `enqueue VM NAME` | puts each request's path into a queue of a VM (`-`: its own); `x-queue` says what came of it |
//! | `refuse` | refuses its configuration |

#![allow(missing_docs, reason = "the SDK's macro exports a function without documentation")]

mod call;
mod stream;

use std::{rc::Rc, time::Duration};

use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext, RootContext},
    types::{ContextType, LogLevel, MetricType},
};

use stream::Stream;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

/// What the configuration says, for all streams.
#[derive(Default)]
pub struct Settings {
    steps: Vec<(String, String)>,
    metric: Option<u32>,
}

impl Settings {
    /// The argument of a step, if it is there.
    pub fn step(&self, name: &str) -> Option<&str> {
        self.steps.iter().find(|(step, _)| step == name).map(|(_, argument)| argument.as_str())
    }

    /// A step's argument in two words.
    pub fn pair(&self, name: &str) -> Option<(&str, &str)> {
        self.step(name).map(|argument| argument.split_once(' ').unwrap_or((argument, "")))
    }
}

#[derive(Default)]
struct Root {
    settings: Rc<Settings>,
    ticks: Option<u32>,
    ending: bool,
}

impl Context for Root {
    fn on_done(&mut self) -> bool {
        if let Some(text) = self.settings.step("goodbye") {
            let _ = hostcalls::log(LogLevel::Info, text);
        }
        self.ending = self.settings.step("later").is_some();
        !self.ending
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let configuration = self.get_plugin_configuration().unwrap_or_default();
        let configuration = String::from_utf8_lossy(&configuration);
        let steps = configuration
            .split(['\n', ';'])
            .map(|line| line.trim())
            .filter(|line| !line.is_empty())
            .map(|line| line.split_once(' ').unwrap_or((line, "")))
            .map(|(step, argument)| (step.to_owned(), argument.to_owned()));
        let mut settings = Settings { steps: steps.collect(), metric: None };
        if let Some(name) = settings.step("metric") {
            settings.metric = hostcalls::define_metric(MetricType::Counter, name).ok();
        }
        if let Some(name) = settings.step("tick") {
            self.ticks = hostcalls::define_metric(MetricType::Counter, name).ok();
            self.set_tick_period(Duration::from_millis(20));
        }
        if let Some(key) = settings.step("seed") {
            let _ = self.set_shared_data(key, Some(&100_u64.to_le_bytes()), None);
        }
        if let Some(name) = settings.step("listen") {
            self.register_shared_queue(name);
        }
        if settings.step("later").is_some() {
            self.set_tick_period(Duration::from_millis(20));
        }
        let refused = settings.step("refuse").is_some();
        self.settings = Rc::new(settings);
        !refused
    }

    fn on_queue_ready(&mut self, queue: u32) {
        if let Ok(Some(entry)) = self.dequeue_shared_queue(queue) {
            let _ = hostcalls::log(LogLevel::Info, &format!("dequeued {}", String::from_utf8_lossy(&entry)));
        }
    }

    fn on_tick(&mut self) {
        if self.ending {
            self.ending = false;
            let _ = hostcalls::log(LogLevel::Info, self.settings.step("later").unwrap_or_default());
            self.done();
        }
        if let Some(metric) = self.ticks {
            let _ = hostcalls::increment_metric(metric, 1);
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(Rc::clone(&self.settings), id)))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
