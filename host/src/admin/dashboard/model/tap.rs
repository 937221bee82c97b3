//! Requests as they end.

use serde::Serialize;

use super::Time;

/// Longest part of a filter.
const LONGEST: usize = 256;

/// Which requests somebody wants to see. What is empty does not matter.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct TapFilter {
    /// A listener.
    pub listener: String,
    /// The beginning of the path.
    pub path: String,
    /// A status such as `503`, or a class such as `5xx`.
    pub status: String,
    /// A request header: `name`, or `name: value`, where the value may be a part of it.
    pub header: String,
    /// At least so long, in seconds.
    pub latency: Option<f64>,
}

/// Why a filter is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TapFilterError {
    /// Neither `503` nor `5xx`.
    Status,
    /// Neither `250ms` nor `1.5s`.
    Latency,
    /// Too long.
    Length,
}

impl TapFilterError {
    /// For people.
    #[must_use]
    pub fn text(&self) -> &'static str {
        match self {
            Self::Status => "a status is a number such as 503, or a class such as 5xx",
            Self::Latency => "a latency is a number with its unit, such as 250ms or 1.5s",
            Self::Length => "that is too long: each field may have 256 bytes",
        }
    }
}

impl TapFilter {
    /// From the fields of a form.
    ///
    /// # Errors
    /// Which field makes no sense.
    pub fn read(listener: &str, path: &str, status: &str, header: &str, latency: &str) -> Result<Self, TapFilterError> {
        let fields = [listener, path, status, header, latency].map(str::trim);
        if fields.iter().any(|field| field.len() > LONGEST) {
            return Err(TapFilterError::Length);
        }
        let [listener, path, status, header, latency] = fields;
        let status = status.to_ascii_lowercase();
        if !status.is_empty() && !is_status(&status) {
            return Err(TapFilterError::Status);
        }
        let latency = if latency.is_empty() { None } else { Some(seconds(latency).ok_or(TapFilterError::Latency)?) };
        Ok(Self { listener: listener.into(), path: path.into(), status, header: header.into(), latency })
    }

    /// Whether a request is wanted. Names of headers compare without case.
    #[must_use]
    pub fn wants(&self, entry: &TapEntry) -> bool {
        let header = || {
            let (name, value) = self.header.split_once(':').unwrap_or((&self.header, ""));
            let (name, value) = (name.trim(), value.trim());
            entry.headers.iter().any(|(key, held)| key.eq_ignore_ascii_case(name) && held.contains(value))
        };
        (self.listener.is_empty() || self.listener == entry.listener)
            && entry.path.starts_with(&self.path)
            && self.wants_status(entry.status)
            && (self.header.is_empty() || header())
            && self.latency.is_none_or(|least| entry.duration >= least)
    }

    fn wants_status(&self, status: u16) -> bool {
        match self.status.strip_suffix("xx") {
            Some(class) => class.parse() == Ok(status / 100),
            None => self.status.is_empty() || self.status.parse() == Ok(status),
        }
    }
}

fn is_status(word: &str) -> bool {
    match word.as_bytes() {
        [b'1'..=b'5', b'x', b'x'] => true,
        [b'1'..=b'5', tens, ones] => tens.is_ascii_digit() && ones.is_ascii_digit(),
        _ => false,
    }
}

fn seconds(text: &str) -> Option<f64> {
    let (number, factor) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1e-3)
    } else if let Some(number) = text.strip_suffix("us") {
        (number, 1e-6)
    } else {
        (text.strip_suffix('s')?, 1.0)
    };
    let number: f64 = number.trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * factor)
}

/// Requests that were wanted.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Tap {
    /// Newest first.
    pub entries: Vec<TapEntry>,
    /// Wanted requests of the last minute that are not among them, because there were too many.
    pub dropped: u64,
    /// Requests that were looked at, per second.
    pub seen: Option<f64>,
    /// Why no request can be shown at all, and what to use instead.
    pub unavailable: Option<String>,
}

/// A request that has ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct TapEntry {
    /// Rises with every request.
    pub id: u64,
    /// When it ended.
    pub at: Time,
    /// Its listener.
    pub listener: String,
    /// Its method.
    pub method: String,
    /// Whom it asked for.
    pub authority: String,
    /// Its path, without the query.
    pub path: String,
    /// Status of the answer; 0: there was none.
    pub status: u16,
    /// Who answered and why: `response.code_details`.
    pub details: String,
    /// How long it took, in seconds.
    pub duration: f64,
    /// Its route; empty: none.
    pub route: String,
    /// Its cluster; empty: none.
    pub cluster: String,
    /// The endpoint that answered; empty: none.
    pub endpoint: String,
    /// Who asked.
    pub client: String,
    /// Bytes of its body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// Its headers, secrets masked.
    pub headers: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> TapEntry {
        TapEntry {
            listener: "edge".into(),
            path: "/users/7".into(),
            status: 503,
            duration: 0.3,
            headers: vec![("X-Team".into(), "blue-green".into())],
            ..TapEntry::default()
        }
    }

    #[test]
    fn every_field_of_a_filter_must_fit() {
        let wants = |listener, path, status, header, latency| {
            TapFilter::read(listener, path, status, header, latency).unwrap().wants(&entry())
        };
        assert!(wants("", "", "", "", ""));
        assert!(wants("edge", "/users", "5xx", "x-team: green", "250ms"));
        assert!(wants("", "", "503", "x-team", "0.3s"));
        assert!(!wants("web", "", "", "", ""));
        assert!(!wants("", "/user/", "", "", ""));
        assert!(!wants("", "", "4xx", "", "") && !wants("", "", "502", "", ""));
        assert!(!wants("", "", "", "x-team: red", "") && !wants("", "", "", "x-tea", ""));
        assert!(!wants("", "", "", "", "301ms"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for status in ["6xx", "x", "50", "5000", "5x3", "-01", "+50"] {
            assert_eq!(TapFilter::read("", "", status, "", ""), Err(TapFilterError::Status), "{status}");
        }
        for latency in ["5", "ms", "-1s", "nans", "infs", "1 minute"] {
            assert_eq!(TapFilter::read("", "", "", "", latency), Err(TapFilterError::Latency), "{latency}");
        }
        assert_eq!(TapFilter::read(&"x".repeat(257), "", "", "", ""), Err(TapFilterError::Length));
    }
}
