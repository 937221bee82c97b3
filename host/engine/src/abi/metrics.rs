//! Counters, gauges and histograms.

use wasmtime::{Caller, Linker, Result};

use super::{ENV, OK, View, bytes, enter, safe, write_u32, write_u64};
use crate::state::State;
use crate::types::{MetricKind, Status};

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(ENV, "proxy_define_metric", define)?;
    linker.func_wrap(
        ENV,
        "proxy_record_metric",
        |mut caller: Caller<'_, State>, metric: u32, value: u64| -> Result<i32> {
            let view = enter(&mut caller, "proxy_record_metric")?;
            let status = view.host.record_metric(view.cx(), metric, value);
            Ok(safe(status, &[], Status::NotFound))
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_increment_metric",
        |mut caller: Caller<'_, State>, metric: u32, delta: i64| -> Result<i32> {
            let view = enter(&mut caller, "proxy_increment_metric")?;
            let status = view.host.increment_metric(view.cx(), metric, delta);
            Ok(safe(status, &[Status::BadArgument], Status::NotFound))
        },
    )?;
    linker.func_wrap(ENV, "proxy_get_metric", get)?;
    Ok(())
}

/// A metric that cannot be defined has the id 0, which nobody finds: the official SDK panics on any status but success.
fn define(mut caller: Caller<'_, State>, kind: u32, name: u32, name_length: u32, metric_at: u32) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_define_metric")?;
    bytes(memory, metric_at, 4)?;
    let name = bytes(memory, name, name_length)?;
    let metric = MetricKind::from_abi(kind).and_then(|kind| host.define_metric(state.effective, kind, name).ok());
    write_u32(memory, metric_at, metric.unwrap_or(0))?;
    Ok(OK)
}

fn get(mut caller: Caller<'_, State>, metric: u32, value_at: u32) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_get_metric")?;
    match host.metric(state.effective, metric) {
        Ok(value) => {
            write_u64(memory, value_at, value)?;
            Ok(OK)
        }
        Err(Status::BadArgument) => Ok(Status::BadArgument as i32),
        Err(_) => Ok(Status::NotFound as i32),
    }
}
