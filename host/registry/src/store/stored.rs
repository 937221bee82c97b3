//! Hosts as stores write them: the fields of a registration, as somebody could have posted them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::{
    catalog::{Record, Registration},
    clock::Moment,
    error::Problem,
    host::{Fields, Weight},
    load::{LoadState, Written},
    millis,
};

/// What the host has said.
pub(super) fn registration(record: &Record) -> Value {
    let mut fields = json!({
        "ip": record.address.ip(),
        "port": record.address.port(),
        "revision": record.revision,
        "tags": record.tags,
    });
    if let (Some(name), Some(fields)) = (&record.service_repo_name, fields.as_object_mut()) {
        fields.insert("service_repo_name".to_owned(), name.clone().into());
    }
    fields
}

/// Milliseconds since 1970.
pub(super) fn since_1970(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(super) fn at(since_1970: u64) -> SystemTime {
    // Later than that no calendar goes, and no answer can say it.
    UNIX_EPOCH + Duration::from_millis(since_1970.min(250_000_000_000_000))
}

pub(super) fn weight(number: u64) -> Option<Weight> {
    u8::try_from(number).ok().and_then(Weight::new)
}

pub(super) fn load(json: &str) -> Option<LoadState> {
    serde_json::from_str::<Written>(json).ok()?.read()
}

/// What was written, as a record. The limit of tags is not this one's: they were taken once.
pub(super) fn record(
    fields: &Fields,
    operator: Option<Weight>,
    load: Option<LoadState>,
    last_check_in: SystemTime,
    expires: Moment,
) -> Result<Record, Problem> {
    Ok(Registration::read(fields, usize::MAX)?.record(operator, load, last_check_in, expires))
}
