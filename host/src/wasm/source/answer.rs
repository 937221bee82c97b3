//! What a server says, and what that means.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};

use super::error::SourceError;
use crate::config::module::Url;

/// What came of it, be it good or bad.
pub(super) struct Answer {
    /// Who answered, after redirects.
    pub url: Url,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body, if the answer is 200.
    pub fn ok(self) -> Result<Vec<u8>, SourceError> {
        if self.status == StatusCode::OK { Ok(self.body) } else { Err(self.refusal()) }
    }

    /// What an answer other than 200 means.
    pub fn refusal(&self) -> SourceError {
        let (at, status, reason) = (self.url.to_string(), self.status, self.excuse());
        match status.as_u16() {
            401 | 403 => {
                let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
                SourceError::Unauthorized { at, reason: format!("the answer is {status}{reason}") }
            }
            404 | 410 => SourceError::NotFound { at, reason },
            _ => SourceError::Status { at, status, reason },
        }
    }

    /// What a registry says about a refusal (distribution specification, "Error Codes"), fit to be shown.
    fn excuse(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        let text = body.pointer("/errors/0/message").or_else(|| body.get("details"))?.as_str()?;
        let text = shown(text, 200);
        (!text.is_empty()).then_some(text)
    }

    /// How long the server asks to wait before it is asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?;
        match text.trim().parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => {
                let date = httpdate::parse_http_date(text).ok()?;
                Some(date.duration_since(SystemTime::now()).unwrap_or_default())
            }
        }
    }
}

/// What somebody else has written, fit for a log and for an operator's terminal: on one line, and not longer than this many letters.
pub(super) fn shown(text: &str, most: usize) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: &[u8], retry_after: Option<&[u8]>) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after.and_then(|value| HeaderValue::from_bytes(value).ok()) {
            headers.insert(RETRY_AFTER, value);
        }
        let url = Url::parse("https://a.example/m.wasm?token=secret").unwrap();
        Answer { url, status: StatusCode::from_u16(status).unwrap(), headers, body: body.to_vec() }
    }

    #[test]
    fn a_time_to_wait_is_seconds_or_a_date() {
        let wait = |value: &[u8]| answer(503, b"", Some(value)).retry_after();
        assert_eq!(wait(b" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(wait(b"Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert!(wait(b"Fri, 31 Dec 9999 23:59:59 GMT").is_some());
        for none in [&b"-1"[..], b"soon", b"1.5", b"", b"99999999999999999999999", b"\xff"] {
            assert_eq!(wait(none), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn only_200_has_a_body(status in 100_u16..1000, body in any::<Vec<u8>>()) {
            let kept = answer(status, &body, None).ok();
            prop_assert_eq!(kept.is_ok(), status == 200);
            if let Ok(kept) = kept {
                prop_assert_eq!(kept, body);
            }
        }

        #[test]
        fn what_a_server_says_is_shown_on_one_line_and_in_short(
            status in 300_u16..600,
            message in prop_oneof![any::<String>(), "[\x00-\x20\x1b\u{85}a]{0,2000}"],
            key in prop_oneof![Just("errors"), Just("details")],
        ) {
            let body = match key {
                "errors" => serde_json::json!({ "errors": [{ "code": "X", "message": message }] }),
                _ => serde_json::json!({ "details": message }),
            };
            let text = answer(status, body.to_string().as_bytes(), None).refusal().to_string();
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
            prop_assert!(text.chars().count() < 400, "{} letters", text.chars().count());
            prop_assert!(!text.contains("secret") || message.contains("secret"), "{text}");
        }

        #[test]
        fn no_answer_panics(status in 100_u16..1000, body in any::<Vec<u8>>(), wait in any::<Vec<u8>>()) {
            let answer = answer(status, &body, Some(&wait));
            let _ = answer.retry_after();
            let _ = answer.refusal().to_string();
        }
    }
}
