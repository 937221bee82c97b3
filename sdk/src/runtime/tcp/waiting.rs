//! Bytes that wait: [`TcpFlow::Wait`](crate::TcpFlow::Wait).
//!
//! The host holds them as it does for a filter that wants more, and the alarm has it show them again. What arrives in between is held with them; whoever
//! has it shown earlier (another filter's continue, `show_again`) is answered with a pause.

use std::time::Duration;

use super::TcpRuntime;
use crate::abi;
use crate::error::Error;
use crate::owner::Owner;
use crate::runtime::log_failure;
use crate::tcp::{Side, TcpFilter, TcpPresent, current};
use crate::timer::Alarm;

impl<F: TcpFilter + TcpPresent> TcpRuntime<F> {
    /// A direction is shown again after a while, and not before.
    pub(super) fn wait(&self, side: Side, context: u32, time: Duration) {
        if !F::CALLBACKS.tasks {
            // Nobody would tell this module what time it is.
            log_failure(&Error::new("a filter that answers `TcpFlow::Wait` in a helper needs `#[tcp_filter(tasks)]`"));
            return self.close(context);
        }
        let alarm = Alarm::after(Owner::Stream(context), time);
        let old = self.with(context, |connection| connection.half(side).alarm.replace(alarm));
        drop(old);
    }

    /// The time of a direction has come, or of both.
    pub(super) fn show_what_waited(&self, context: u32) {
        for side in [Side::Downstream, Side::Upstream] {
            let rung = self.with(context, |connection| {
                let half = connection.half(side);
                let alarm = half.alarm.take_if(|alarm| alarm.has_rung());
                alarm.is_some() && !connection.standing.closed
            });
            if rung != Some(true) {
                continue;
            }
            abi::set_effective_context(context);
            if let Err(error) = current::show(side) {
                log_failure(&error);
                self.close(context);
            }
        }
    }
}
