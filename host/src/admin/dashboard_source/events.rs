//! What happened lately.

use super::{
    super::dashboard::model::{Event, EventKind, Severity, Subject},
    Host,
};
use crate::{
    admin::board,
    telemetry::{
        event_kinds::{self, Kind, Level},
        events,
    },
};

/// The newest first.
pub(super) fn events(host: &Host<'_>, most: usize) -> Vec<Event> {
    let news = host.admin.keeper.proxy.registry().events().after(0);
    news.events.iter().rev().take(most).map(|told| event(told)).collect()
}

fn event(told: &events::Event) -> Event {
    let kind = kind(told.kind);
    let named = told.subject.clone();
    let subject = match kind {
        _ if named.is_empty() => Subject::Process,
        EventKind::Trap | EventKind::Canary => Subject::Filter(named),
        EventKind::Health | EventKind::Discovery => Subject::Cluster(named),
        EventKind::Certificate => Subject::Listener(named),
        _ => Subject::Process,
    };
    let repeats = if told.repeats > 0 { format!("{} more like it", told.repeats) } else { String::new() };
    Event {
        id: told.id,
        at: board::time(told.at),
        kind,
        severity: match told.kind.level {
            Level::Info => Severity::Info,
            Level::Warning => Severity::Warning,
            Level::Error => Severity::Critical,
        },
        subject,
        text: told.message.clone(),
        detail: repeats,
    }
}

/// Under which word the page has it.
fn kind(kind: &Kind) -> EventKind {
    let is = |kinds: &[&Kind]| kinds.iter().any(|one| one.name == kind.name);
    if is(&[&event_kinds::TRAP, &event_kinds::BREAKER_OPEN]) {
        EventKind::Trap
    } else if is(&[&event_kinds::CANARY_STARTED, &event_kinds::CANARY_ENDED, &event_kinds::CANARY_ROLLED_BACK]) {
        EventKind::Canary
    } else if kind.name.starts_with("endpoint_") {
        EventKind::Health
    } else if is(&[
        &event_kinds::ENDPOINTS_DISCOVERED,
        &event_kinds::DISCOVERY_FAILED,
        &event_kinds::CONTROL_PLANE_CONNECTED,
        &event_kinds::CONTROL_PLANE_LOST,
    ]) {
        EventKind::Discovery
    } else if is(&[&event_kinds::OVERLOAD, &event_kinds::OVERLOAD_OVER]) {
        EventKind::Overload
    } else if is(&[&event_kinds::CERTIFICATE_EXPIRES]) {
        EventKind::Certificate
    } else if is(&[&event_kinds::LOG_LEVEL, &event_kinds::FILES_REOPENED, &event_kinds::DRAIN]) {
        EventKind::Operator
    } else {
        EventKind::Reload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_place_on_the_page() {
        let of = |wanted: EventKind| event_kinds::ALL.iter().filter(|one| kind(one) == wanted).count();
        let counts = [EventKind::Reload, EventKind::Trap, EventKind::Canary, EventKind::Health].map(of);
        assert_eq!(counts, [4, 2, 3, 5]);
        let others = [EventKind::Overload, EventKind::Certificate, EventKind::Operator, EventKind::Discovery];
        assert_eq!(others.map(of), [2, 1, 3, 4]);
    }
}
