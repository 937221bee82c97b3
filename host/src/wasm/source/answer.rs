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
        let text: String = text.chars().filter(|letter| !letter.is_control()).take(200).collect();
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
