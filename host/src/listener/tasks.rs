//! The tasks of a listener's connections, so that they can be cut off when it is gone and its patience too.

use std::cell::RefCell;

use tokio::task::JoinSet;

/// Connections and tunnels of one listener on one worker. Dropped, it cuts them off.
#[derive(Debug, Default)]
pub struct Tasks(RefCell<JoinSet<()>>);

impl Tasks {
    /// Begins one.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.0.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(task);
    }

    /// Lets go of what has ended. Returns how many have not.
    pub fn sweep(&self) -> usize {
        let mut tasks = self.0.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.len()
    }

    /// Cuts off what has not ended.
    pub fn cut(&self) {
        self.0.borrow_mut().abort_all();
    }
}
