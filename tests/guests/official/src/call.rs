//! The callout that authorises a request.

use std::time::Duration;

use proxy_wasm::{
    traits::{Context, HttpContext},
    types::Action,
};

use crate::stream::Stream;

impl Stream {
    /// Asks, and holds the request until the answer.
    pub fn ask(&mut self, cluster: &str) -> Action {
        let who = self.get_http_request_header("authorization").unwrap_or_default();
        let headers =
            vec![(":method", "GET"), (":path", "/check"), (":authority", "authz"), ("authorization", who.as_str())];
        match self.dispatch_http_call(cluster, headers, None, vec![], Duration::from_secs(2)) {
            Ok(_) => {
                self.waiting = true;
                Action::Pause
            }
            Err(status) => {
                self.send_http_response(500, vec![], Some(format!("callout refused: {status:?}\n").as_bytes()));
                Action::Pause
            }
        }
    }

    /// The answer is there, or none (`headers` is 0).
    pub fn answered(&mut self, headers: usize, body: usize) {
        self.waiting = false;
        let status = self.get_http_call_response_header(":status");
        let text = self.get_http_call_response_body(0, body).unwrap_or_default();
        match status.as_deref() {
            Some("200") => {
                self.set_http_request_header("x-user", Some(&String::from_utf8_lossy(&text)));
                self.set_http_request_header("x-seen-before-answer", Some(&self.seen.to_string()));
                self.resume_http_request();
            }
            Some(_) => self.send_http_response(403, vec![("x-denied", "yes")], Some(b"denied\n")),
            None => self.send_http_response(503, vec![], Some(format!("no answer, {headers} headers\n").as_bytes())),
        }
    }
}
