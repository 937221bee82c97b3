//! The process's own log: `tracing` to standard error.
//!
//! Levels: ERROR means that a human must act; WARN that something failed and the proxy coped; INFO what an operator wants to have
//! seen (started, reloaded, drained); DEBUG what one needs to find out why; TRACE every step of a stream.

pub mod levels;
mod writer;

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, filter::ParseError};

use self::levels::Levels;

pub use writer::{Control, Log};

/// The environment variable that holds the level when the command line gives none.
pub const VARIABLE: &str = "FYKE_LOG";
/// The level when neither is given.
pub const DEFAULT: &str = "info";

/// What a level may be, from the quietest.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// How messages look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Lines for people, in colour on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is not one.
    #[error(
        "cannot read the log level `{given}`: {source}; try error, warn, info, debug, trace, or a list such as info,fyke::cluster=debug"
    )]
    Level {
        /// What was given.
        given: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A word that is no level. (The directives' own grammar would take it for the name of a part of the program.)
    #[error("cannot read the log level `{given}`: there is no level {word:?}; {help}")]
    Word {
        /// What was given.
        given: String,
        /// The word.
        word: String,
        /// What may have been meant.
        help: String,
    },
    /// Something else in this process has already set it up.
    #[error("logging was set up twice")]
    Twice,
    /// The system gives no thread for it.
    #[error("cannot start the thread of the log: {0}")]
    Thread(io::Error),
}

/// Sets up the log of the process, once. `level` is the command line's `--log`; without it `FYKE_LOG` counts, then `info`.
/// Lines are written by a thread of their own, and nobody waits for it; what is queued is written when the [`Log`] is dropped.
///
/// # Errors
/// When the level cannot be read, or logging was set up before.
pub fn init(level: Option<&str>, format: Format) -> Result<Log, LoggingError> {
    let variable = std::env::var(VARIABLE).ok();
    let base = given(level, variable.as_deref());
    let filter = filter(base)?;
    let queue = writer::start(format).map_err(LoggingError::Thread)?;
    let builder = tracing_subscriber::fmt();
    let levels = match format {
        Format::Text => {
            let builder = builder.with_ansi(io::stderr().is_terminal());
            let builder = builder.with_env_filter(filter).with_writer(queue.clone()).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map(|()| Levels::new(base.to_owned(), move |filter| handle.reload(filter).is_ok()))
        }
        Format::Json => {
            let builder = builder.json().flatten_event(true);
            let builder = builder.with_env_filter(filter).with_writer(queue.clone()).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map(|()| Levels::new(base.to_owned(), move |filter| handle.reload(filter).is_ok()))
        }
    };
    Ok(Log::new(queue, levels.map_err(|_| LoggingError::Twice)?))
}

/// The command line wins over the environment over the default.
fn given<'a>(level: Option<&'a str>, variable: Option<&'a str>) -> &'a str {
    level.or(variable.filter(|value| !value.trim().is_empty())).unwrap_or(DEFAULT)
}

fn filter(given: &str) -> Result<EnvFilter, LoggingError> {
    let unknown = given.split(',').map(str::trim).find(|word| {
        let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain
            && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
            && word.parse::<u8>().is_err()
            && *word != "fyke"
    });
    if let Some(word) = unknown {
        let help = crate::config::suggest::help(word, &LEVELS);
        return Err(LoggingError::Word { given: given.to_owned(), word: word.to_owned(), help });
    }
    EnvFilter::try_new(given).map_err(|source| LoggingError::Level { given: given.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_environment_over_the_default() {
        let text = |level, variable| filter(given(level, variable)).unwrap().to_string();
        assert_eq!(text(Some("debug"), Some("trace")), "debug");
        assert_eq!(text(None, Some("warn,fyke::cluster=debug")), "fyke::cluster=debug,warn");
        assert_eq!(text(None, Some(" ")), "info");
        assert_eq!(text(None, None), "info");
    }

    #[test]
    fn a_wrong_level_is_named_with_what_to_try() {
        let message = filter("fyke=loud").unwrap_err().to_string();
        assert!(message.contains("`fyke=loud`") && message.contains("try error, warn"), "{message}");
        let message = filter("warn,inof").unwrap_err().to_string();
        assert!(message.contains("there is no level \"inof\"; did you mean \"info\"?"), "{message}");
        assert!(filter("fyke,WARN").is_ok());
    }
}
