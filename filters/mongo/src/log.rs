//! Records of operations, one JSON object a line.

use fyke_sdk::property::Value;
use fyke_sdk::{ConfigError, Env, LogSink, abi};

use crate::bson::print;
use crate::chance::Chance;
use crate::config::Log as Written;
use crate::flight::Flight;
use crate::json::Object;
use crate::message::reply::Reply;
use crate::refusal::Why;

/// Where records go, and which.
pub struct Log {
    sink: LogSink,
    operations: bool,
    sample: Chance,
    redact: bool,
    /// Bytes of a command that are kept for it.
    pub statement: usize,
}

/// What has become of an operation.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// It was answered, with so many bytes, so many nanoseconds after it was asked.
    Answered { reply: &'a Reply, bytes: u32, nanoseconds: u64, is_slow: bool },
    /// It asks for no answer.
    Unanswered,
    /// It did not go on.
    Refused(Why<'a>),
}

/// Whose operation it is.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    pub prefix: &'a str,
    pub client: &'a str,
    pub server: &'a str,
    pub user: &'a str,
    pub request_id: i32,
}

impl Log {
    /// Opens the sink. `None`: nothing is ever written down.
    ///
    /// # Errors
    /// There is no such sink.
    pub fn open(written: Option<&Written>, slow: bool, env: &mut Env) -> Result<Option<Self>, ConfigError> {
        let default = Written { operations: false, ..Written::default() };
        let written = match written {
            Some(written) => written,
            None if slow => &default,
            None => return Ok(None),
        };
        let sink = env.log_sink(&written.sink).map_err(|error| error.under("log.sink"))?;
        Ok(Some(Self {
            sink,
            operations: written.operations,
            sample: Chance::new(written.sample),
            redact: written.redact,
            statement: written.statement.and_then(|size| usize::try_from(size).ok()).unwrap_or(1 << 10),
        }))
    }

    /// Writes a record, if this one is to be written.
    pub fn write(&self, origin: &Origin<'_>, flight: &Flight, outcome: Outcome<'_>) {
        if !self.is_wanted(outcome) {
            return;
        }
        self.sink.write_with(|out| {
            let mut object = Object::new(out);
            object.text("time", &timestamp(abi::now()));
            object.text("mongo_prefix", origin.prefix.as_bytes());
            object.text("client", origin.client.as_bytes());
            object.text("server", origin.server.as_bytes());
            object.text("user", origin.user.as_bytes());
            object.number("request_id", origin.request_id);
            let series = &flight.series;
            for (key, value) in [
                ("app", &*series.application),
                ("db", &*series.database),
                ("command", series.command.name),
                ("collection", &*series.collection),
                ("callsite", &*series.callsite),
                ("read_preference", flight.preference.unwrap_or_default()),
            ] {
                object.text(key, value.as_bytes());
            }
            object.number("request_bytes", flight.bytes);
            if let Some(cursor) = flight.cursor {
                object.number("cursor", cursor);
            }
            if let Some(shadow) = &flight.passage.shadow {
                object.text("shadow", shadow.as_bytes());
            }
            outcome_of(&mut object, outcome);
            if let Some(statement) = &flight.statement
                && !series.command.secret
                && !statement.is_empty()
            {
                print::document(object.key("statement"), statement, !self.redact);
            }
            object.end();
        });
    }

    fn is_wanted(&self, outcome: Outcome<'_>) -> bool {
        match outcome {
            Outcome::Refused(_) => true,
            Outcome::Answered { reply, is_slow, .. } if is_slow || (self.operations && !reply.is_ok) => true,
            _ => self.operations && self.sample.is_drawn(),
        }
    }
}

fn outcome_of(object: &mut Object<'_>, outcome: Outcome<'_>) {
    match outcome {
        Outcome::Unanswered => object.text("outcome", b"unanswered"),
        Outcome::Refused(why) => {
            object.text("outcome", b"refused");
            object.text("reason", why.reason().as_bytes());
            object.text("by", why.name().as_bytes());
            if let Why::Limit(over) = why
                && !matches!(over.retry_after, 0 | u64::MAX)
            {
                object.number("retry_after_ms", over.retry_after.div_ceil(1_000_000));
            }
        }
        Outcome::Answered { reply, bytes, nanoseconds, is_slow } => {
            object.text("outcome", if reply.is_ok { b"ok" } else { b"error" });
            object.number("duration_us", nanoseconds / 1_000);
            object.number("reply_bytes", bytes);
            object.number("documents", reply.documents);
            if is_slow {
                object.key("slow").extend_from_slice(b"true");
            }
            if reply.code != 0 {
                object.number("code", reply.code);
            }
            object.text("code_name", reply.code_name.bytes());
            if reply.write_errors > 0 {
                object.number("write_errors", reply.write_errors);
            }
            if reply.write_code != 0 {
                object.number("write_code", reply.write_code);
            }
            if reply.labels != 0 {
                object.texts("error_labels", reply.labels());
            }
        }
    }
}

/// Nanoseconds since 1970, as `2026-01-31T12:34:56.789Z`.
fn timestamp(nanoseconds: u64) -> Vec<u8> {
    Value::Moment(nanoseconds).into_text().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339() {
        for (milliseconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(timestamp(milliseconds * 1_000_000), expected.as_bytes());
        }
    }
}
