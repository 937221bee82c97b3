//! Looks at what the process uses of its limits, and tells the workers what to do less of.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::{
    config::Config,
    listener::{
        accept::Count,
        overload::{
            Action, Change, Flags, Level, Manager, Pressure, Readings, Resource, Rules,
            memory::{MemoryUse, Statm, SystemFiles, control_group_limit, effective_limit},
        },
    },
    telemetry::{Events, Gauge, Registry, event_kinds, names},
};

/// How often.
const PERIOD: Duration = Duration::from_millis(100);
/// After so many looks at memory the limit of the control group is read again: somebody may have changed it.
const LOOKS: u32 = 50;

/// What decides about overload. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Overload {
    flags: Arc<Flags>,
    usage: Arc<Usage>,
    task: AbortHandle,
}

/// What is used, and may be.
#[derive(Debug)]
struct Usage {
    /// `limits.memory`; 0: not written.
    configured: AtomicU64,
    /// The limit that holds; 0: none.
    limit: AtomicU64,
    resident: AtomicU64,
    connections: Arc<Count>,
}

impl Overload {
    /// Begins to look. Must be called inside the control plane's runtime.
    pub fn start(config: &Config, connections: Arc<Count>, registry: &Registry) -> Self {
        let usage =
            Usage { configured: AtomicU64::new(0), limit: AtomicU64::new(0), resident: AtomicU64::new(0), connections };
        let usage = Arc::new(usage);
        let manager = Manager::new(&Rules::default());
        let flags = manager.flags();
        let task = tokio::spawn(look(manager, Arc::clone(&usage), Gauges::new(registry), registry.events().clone()))
            .abort_handle();
        let overload = Self { flags, usage, task };
        overload.follow(config);
        overload
    }

    /// What workers read.
    pub fn flags(&self) -> Arc<Flags> {
        Arc::clone(&self.flags)
    }

    /// These limits hold from now on.
    pub fn follow(&self, config: &Config) {
        self.usage.configured.store(config.limits.memory.unwrap_or(0), Relaxed);
    }

    /// For the status page: what is used, and how far each action is taken, from 0 to 1.
    pub fn status(&self) -> Value {
        let decisions = self.flags.load();
        let (open, most) = self.usage.connections.read();
        let limit = self.usage.limit.load(Relaxed);
        json!({
            "memory": { "used": self.usage.resident.load(Relaxed), "limit": (limit > 0).then_some(limit) },
            "connections": { "used": open, "limit": most },
            "actions": ACTIONS.map(|action| (word(action), decisions.level(action).fraction().into()))
                .into_iter()
                .map(|(word, level): (&str, Value)| (word.to_owned(), level))
                .collect::<serde_json::Map<_, _>>(),
        })
    }
}

impl Drop for Overload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const ACTIONS: [Action; 3] = [Action::StopAccepting, Action::DisableKeepAlive, Action::ShedRequests];

fn word(action: Action) -> &'static str {
    match action {
        Action::StopAccepting => "stop_accepting",
        Action::DisableKeepAlive => "disable_keep_alive",
        Action::ShedRequests => "shed_requests",
    }
}

struct Gauges {
    actions: [(Action, Gauge); 3],
    memory: Gauge,
    connections: Gauge,
    resident: Gauge,
    memory_limit: Gauge,
    connections_limit: Gauge,
}

impl Gauges {
    fn new(registry: &Registry) -> Self {
        let pressure = |resource| registry.gauge(&names::OVERLOAD_PRESSURE, &[("resource", resource)]);
        let action = |action| (action, registry.gauge(&names::OVERLOAD_ACTIVE, &[("action", word(action))]));
        Self {
            actions: ACTIONS.map(action),
            memory: pressure("memory"),
            connections: pressure("connections"),
            resident: registry.gauge(&names::PROCESS_MEMORY, &[]),
            memory_limit: registry.gauge(&names::PROCESS_MEMORY_LIMIT, &[]),
            connections_limit: registry.gauge(&names::PROCESS_CONNECTIONS_LIMIT, &[]),
        }
    }
}

async fn look(mut manager: Manager, usage: Arc<Usage>, gauges: Gauges, events: Events) {
    let flags = manager.flags();
    let statm = Statm::of_this_process();
    let (mut granted, mut looks) = (None, 0_u32);
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        if looks.is_multiple_of(LOOKS) {
            granted = control_group_limit(&SystemFiles);
        }
        looks = looks.wrapping_add(1);
        let configured = Some(usage.configured.load(Relaxed)).filter(|limit| *limit > 0);
        let limit = effective_limit(configured, granted);
        usage.limit.store(limit.unwrap_or(0), Relaxed);
        let resident = statm.resident().ok();
        if let Some(resident) = resident {
            usage.resident.store(resident, Relaxed);
            gauges.resident.set(signed(resident));
        }
        let (open, most) = usage.connections.read();
        let readings = Readings {
            memory: resident.map(|resident| Pressure::of(resident, limit)),
            connections: Some(Pressure::of(open as u64, Some(most as u64))),
        };
        for change in manager.update(Instant::now(), readings) {
            tell(&change, &usage, &events);
        }
        gauges.memory.set(percent(readings.memory.unwrap_or_default().value()));
        gauges.connections.set(percent(readings.connections.unwrap_or_default().value()));
        gauges.memory_limit.set(signed(limit.unwrap_or(0)));
        gauges.connections_limit.set(i64::try_from(most).unwrap_or(i64::MAX));
        let decisions = flags.load();
        for (action, gauge) in &gauges.actions {
            gauge.set(percent(decisions.level(*action).fraction()));
        }
    }
}

/// Says in the log what begins and what ends; what only goes further is in the metrics.
fn tell(change: &Change, usage: &Usage, events: &Events) {
    let action = word(change.action);
    let because = match change.by {
        Resource::Memory => format!(
            "{} MiB of {} MiB of memory are used",
            usage.resident.load(Relaxed) >> 20,
            usage.limit.load(Relaxed) >> 20
        ),
        Resource::Connections => {
            let (open, most) = usage.connections.read();
            format!("{open} of {most} connections are open")
        }
    };
    if change.from == Level::OFF {
        tracing::warn!(action, "overloaded: {because}; raise `limits`, or give it less to do");
        events.tell(&event_kinds::OVERLOAD, action, format!("overloaded: {because}"), Value::Null);
    } else if change.to == Level::OFF {
        tracing::info!(action, "no longer overloaded: {because}");
        events.tell(&event_kinds::OVERLOAD_OVER, action, format!("no longer overloaded: {because}"), Value::Null);
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "between 0 and 100")]
fn percent(share: f64) -> i64 {
    (share * 100.0).round() as i64
}
