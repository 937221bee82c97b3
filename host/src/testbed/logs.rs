//! What the filter logged: kept, for the test to look at, in place of the process's log.

use std::{
    fmt::{self, Write as _},
    sync::{Mutex, PoisonError},
};

use tracing::{Event, Level, Subscriber, field::Visit, level_filters::LevelFilter};
use tracing_subscriber::{Layer, layer::Context, prelude::*};

/// One process serves one test.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The lines of filters so far.
pub(super) fn lines() -> Vec<String> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Keeps a line that a filter logged elsewhere.
pub(super) fn keep(line: String) {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
}

/// Takes over the log of the process: what filters say is kept, what the proxy itself complains about goes to standard error.
pub fn capture() {
    // Whoever set it up before keeps it; then there is nothing to look at.
    let _ = tracing_subscriber::registry().with(Keep).try_init();
}

struct Keep;

impl<S: Subscriber> Layer<S> for Keep {
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut message = Message::default();
        if metadata.target() == "fyke::filter" {
            event.record(&mut message);
            keep(message.0);
        } else if *metadata.level() <= Level::WARN {
            event.record(&mut message);
            eprintln!("fyke: {}", message.0);
        }
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}
