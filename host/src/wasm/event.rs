//! Events that `proxy_on_foreign_function` brings to whoever asked for them (`host/docs/extensions.md` has their numbers).

use std::rc::Rc;

use fyke_engine::ContextId;

use super::{
    call::{Call, Current},
    env::Env,
    vm::{Slot, Vm},
};

/// Brings an event to the context that asked, if it is still there: a plugin's, or a stream's, which goes on if it has waited for it.
pub fn deliver((env, vm, slot): (&Rc<Env>, &Rc<Vm>, &Rc<Slot>), cx: ContextId, function: u32, event: &[u8]) {
    let entered = if slot.settings(cx).is_some() {
        let mut call = Call::for_root(env, vm, slot);
        slot.enter(|instance| instance.on_foreign_function(&mut call, cx, function, event))
    } else {
        let Some((exchange, index)) = slot.stream(cx) else { return };
        let Ok(mut exchange) = exchange.try_borrow_mut() else { return };
        let current = Current { context: cx, exchange: &mut exchange, index };
        let mut call = Call::for_stream(env, vm, slot, current);
        let entered = slot.enter(|instance| instance.on_foreign_function(&mut call, cx, function, event));
        exchange.wake();
        entered
    };
    if let Some(Err(trap)) = entered {
        vm.trapped(slot, env, &trap);
    }
}
