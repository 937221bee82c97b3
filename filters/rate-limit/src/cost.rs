//! How much something counts, now or afterwards.

use fyke_sdk::property::{Path, decode_integer};
use fyke_sdk::{ConfigError, StreamLog, header_name};

use crate::config::{self, CostSource};
use crate::source::Subject;

/// The most, where nothing says so.
const MOST: u64 = 1_000_000_000;

/// How many of its bursts a limit may be overdrawn by what is charged afterwards.
pub const DEBT: u64 = 10;

/// A cost, ready.
#[derive(Debug)]
pub enum Cost {
    Fixed(u64),
    Of { from: From, minimum: u64, maximum: u64, per: u64 },
}

#[derive(Debug)]
pub enum From {
    RequestHeader(String),
    ResponseHeader(String),
    RequestSize(Path),
    ResponseSize(Path),
}

/// What is known when a request arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// So much.
    Now(u64),
    /// Nothing: it has to be charged afterwards.
    Later,
}

impl Known {
    /// What counts now.
    #[must_use]
    pub const fn now(self) -> u64 {
        match self {
            Self::Now(cost) => cost,
            Self::Later => 1,
        }
    }
}

impl Cost {
    /// Makes one ready.
    ///
    /// # Errors
    /// What is wrong, and where in it.
    pub fn new(written: &config::Cost) -> Result<Self, ConfigError> {
        let of = match written {
            config::Cost::One => return Ok(Self::Fixed(1)),
            config::Cost::Fixed(amount) => return Ok(Self::Fixed(amount.get())),
            config::Cost::Of(of) => of,
        };
        let minimum = of.minimum.map_or(1, |amount| amount.get());
        let maximum = of.maximum.map_or(MOST.max(minimum), |amount| amount.get());
        if minimum > maximum {
            return Err(ConfigError::at("maximum", format!("{maximum} is less than the minimum, {minimum}")));
        }
        let sized = matches!(of.from, CostSource::RequestSize | CostSource::ResponseSize);
        if of.per.is_some() && !sized {
            return Err(ConfigError::at("per", "belongs to request_size or response_size"));
        }
        let named = |name: &str, key: &str| header_name(name).map_err(|error| error.under(key).under("from"));
        let from = match &of.from {
            CostSource::RequestHeader(name) => From::RequestHeader(named(name, "request_header")?),
            CostSource::ResponseHeader(name) => From::ResponseHeader(named(name, "response_header")?),
            CostSource::RequestSize => From::RequestSize(Path::new(&["request", "size"])),
            CostSource::ResponseSize => From::ResponseSize(Path::new(&["response", "size"])),
        };
        Ok(Self::Of { from, minimum, maximum, per: of.per.map_or(1, |amount| amount.get()) })
    }

    /// Whether it may have to be charged afterwards.
    #[must_use]
    pub const fn may_be_late(&self) -> bool {
        matches!(self, Self::Of { from: From::ResponseHeader(_) | From::RequestSize(_) | From::ResponseSize(_), .. })
    }

    /// What is known when a request or a connection arrives.
    #[must_use]
    pub fn now(&self, subject: Subject<'_>) -> Known {
        let Self::Of { from, minimum, .. } = self else { return Known::Now(self.bounded(1)) };
        match (from, subject) {
            (From::RequestHeader(_), Subject::Tcp) => Known::Now(*minimum),
            (From::RequestHeader(name), Subject::Http(request)) => {
                Known::Now(request.get(name).and_then(number).map_or(*minimum, |number| self.bounded(number)))
            }
            (From::RequestSize(_), Subject::Http(request)) => match request.get("content-length").and_then(number) {
                Some(size) => Known::Now(self.bounded(size)),
                None if request.end_of_stream() => Known::Now(self.bounded(0)),
                None => Known::Later,
            },
            (From::RequestSize(_) | From::ResponseHeader(_) | From::ResponseSize(_), _) => Known::Later,
        }
    }

    /// What is known at the end.
    #[must_use]
    pub fn at_the_end(&self, log: &StreamLog) -> u64 {
        let Self::Of { from, minimum, .. } = self else { return self.bounded(1) };
        let size = |path: &Path| log.property(path).and_then(|bytes| u64::try_from(decode_integer(&bytes)?).ok());
        let said = match from {
            From::RequestHeader(_) => None,
            From::ResponseHeader(name) => log.response_header(name).as_deref().and_then(number),
            From::RequestSize(path) | From::ResponseSize(path) => size(path),
        };
        said.map_or(*minimum, |said| self.bounded(said))
    }

    fn bounded(&self, said: u64) -> u64 {
        match self {
            Self::Fixed(cost) => *cost,
            Self::Of { minimum, maximum, per, .. } => said.div_ceil(*per).clamp(*minimum, *maximum),
        }
    }
}

/// Digits, of which there may be too many; anything else is no number. It belongs to a client, who must not make it negative.
fn number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(digits).ok()?.parse().unwrap_or(u64::MAX))
}
