//! The way into a guest.
//!
//! Twenty nanoseconds, of which most are the runtime's: set the budget, lend the host, call, take the host back.

use wasmtime::{Error, Store, TypedFunc, WasmParams, WasmResults};

use crate::callback::Callback;
use crate::error::Trap;
use crate::host::Host;
use crate::limits::Pace;
use crate::state::{Mode, State};
use crate::trap;
use crate::types::ContextId;

/// The host is with the store for as long as this lives. Dropped without [`Loan::end`], by a trap or because
/// the host panicked, the instance is condemned.
pub(crate) struct Loan<'a> {
    store: &'a mut Store<State>,
    ended: bool,
}

impl<'a> Loan<'a> {
    #[inline]
    pub(crate) fn new(
        store: &'a mut Store<State>,
        host: &'a mut dyn Host,
        cx: ContextId,
        mode: Mode,
        pace: Pace,
    ) -> Self {
        store.set_epoch_deadline(1);
        let state = store.data_mut();
        state.budget.begin(pace);
        state.limits.denied = false;
        state.mode = mode;
        // Whatever the previous call switched to is forgotten.
        state.effective = cx;
        // SAFETY: `host` is borrowed for 'a, as long as the loan can live, and its drop clears the pointer. A loan that is
        // forgotten would keep the store borrowed for 'a too, so nothing could run the guest with a stale pointer within
        // 'a; loans are local to this crate and never forgotten.
        unsafe { state.host.set(host) };
        Loan { store, ended: false }
    }

    pub(crate) fn store(&mut self) -> &mut Store<State> {
        self.store
    }

    /// The call has returned.
    #[inline]
    pub(crate) fn end(mut self) {
        self.ended = true;
    }

    /// The call has not.
    #[cold]
    pub(crate) fn trap(&self, error: &Error, callback: &'static str) -> Trap {
        trap::classify(error, self.store.data().limits.denied, callback)
    }
}

impl Drop for Loan<'_> {
    #[inline]
    fn drop(&mut self) {
        let state = self.store.data_mut();
        state.host.clear();
        state.mode = Mode::Idle;
        if !self.ended {
            state.condemned = true;
        }
    }
}

/// Calls a callback under the budget of a call.
#[inline]
pub(crate) fn call<P: WasmParams, R: WasmResults>(
    store: &mut Store<State>,
    host: &mut dyn Host,
    callback: Callback,
    cx: ContextId,
    export: &TypedFunc<P, R>,
    params: P,
) -> Result<R, Trap> {
    paced(store, host, (callback, Pace::Call), cx, export, params)
}

/// Calls a callback under the budget of configuring.
pub(crate) fn configure<P: WasmParams, R: WasmResults>(
    store: &mut Store<State>,
    host: &mut dyn Host,
    callback: Callback,
    cx: ContextId,
    export: &TypedFunc<P, R>,
    params: P,
) -> Result<R, Trap> {
    paced(store, host, (callback, Pace::Configure), cx, export, params)
}

#[inline]
fn paced<P: WasmParams, R: WasmResults>(
    store: &mut Store<State>,
    host: &mut dyn Host,
    (callback, pace): (Callback, Pace),
    cx: ContextId,
    export: &TypedFunc<P, R>,
    params: P,
) -> Result<R, Trap> {
    if store.data().condemned {
        return Err(trap::condemned(callback.name()));
    }
    let mut loan = Loan::new(store, host, cx, Mode::Running, pace);
    match export.call(loan.store(), params) {
        Ok(result) => {
            loan.end();
            Ok(result)
        }
        Err(error) => Err(loan.trap(&error, callback.name())),
    }
}
