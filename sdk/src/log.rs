//! Logs: of the filter itself, of streams when they are over, and records for a sink.
//!
//! With the feature `log` (on by default) the macros of the `log` crate, `log::warn!` and its sisters, go to the host too; those of
//! `tracing` do where its own feature `log` is on. What is below the host's level is not even formatted. The level is
//! looked up whenever a plugin is configured.

use std::cell::RefCell;

use crate::abi::{self, Level, MapKind, Status};
use crate::error::ConfigError;
use crate::property;

#[cfg(feature = "log")]
struct HostLog;

#[cfg(feature = "log")]
impl log_facade::Log for HostLog {
    fn enabled(&self, metadata: &log_facade::Metadata<'_>) -> bool {
        metadata.level() <= log_facade::max_level()
    }

    fn log(&self, record: &log_facade::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            log_facade::Level::Error => Level::Error,
            log_facade::Level::Warn => Level::Warn,
            log_facade::Level::Info => Level::Info,
            log_facade::Level::Debug => Level::Debug,
            log_facade::Level::Trace => Level::Trace,
        };
        match record.args().as_str() {
            Some(message) => abi::log(level, message),
            None => abi::log(level, &record.args().to_string()),
        }
    }

    fn flush(&self) {}
}

/// Leads the `log` crate's macros to the host, at the host's level.
#[cfg(feature = "log")]
pub(crate) fn install() {
    static LOG: HostLog = HostLog;
    // Fails from the second time on, and where the author has a logger of their own.
    let _ = log_facade::set_logger(&LOG);
    log_facade::set_max_level(match abi::log_level() {
        Level::Trace => log_facade::LevelFilter::Trace,
        Level::Debug => log_facade::LevelFilter::Debug,
        Level::Info => log_facade::LevelFilter::Info,
        Level::Warn => log_facade::LevelFilter::Warn,
        Level::Error => log_facade::LevelFilter::Error,
        Level::Critical => log_facade::LevelFilter::Off,
    });
}

/// Writes a line to the host's log.
pub fn write(level: Level, message: &str) {
    abi::log(level, message);
}

/// A stream that is over, read-only. Handed to [`on_log`](crate::HttpFilter::on_log).
#[derive(Debug)]
pub struct StreamLog {
    _private: (),
}

impl StreamLog {
    pub(crate) fn new() -> Self {
        Self { _private: () }
    }

    /// The first value of a request header, as the last filter left it.
    #[must_use]
    pub fn request_header(&self, name: &str) -> Option<Vec<u8>> {
        abi::header(MapKind::RequestHeaders, name)
    }

    /// The first value of a response header, as the client got it.
    #[must_use]
    pub fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        abi::header(MapKind::ResponseHeaders, name)
    }

    /// The first value of a response trailer.
    #[must_use]
    pub fn response_trailer(&self, name: &str) -> Option<Vec<u8>> {
        abi::header(MapKind::ResponseTrailers, name)
    }

    /// A property of the stream, raw; [`property`] has typed readers.
    #[must_use]
    pub fn property(&self, path: &property::Path) -> Option<Vec<u8>> {
        path.read()
    }
}

/// Where records go; from [`Env::log_sink`](crate::Env::log_sink). Writing never waits: a sink that cannot keep up drops and counts.
#[derive(Debug)]
pub struct LogSink {
    /// `None` on hosts without sinks.
    handle: Option<u32>,
    /// Reused for every record, so that writing does not allocate.
    buffer: RefCell<Vec<u8>>,
}

impl LogSink {
    pub(crate) fn open(name: &str) -> Result<Self, ConfigError> {
        let handle = match abi::call_foreign_function("fyke.log.open.v1", name.as_bytes()) {
            Ok(bytes) => match bytes.as_slice().try_into() {
                Ok(bytes) => Some(u32::from_le_bytes(bytes)),
                Err(_) => {
                    return Err(ConfigError::new("the host answered a sink without a handle"));
                }
            },
            Err(Status::NOT_FOUND) => None,
            Err(Status::BAD_ARGUMENT) => {
                return Err(ConfigError::new(format!("there is no sink \"{name}\"")));
            }
            Err(other) => return Err(ConfigError::new(other.to_string())),
        };
        Ok(Self { handle, buffer: RefCell::default() })
    }

    /// Writes one record, which `fill` appends to the (not necessarily empty) buffer that it is given. Without a newline: the
    /// sink ends it. `fill` must not write to the same sink.
    pub fn write_with(&self, fill: impl FnOnce(&mut Vec<u8>)) {
        let Ok(mut buffer) = self.buffer.try_borrow_mut() else {
            debug_assert!(false, "a record was written while another was being filled");
            return;
        };
        buffer.clear();
        if let Some(handle) = self.handle {
            buffer.extend_from_slice(&handle.to_le_bytes());
            fill(&mut buffer);
            // There is nobody to tell: dropped records are the host's to count.
            let _ = abi::call_foreign_function("fyke.log.write.v1", &buffer);
        } else {
            fill(&mut buffer);
            abi::log(Level::Info, &String::from_utf8_lossy(&buffer));
        }
    }

    /// Writes one record.
    pub fn write(&self, record: impl AsRef<[u8]>) {
        self.write_with(|buffer| buffer.extend_from_slice(record.as_ref()));
    }
}

#[cfg(all(test, feature = "log"))]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn the_macros_of_the_log_crate_reach_the_host() {
        World::reset();
        install();
        log_facade::warn!("{} left", 3);
        log_facade::info!("plain");
        let expected = [(Level::Warn, "3 left".to_owned()), (Level::Info, "plain".to_owned())];
        assert_eq!(World::with(|world| world.logs.clone()), expected);
    }
}
