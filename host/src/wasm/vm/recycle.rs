//! Replaces instances before their memory is full.

use std::{rc::Rc, time::Duration};

use tokio::time::Instant;

use super::{State, Vm};

/// An instance whose memory has come to this share of its limit is replaced, in quarters.
const HIGH_WATER: usize = 3;
/// Recycled instances of one VM that may still be there for old streams.
const RECYCLED: u32 = 4;
/// How often it is looked whether their streams have ended.
const LOOK: Duration = Duration::from_millis(100);
/// How long the plugin contexts of a recycled instance may take to end.
const GOODBYE: Duration = Duration::from_secs(5);

impl Vm {
    /// Replaces the instance where its memory has come close to the limit: streams that are open end on it, new ones begin on the next.
    /// A guest's memory never shrinks, and at the limit it traps.
    pub fn recycle_where_full(self: &Rc<Self>) {
        let Some(slot) = self.slot() else { return };
        let limit = slot.roots.first().map_or(usize::MAX, |root| root.settings.limits.memory);
        let (memory, at_start) = (slot.memory(), slot.memory_at_start);
        let full = memory > limit / 4 * HIGH_WATER && memory > at_start + at_start / 4;
        if !full || self.recycled.get() >= RECYCLED || self.recycling.replace(true) {
            return;
        }
        let vm = Rc::clone(self);
        let asked = self.ask_for_another();
        tokio::task::spawn_local(async move {
            let built = asked.await;
            vm.recycling.set(false);
            let current = matches!(&*vm.state.borrow(), State::Ready(now) if Rc::ptr_eq(now, &slot));
            let built = match built {
                // It trapped or ended meanwhile.
                _ if !current => return,
                Ok(built) => built,
                Err(error) => {
                    tracing::error!(
                        filter = &*vm.name,
                        "no instance in place of the one whose memory is full: {error}"
                    );
                    return;
                }
            };
            tracing::info!(
                filter = &*vm.name,
                memory,
                limit,
                "an instance is replaced: its memory has come close to the limit"
            );
            vm.metrics.recycled.inc();
            vm.recycled.set(vm.recycled.get() + 1);
            vm.install(built);
            // Streams without contexts of their own hold it as well.
            while Rc::strong_count(&slot) > 1 && !slot.is_condemned() && !vm.has_ended() {
                tokio::time::sleep(LOOK).await;
            }
            vm.say_goodbye(&slot, Instant::now() + GOODBYE).await;
            slot.condemn();
            vm.recycled.set(vm.recycled.get() - 1);
        });
    }
}
