//! What is counted, in both forms: with labels, and under Envoy's dotted names.

use std::cell::Cell;

use fyke_sdk::abi::{self, MetricKind};
use fyke_sdk::{ConfigError, Counter, DynamicHistogram, Env, Gauge, Histogram};

use crate::flight::Flight;
use crate::message::reply::Reply;
use crate::message::request::{Lookup, Request};
use crate::names::{self, BASE, Base};
use crate::series::{Dotted, Group, Series};
use crate::wire::{opcode, reply_flag};

/// The number of MongoDB's error for a cursor that is gone.
pub const CURSOR_NOT_FOUND: i64 = 43;

/// All metrics of one configuration.
pub struct Stats {
    prefix: String,
    base: Vec<(Counter<1>, Option<Counter<0>>)>,
    active: (Gauge<0>, Option<Gauge<0>>),
    waiting: Cell<i64>,
    operations: Counter<6>,
    request_bytes: Counter<6>,
    scatter: Counter<6>,
    multi: Counter<6>,
    slow: Counter<6>,
    time: DynamicHistogram,
    size: Histogram<6>,
    documents: Histogram<6>,
    errors: Counter<8>,
    write_errors: Counter<6>,
    retry_labels: Counter<3>,
    preferences: Counter<3>,
    lifetime: Histogram<4>,
    refused: Counter<5>,
    dropped: Counter<3>,
    forgotten: Counter<2>,
    unreadable: Counter<2>,
    /// `mongo.<prefix>.`, where Envoy's names are wanted, and the commands that have names of their own.
    dotted: Option<(String, Vec<String>)>,
}

impl Stats {
    /// Defines them. `commands`: which have dotted names of their own; `None`: there are no dotted names.
    ///
    /// # Errors
    /// The host refuses one.
    pub fn define(prefix: &str, commands: Option<Vec<String>>, env: &mut Env) -> Result<Self, ConfigError> {
        let dotted = commands.map(|commands| (format!("mongo.{prefix}."), commands));
        let root = dotted.as_ref().map(|(root, _)| root.clone());
        let mut base = Vec::with_capacity(BASE.len());
        for name in BASE {
            let labelled = env.counter(&format!("{}{name}_total", names::PREFIX), ["mongo_prefix"])?;
            let plain = root.as_ref().map(|root| env.counter(&format!("{root}{name}"), [])).transpose()?;
            base.push((labelled, plain));
        }
        let active = env.gauge(&format!("{}{}", names::PREFIX, names::ACTIVE), [])?;
        let dotted_active = root.as_ref().map(|root| env.gauge(&format!("{root}{}", names::ACTIVE), [])).transpose()?;
        let commanded = ["mongo_prefix", "mongo_cmd", "error_label"];
        Ok(Self {
            prefix: prefix.to_owned(),
            base,
            active: (active, dotted_active),
            waiting: Cell::default(),
            operations: env.counter(names::OPERATIONS, names::LABELS)?,
            request_bytes: env.counter(names::REQUEST_BYTES, names::LABELS)?,
            scatter: env.counter(names::SCATTER_GET, names::LABELS)?,
            multi: env.counter(names::MULTI_GET, names::LABELS)?,
            slow: env.counter(names::SLOW, names::LABELS)?,
            time: env.metric(names::REPLY_TIME).labels(names::REPLY_LABELS).buckets(names::TIME_BOUNDS).histogram()?,
            size: env.histogram(names::REPLY_SIZE, names::LABELS)?,
            documents: env.histogram(names::REPLY_DOCUMENTS, names::LABELS)?,
            errors: env.counter(names::ERRORS, names::ERROR_LABELS)?,
            write_errors: env.counter(names::WRITE_ERRORS, names::LABELS)?,
            retry_labels: env.counter(names::RETRY_LABELS, commanded)?,
            preferences: env.counter(names::PREFERENCES, ["mongo_prefix", "mongo_cmd", "read_preference"])?,
            lifetime: env
                .histogram(names::CURSOR_LIFETIME, ["mongo_prefix", "mongo_db", "mongo_cmd", "mongo_collection"])?,
            refused: env.counter(names::REFUSED, ["mongo_prefix", "mongo_cmd", "app", "reason", "name"])?,
            dropped: env.counter(names::DROPPED, ["mongo_prefix", "mongo_cmd", "reason"])?,
            forgotten: env.counter(names::FORGOTTEN, ["mongo_prefix", "what"])?,
            unreadable: env.counter(names::UNREADABLE, ["mongo_prefix", "reason"])?,
            dotted,
        })
    }

    /// What `mongo_prefix` is.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// One more.
    pub fn count(&self, base: Base) {
        if let Some((labelled, plain)) = self.base.get(base as usize) {
            labelled.increment([&self.prefix]);
            if let Some(plain) = plain {
                plain.increment([]);
            }
        }
    }

    /// How many operations of this worker wait.
    pub fn waiting(&self) -> i64 {
        self.waiting.get()
    }

    /// So many more or fewer operations wait.
    pub fn active(&self, delta: i64) {
        if delta != 0 {
            self.waiting.set(self.waiting.get() + delta);
            self.active.0.add(delta);
            if let Some(dotted) = &self.active.1 {
                dotted.add(delta);
            }
        }
    }

    /// Something was forgotten because there is too much of it.
    pub fn forgotten(&self, what: &str) {
        self.forgotten.increment([&self.prefix, what]);
    }

    /// A message cannot be read.
    pub fn unreadable(&self, reason: &str) {
        self.count(Base::DecodingError);
        self.unreadable.increment([&self.prefix, reason]);
    }

    /// An operation was refused.
    pub fn refused(&self, series: &Series, reason: &str, name: &str) {
        self.refused.increment([&self.prefix, series.command.name, &series.application, reason, name]);
    }

    /// One was refused that asks for no answer.
    pub fn dropped(&self, series: &Series, reason: &str) {
        self.dropped.increment([&self.prefix, series.command.name, reason]);
    }

    /// A cursor is closed.
    pub fn cursor_closed(&self, series: &Series, nanoseconds: u64) {
        let values = [&*self.prefix, &*series.database, series.command.name, &*series.collection];
        self.lifetime.record(nanoseconds / 1_000_000, values);
    }

    /// An operation took too long.
    pub fn slow(&self, series: &Series) {
        self.slow.increment(series.values(&self.prefix));
    }

    /// A request.
    pub fn request(&self, request: &Request, series: &Series, bytes: u32) {
        self.count(match request.opcode {
            opcode::MSG => Base::Msg,
            opcode::QUERY => Base::Query,
            opcode::GET_MORE => Base::GetMore,
            opcode::INSERT => Base::Insert,
            opcode::UPDATE => Base::Update,
            opcode::DELETE => Base::Delete,
            opcode::KILL_CURSORS => Base::KillCursors,
            opcode::COMMAND => Base::Command,
            _ => Base::CommandReply,
        });
        if request.is_compressed {
            self.count(Base::Compressed);
        }
        for (is, base) in [
            (request.is_tailable, Base::TailableCursor),
            (request.has_no_timeout, Base::NoCursorTimeout),
            (request.awaits_data, Base::AwaitData),
            (request.may_exhaust() && request.is_query(), Base::Exhaust),
        ] {
            if is {
                self.count(base);
            }
        }
        let values = series.values(&self.prefix);
        self.operations.increment(values);
        self.request_bytes.add(bytes, values);
        if let Some(preference) = request.preference {
            self.preferences.increment([&self.prefix, series.command.name, preference]);
        }
        if request.is_query() {
            if request.max_time < 1 {
                self.count(Base::NoMaxTime);
            }
            match request.lookup {
                Lookup::Scatter => {
                    self.count(Base::ScatterGet);
                    self.scatter.increment(values);
                }
                Lookup::Multi => {
                    self.count(Base::MultiGet);
                    self.multi.increment(values);
                }
                Lookup::None | Lookup::Key => {}
            }
        }
        let Some(dotted) = self.dotted(series) else { return };
        for (group, name) in [(Some(&dotted.own), ""), (dotted.callsite.as_ref(), &*series.callsite)] {
            let Some(group) = group else { continue };
            abi::increment_metric(group.total, 1);
            let (place, word) = match request.lookup {
                Lookup::Scatter => (&group.scatter, "scatter_get"),
                Lookup::Multi => (&group.multi, "multi_get"),
                Lookup::None | Lookup::Key => continue,
            };
            if place.get() == NONE {
                place.set(self.define_dotted(MetricKind::Counter, &query_path(&series.collection, name), word));
            }
            abi::increment_metric(place.get(), 1);
        }
    }

    /// A reply, and what it answers if that is known.
    pub fn reply(&self, reply: &Reply, flight: Option<&Flight>, server: &str, bytes: u32, nanoseconds: u64) {
        self.count(if reply.opcode == opcode::COMMAND_REPLY { Base::CommandReply } else { Base::Reply });
        if reply.cursor.is_some_and(|cursor| cursor != 0) {
            self.count(Base::ValidCursor);
        }
        let is_legacy = reply.opcode == opcode::REPLY;
        if reply.code == CURSOR_NOT_FOUND || (is_legacy && reply.flags & reply_flag::CURSOR_NOT_FOUND != 0) {
            self.count(Base::CursorNotFound);
        } else if !reply.is_ok {
            self.count(Base::QueryFailure);
        }
        let Some(Flight { series, .. }) = flight else { return };
        let values = series.values(&self.prefix);
        self.time.record(nanoseconds / 1_000, values.into_iter().chain([server]));
        self.size.record(u64::from(bytes), values);
        self.documents.record(reply.documents, values);
        if !reply.is_ok || reply.write_errors > 0 || reply.write_code != 0 {
            self.failure(reply, series, server);
        }
        let Some(dotted) = self.dotted(series) else { return };
        for group in std::iter::once(&dotted.own).chain(&dotted.callsite) {
            let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            abi::record_metric(group.documents, signed(reply.documents));
            abi::record_metric(group.size, i64::from(bytes));
            abi::record_metric(group.time, signed(nanoseconds / 1_000_000));
        }
    }

    /// What went wrong.
    fn failure(&self, reply: &Reply, series: &Series, server: &str) {
        let [prefix, database, command, collection, callsite, application] = series.values(&self.prefix);
        let name = String::from_utf8_lossy(reply.code_name.bytes());
        let number = if reply.code != 0 { reply.code } else { reply.write_code }.to_string();
        let code = if name.is_empty() { &*number } else { &*name };
        self.errors.increment([prefix, database, command, collection, callsite, application, server, code]);
        self.write_errors.add(u32::try_from(reply.write_errors).unwrap_or(u32::MAX), series.values(&self.prefix));
        for label in reply.labels() {
            self.retry_labels.increment([prefix, command, label]);
        }
    }

    /// Envoy's metrics for a series, defined when they are needed for the first time.
    fn dotted<'a>(&self, series: &'a Series) -> Option<&'a Dotted> {
        let (_, commands) = self.dotted.as_ref()?;
        Some(series.dotted.get_or_init(|| {
            if !series.command.is_find() {
                let name = series.command.name;
                let name = if commands.iter().any(|known| known == name) { name } else { "unknown_command" };
                return Dotted { own: self.group(&format!("cmd.{name}.")), callsite: None };
            }
            let own = self.group(&query_path(&series.collection, ""));
            let callsite =
                (!series.callsite.is_empty()).then(|| self.group(&query_path(&series.collection, &series.callsite)));
            Dotted { own, callsite }
        }))
    }

    fn group(&self, path: &str) -> Group {
        Group {
            total: self.define_dotted(MetricKind::Counter, path, "total"),
            documents: self.define_dotted(MetricKind::Histogram, path, "reply_num_docs"),
            size: self.define_dotted(MetricKind::Histogram, path, "reply_size"),
            time: self.define_dotted(MetricKind::Histogram, path, "reply_time_ms"),
            scatter: NONE.into(),
            multi: NONE.into(),
        }
    }

    fn define_dotted(&self, kind: MetricKind, path: &str, name: &str) -> u32 {
        let root = self.dotted.as_ref().map_or("", |(root, _)| root);
        abi::define_metric(kind, &format!("{root}{path}{name}")).unwrap_or(NONE)
    }
}

/// No metric has this number: recording it does nothing.
const NONE: u32 = u32::MAX;

fn query_path(collection: &str, callsite: &str) -> String {
    // Names of clients stay within a line of whatever reads statistics.
    let clean = |name: &str| name.replace(|c: char| c.is_control() || c.is_whitespace(), "_");
    if callsite.is_empty() {
        format!("collection.{}.query.", clean(collection))
    } else {
        format!("collection.{}.callsite.{}.query.", clean(collection), clean(callsite))
    }
}
