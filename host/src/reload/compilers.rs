//! Threads that compile and configure while traffic flows: they stand behind it, and leave it a core where there are two.

use std::{io, thread};

/// Niceness of the threads that compile.
const NICE: i32 = 15;
/// That of those that change something: where the workers take all there is, a change still has to come to its end.
const NICE_OF_CHANGES: i32 = 5;

/// Them.
pub(super) struct Compilers(rayon::ThreadPool);

impl Compilers {
    /// As many as there are cores but one.
    ///
    /// # Errors
    /// Of the operating system, when there is no thread to be had.
    pub fn new() -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(cores.saturating_sub(1).max(1))
            .thread_name(|number| format!("fyke-compile-{number}"))
            .start_handler(|_| stand_behind(NICE))
            .build()
            .map_err(io::Error::other)?;
        Ok(Self(pool))
    }

    /// Runs `work` there, all that it compiles too, and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0.install(work)
    }
}

/// From now on this thread changes something, and stands behind those that serve meanwhile.
pub fn make_way() {
    stand_behind(NICE_OF_CHANGES);
}

/// Where it is not allowed this thread is merely less polite.
fn stand_behind(nice: i32) {
    let _ = fyke_engine::run_in_background(nice);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_stand_behind_others() {
        let own = rustix::process::getpriority_process(None).unwrap();
        let theirs = Compilers::new().unwrap().run(|| rustix::process::getpriority_process(None).unwrap());
        assert_eq!(theirs, NICE.max(own));
        let changes = thread::spawn(|| {
            make_way();
            rustix::process::getpriority_process(None).unwrap()
        });
        assert_eq!(changes.join().unwrap(), NICE_OF_CHANGES.max(own));
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), own);
    }
}
