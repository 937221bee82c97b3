//! A filter of TCP connections, written with the official SDK. Its configuration is a list of words, separated by spaces:
//!
//! | word | what it does |
//! |---|---|
//! | `events` | logs every callback, in order |
//! | `upper` | makes what comes from downstream upper case |
//! | `tag=X` | puts `X` before every piece from upstream |
//! | `line` | holds what comes from downstream until there is a line |
//! | `route=C` | sends the connection to cluster `C` |
//! | `ask=C` | asks cluster `C` about a new connection, and closes it unless the answer is 200 |
//! | `down=C`, `up=C` | asks cluster `C` before the first bytes of a direction go on |
//! | `bye` | closes downstream when upstream says `quit` |
//! | `stop` | closes upstream when downstream says `stop` |
//! | `boom` | panics when downstream says `boom` |
//! | `property=P` | logs a property (its path separated by dots) of a new connection |

#![allow(missing_docs, reason = "the SDK's macro exports a function without documentation")]
#![allow(clippy::panic, reason = "it is asked to")]

use std::time::Duration;

use proxy_wasm::{
    hostcalls::log,
    traits::{Context, RootContext, StreamContext},
    types::{Action, ContextType, LogLevel, PeerType},
};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

#[derive(Default)]
struct Root {
    words: Vec<String>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let configuration = self.get_plugin_configuration().unwrap_or_default();
        self.words = String::from_utf8_lossy(&configuration).split_whitespace().map(str::to_owned).collect();
        true
    }

    fn create_stream_context(&self, _id: u32) -> Option<Box<dyn StreamContext>> {
        Some(Box::new(Stream { words: self.words.clone(), waits: Waits::Nothing, asked: false }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::StreamContext)
    }
}

enum Waits {
    Nothing,
    Connection,
    Downstream,
    Upstream,
}

struct Stream {
    words: Vec<String>,
    waits: Waits,
    asked: bool,
}

impl Stream {
    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    fn value(&self, key: &str) -> Option<String> {
        self.words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
    }

    fn event(&self, text: &str) {
        if self.has("events") {
            let _ = log(LogLevel::Info, &format!("event: {text}"));
        }
    }

    fn ask(&mut self, cluster: &str, waits: Waits) -> Action {
        let headers = vec![(":method", "GET"), (":path", "/"), (":authority", "a")];
        self.asked = true;
        match self.dispatch_http_call(cluster, headers, None, vec![], Duration::from_secs(5)) {
            Ok(_) => {
                self.waits = waits;
                Action::Pause
            }
            Err(_) => Action::Continue,
        }
    }
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _token: u32, _headers: usize, _body: usize, _trailers: usize) {
        let allowed = self.get_http_call_response_header(":status").as_deref() == Some("200");
        match std::mem::replace(&mut self.waits, Waits::Nothing) {
            Waits::Connection if !allowed => self.close_downstream(),
            Waits::Connection | Waits::Downstream => self.resume_downstream(),
            Waits::Upstream => self.resume_upstream(),
            Waits::Nothing => {}
        }
    }

    fn on_done(&mut self) -> bool {
        self.event("done");
        true
    }
}

impl StreamContext for Stream {
    fn on_new_connection(&mut self) -> Action {
        self.event("new connection");
        for path in self.words.iter().filter_map(|word| word.strip_prefix("property=")) {
            let value = self.get_property(path.split('.').collect()).unwrap_or_default();
            let _ = log(LogLevel::Info, &format!("property {path} is {:?}", String::from_utf8_lossy(&value)));
        }
        if let Some(cluster) = self.value("route") {
            self.set_property(vec!["fyke", "cluster"], Some(cluster.as_bytes()));
        }
        match self.value("ask") {
            Some(cluster) => self.ask(&cluster, Waits::Connection),
            None => Action::Continue,
        }
    }

    fn on_downstream_data(&mut self, size: usize, end: bool) -> Action {
        self.event(&format!("downstream {size} {end}"));
        let data = self.get_downstream_data(0, size).unwrap_or_default();
        assert!(!(self.has("boom") && contains(&data, "boom")), "told to");
        if self.has("stop") && contains(&data, "stop") {
            self.close_upstream();
            return Action::Continue;
        }
        if self.has("line") && !end && !data.contains(&b'\n') {
            return Action::Pause;
        }
        if matches!(self.waits, Waits::Downstream) {
            return Action::Pause;
        }
        if let Some(cluster) = self.value("down").filter(|_| !self.asked) {
            return self.ask(&cluster, Waits::Downstream);
        }
        if self.has("upper") && !data.is_empty() {
            self.set_downstream_data(0, size, &data.to_ascii_uppercase());
        }
        Action::Continue
    }

    fn on_downstream_close(&mut self, peer: PeerType) {
        self.event(&format!("downstream closed by {peer:?}"));
    }

    fn on_upstream_data(&mut self, size: usize, end: bool) -> Action {
        self.event(&format!("upstream {size} {end}"));
        let data = self.get_upstream_data(0, size).unwrap_or_default();
        if matches!(self.waits, Waits::Upstream) {
            return Action::Pause;
        }
        if let Some(cluster) = self.value("up").filter(|_| !self.asked) {
            return self.ask(&cluster, Waits::Upstream);
        }
        if let Some(tag) = self.value("tag").filter(|_| size > 0) {
            self.set_upstream_data(0, 0, tag.as_bytes());
        }
        if self.has("bye") && contains(&data, "quit") {
            self.close_downstream();
        }
        Action::Continue
    }

    fn on_upstream_close(&mut self, peer: PeerType) {
        self.event(&format!("upstream closed by {peer:?}"));
    }

    fn on_log(&mut self) {
        self.event("log");
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.event("delete");
    }
}
