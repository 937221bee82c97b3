//! One stream.

use std::{cell::Cell, rc::Rc};

use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext},
    types::{Action, LogLevel, Status},
};

use crate::Settings;

thread_local! {
    /// The context made last.
    static LAST: Cell<u32> = const { Cell::new(0) };
}

/// One stream.
pub struct Stream {
    id: u32,
    /// The context made before this one.
    before: u32,
    born: Option<Vec<u8>>,
    pub settings: Rc<Settings>,
    /// Body bytes that were seen while the headers waited.
    pub seen: usize,
    pub waiting: bool,
    properties: Vec<(String, Vec<u8>)>,
    count: Option<u64>,
}

impl Stream {
    pub fn new(settings: Rc<Settings>, id: u32) -> Self {
        let born = settings.step("born").and_then(|_| hostcalls::get_property(vec!["plugin_name"]).ok().flatten());
        let before = LAST.replace(id);
        Self { id, before, born, settings, seen: 0, waiting: false, properties: Vec::new(), count: None }
    }

    fn read_properties(&mut self, phase: &str) {
        let settings = Rc::clone(&self.settings);
        for name in settings.step("properties").into_iter().flat_map(|list| list.split(',')) {
            if let Some(value) = self.get_property(name.split('.').collect()) {
                self.properties.push((format!("x-{phase}-{}", name.replace(':', "")), value));
            }
        }
    }

    /// One more in shared data, however many instances count at the same time.
    fn count(&mut self, key: &str) {
        loop {
            let (value, cas) = self.get_shared_data(key);
            let count = value.and_then(|value| Some(u64::from_le_bytes(value.try_into().ok()?))).unwrap_or(0) + 1;
            match self.set_shared_data(key, Some(&count.to_le_bytes()), Some(cas.unwrap_or(0))) {
                Err(Status::CasMismatch) => {}
                _ => {
                    self.count = Some(count);
                    return;
                }
            }
        }
    }

    fn respond(&self, step: &str) -> bool {
        let Some((status, body)) = self.settings.pair(step) else { return false };
        let headers = vec![("x-replied-by", step), ("content-length", "7777")];
        self.send_http_response(status.parse().unwrap_or(500), headers, Some(body.as_bytes()));
        true
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _token: u32, headers: usize, body: usize, _trailers: usize) {
        self.answered(headers, body);
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, end: bool) -> Action {
        let settings = Rc::clone(&self.settings);
        if let Some(name) = settings.step("tag") {
            self.add_http_request_header("x-chain", name);
        }
        if let Some(born) = self.born.take() {
            self.set_http_request_header_bytes("x-born", Some(&born));
        }
        if settings.step("sibling").is_some() {
            let _ = hostcalls::set_effective_context(self.before);
            let name = self.get_property(vec!["plugin_name"]);
            let _ = hostcalls::set_effective_context(self.id);
            self.set_http_request_header_bytes("x-sibling", name.as_deref());
        }
        for line in 0..settings.step("flood").and_then(|number| number.parse().ok()).unwrap_or(0) {
            let _ = hostcalls::log(LogLevel::Info, &format!("flood {line}"));
        }
        if let Some((path, value)) = settings.pair("put") {
            self.set_property(path.split('.').collect(), Some(value.as_bytes()));
        }
        if let Some(name) = settings.step("cluster") {
            self.set_property(vec!["fyke", "cluster"], Some(name.as_bytes()));
        }
        if let Some(metric) = settings.metric {
            let _ = hostcalls::increment_metric(metric, 1);
        }
        if let Some(key) = settings.step("count") {
            self.count(key);
        }
        if let Some((vm, name)) = settings.pair("enqueue") {
            let path = self.get_http_request_header(":path").unwrap_or_default();
            let queue = self.resolve_shared_queue(if vm == "-" { "" } else { vm }, name);
            let said = match queue.map(|queue| self.enqueue_shared_queue(queue, Some(path.as_bytes()))) {
                Some(Ok(())) => "done",
                Some(Err(_)) => "refused",
                None => "unknown",
            };
            self.set_http_request_header("x-queue", Some(said));
        }
        self.read_properties("request");
        if settings.step("upper").is_some() || settings.step("double").is_some() {
            self.set_http_request_header("content-length", None);
        }
        if settings.step("early").is_some() {
            self.resume_http_request();
        }
        if let Some(length) = settings.step("length") {
            self.set_http_request_header("content-length", Some(length));
        }
        if self.respond("respond") {
            return Action::Pause;
        }
        if let Some(cluster) = settings.step("auth") {
            return self.ask(cluster);
        }
        if settings.step("wait").is_some() && !end {
            self.waiting = true;
            return Action::Pause;
        }
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        if self.waiting {
            self.seen = size;
            if !end {
                return Action::Pause;
            }
            if self.settings.step("wait").is_some() {
                self.waiting = false;
                self.set_http_request_header("x-body-size", Some(&size.to_string()));
                return Action::Continue;
            }
            return Action::Pause;
        }
        if self.settings.step("blow").is_some() {
            let more = vec![b'x'; 30 * 1024 * 1024];
            for _ in 0..4 {
                let now = self.get_http_request_body(0, 1).map_or(0, |_| usize::MAX);
                self.set_http_request_body(now, 0, &more);
            }
            return Action::Pause;
        }
        if self.settings.step("double").is_some() {
            if !end {
                return Action::Pause;
            }
            let body = self.get_http_request_body(0, size).unwrap_or_default();
            self.set_http_request_body(0, size, &body.repeat(2));
        }
        if self.settings.step("upper").is_some() {
            let body = self.get_http_request_body(0, size).unwrap_or_default();
            self.set_http_request_body(0, size, &body.to_ascii_uppercase());
        }
        Action::Continue
    }

    fn on_http_request_trailers(&mut self, count: usize) -> Action {
        if self.settings.step("trailers").is_some() {
            self.add_http_request_trailer("x-guest-trailer", &count.to_string());
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        if self.respond("replace") && self.get_http_response_header("x-replied-by").is_none() {
            return Action::Pause;
        }
        let settings = Rc::clone(&self.settings);
        if let Some(name) = settings.step("tag") {
            self.add_http_response_header("x-chain", name);
        }
        if let Some(length) = settings.step("length") {
            self.set_http_response_header("content-length", Some(length));
        }
        if let Some(status) = settings.step("status") {
            self.set_http_response_header(":status", Some(status));
        }
        if settings.step("hold").is_some() {
            return Action::Pause;
        }
        if let Some(count) = self.count {
            self.set_http_response_header("x-count", Some(&count.to_string()));
        }
        self.read_properties("response");
        for (name, value) in std::mem::take(&mut self.properties) {
            self.set_http_response_header_bytes(&name, Some(&value));
        }
        if settings.step("upper").is_some() || settings.step("double").is_some() {
            self.set_http_response_header("content-length", None);
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        if self.settings.step("double").is_some() {
            if !end {
                return Action::Pause;
            }
            let body = self.get_http_response_body(0, size).unwrap_or_default();
            self.set_http_response_body(0, size, &body.repeat(2));
        }
        if self.settings.step("upper").is_some() {
            let body = self.get_http_response_body(0, size).unwrap_or_default();
            self.set_http_response_body(0, size, &body.to_ascii_uppercase());
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, count: usize) -> Action {
        if self.settings.step("trailers").is_some() {
            self.add_http_response_trailer("x-guest-trailer", &count.to_string());
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        if let Some(text) = self.settings.step("log") {
            let path = self.get_http_request_header(":path").unwrap_or_default();
            let status = self.get_http_response_header(":status").unwrap_or_default();
            let _ = hostcalls::log(LogLevel::Info, &format!("{text} {path} {status}"));
        }
    }
}
