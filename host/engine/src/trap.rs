//! From the runtime's errors to [`Trap`]s.

use wasmtime::{Error, WasmBacktrace};

use crate::error::{Trap, TrapKind};
use crate::state::Abort;

/// Whether guest code was at fault, as opposed to the machine.
pub(crate) fn is_guest(error: &Error) -> bool {
    error.is::<wasmtime::Trap>() || error.is::<Abort>()
}

/// Describes `error`. When growth was `denied` during the call, whatever the guest did about it is put down to that.
#[cold]
pub(crate) fn classify(error: &Error, denied: bool, callback: &'static str) -> Trap {
    let (kind, message) = if let Some(abort) = error.downcast_ref::<Abort>() {
        (abort.kind(), abort.to_string())
    } else if let Some(trap) = error.downcast_ref::<wasmtime::Trap>() {
        match trap {
            wasmtime::Trap::UnreachableCodeReached => {
                (TrapKind::Unreachable, "it aborted, by a panic or a failed assertion; its log may say more".to_owned())
            }
            wasmtime::Trap::Interrupt => (TrapKind::Deadline, trap.to_string()),
            _ => (TrapKind::Other, trap.to_string()),
        }
    } else {
        (TrapKind::Other, error.root_cause().to_string())
    };
    let (kind, message) = match kind {
        TrapKind::Unreachable | TrapKind::Exit | TrapKind::Other if denied => {
            (TrapKind::Memory, format!("it ran out of the memory that it is allowed ({message})"))
        }
        kind => (kind, message),
    };
    let backtrace = error.downcast_ref::<WasmBacktrace>().map_or_else(String::new, frames);
    Trap { kind, callback, message, backtrace }
}

/// One line per frame, without the headline.
fn frames(backtrace: &WasmBacktrace) -> String {
    let text = backtrace.to_string();
    let frames: Vec<_> = text.lines().skip_while(|line| !line.trim_start().starts_with("0:")).map(str::trim).collect();
    frames.join("\n")
}

/// The answer of an instance that is not entered any more.
#[cold]
pub(crate) fn condemned(callback: &'static str) -> Trap {
    let message = "the instance had failed before and is not used any more".to_owned();
    Trap { kind: TrapKind::Condemned, callback, message, backtrace: String::new() }
}
