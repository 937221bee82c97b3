//! Records of operations, one JSON object a line.

use std::time::{SystemTime, UNIX_EPOCH};

use fyke_sdk::{ConfigError, Env, LogSink};

use crate::bson::print;
use crate::chance::Chance;
use crate::config::Log as Written;
use crate::flight::Flight;
use crate::json::{Object, text};
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
            object.text("time", timestamp().as_bytes());
            object.text("mongo_prefix", origin.prefix.as_bytes());
            object.text("client", origin.client.as_bytes());
            object.text("server", origin.server.as_bytes());
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
                let out = object.key("error_labels");
                for (at, label) in reply.labels().enumerate() {
                    out.push(if at == 0 { b'[' } else { b',' });
                    text(out, label.as_bytes());
                }
                out.push(b']');
            }
        }
    }
}

/// Now, as `2026-01-31T12:34:56.789Z`.
fn timestamp() -> String {
    format_time(fyke_sdk::time::now())
}

fn format_time(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, milliseconds) = (since.as_secs(), since.subsec_millis());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's `civil_from_days`, for days after 1970.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
            assert_eq!(format_time(UNIX_EPOCH + Duration::from_millis(milliseconds)), expected);
        }
    }
}
