//! Answers every request with what a gRPC service said, written with the official SDK. The configuration is a word and a cluster:
//!
//! | word | what it does |
//! |---|---|
//! | `call C` | sends the path as a unary call, with 500 ms of time |
//! | `stream C` | opens a stream, sends `one` and `two` and the end, and answers with all events |
//! | `talk C` | opens a stream, answers each message with one that is longer, and ends after three |
//! | `cancel C` | opens a stream, cancels it, and lets the request go |

#![allow(missing_docs, reason = "the SDK's macro exports a function without documentation")]

use std::time::Duration;

use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType, LogLevel, Status},
};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

#[derive(Default)]
struct Root {
    word: String,
    cluster: String,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let configuration = self.get_plugin_configuration().unwrap_or_default();
        let configuration = String::from_utf8_lossy(&configuration).into_owned();
        let (word, cluster) = configuration.split_once(' ').unwrap_or((&configuration, ""));
        (self.word, self.cluster) = (word.to_owned(), cluster.to_owned());
        true
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { word: self.word.clone(), cluster: self.cluster.clone(), events: Vec::new() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    word: String,
    cluster: String,
    events: Vec<String>,
}

impl Stream {
    fn say(&self, text: &str) {
        self.send_http_response(200, vec![], Some(text.as_bytes()));
    }

    fn open(&self) -> Result<u32, Status> {
        self.open_grpc_stream(
            &self.cluster,
            "test.Echo",
            "Talk",
            vec![("x-meta", b"yes"), ("content-type", b"text/plain")],
        )
    }

    fn message(&mut self, size: usize) -> String {
        let message = self.get_grpc_stream_message(0, size).unwrap_or_default();
        String::from_utf8_lossy(&message).into_owned()
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        let begun = match self.word.as_str() {
            "call" => {
                let metadata = vec![("x-meta", &b"yes"[..])];
                let (message, limit) = (Some(path.as_bytes()), Duration::from_millis(500));
                self.dispatch_grpc_call(&self.cluster, "test.Echo", "Say", metadata, message, limit)
            }
            _ => self.open(),
        };
        match (begun, self.word.as_str()) {
            (Err(status), _) => {
                self.say(&format!("refused: {status:?}"));
                return Action::Pause;
            }
            (Ok(token), "stream") => {
                self.send_grpc_stream_message(token, Some(b"one"), false);
                self.send_grpc_stream_message(token, Some(b"two"), true);
            }
            (Ok(token), "talk") => self.send_grpc_stream_message(token, Some(b"x"), false),
            (Ok(token), "cancel") => {
                self.cancel_grpc_stream(token);
                return Action::Continue;
            }
            (Ok(_), _) => {}
        }
        Action::Pause
    }
}

impl Context for Stream {
    fn on_grpc_call_response(&mut self, _token: u32, status: u32, size: usize) {
        let body = self.get_grpc_call_response_body(0, size).unwrap_or_default();
        let (code, message) = self.get_grpc_status();
        let (body, message) = (String::from_utf8_lossy(&body), message.unwrap_or_default());
        self.say(&format!("{status} {code} [{body}] {message}"));
    }

    fn on_grpc_stream_initial_metadata(&mut self, _token: u32, _count: u32) {
        let path = self.get_grpc_stream_initial_metadata_value("x-path").unwrap_or_default();
        self.events.push(format!("initial {}", String::from_utf8_lossy(&path)));
    }

    fn on_grpc_stream_message(&mut self, token: u32, size: usize) {
        let message = self.message(size);
        if self.word == "talk" && message.len() < 3 {
            self.send_grpc_stream_message(token, Some(format!("{message}x").as_bytes()), false);
        } else if self.word == "talk" {
            self.close_grpc_stream(token);
        }
        self.events.push(format!("message {message}"));
    }

    fn on_grpc_stream_trailing_metadata(&mut self, _token: u32, _count: u32) {
        let status = self.get_grpc_stream_trailing_metadata_value("grpc-status").unwrap_or_default();
        self.events.push(format!("trailing {}", String::from_utf8_lossy(&status)));
    }

    fn on_grpc_stream_close(&mut self, _token: u32, status: u32) {
        self.events.push(format!("close {status}"));
        self.say(&self.events.join(", "));
    }
}
