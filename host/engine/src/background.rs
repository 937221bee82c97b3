//! Threads that compile while others serve: they stand behind those, and get out of their way at once.

use std::io;

/// How long such a thread may go on when somebody more urgent has woken up: the least that Linux takes.
const SLICE: std::time::Duration = std::time::Duration::from_micros(100);

/// From now on the calling thread runs in the background: with this niceness (-20 to 19), in slices of 100 us.
///
/// A thread of much niceness gets little of a core, but what it gets it may use to the end of its slice: milliseconds
/// during which a worker that has just been woken waits. Kernels before 6.12 know no slices of one's own and take the
/// niceness alone. Threads that this one starts have its niceness and the usual slices.
///
/// # Errors
/// Of the operating system: less niceness than now takes a privilege. Nothing has changed then.
pub fn run_in_background(nice: i32) -> io::Result<()> {
    let size = size_of::<libc::sched_attr>();
    let attributes = libc::sched_attr {
        size: u32::try_from(size).map_err(io::Error::other)?,
        sched_policy: u32::try_from(libc::SCHED_OTHER).map_err(io::Error::other)?,
        sched_flags: u64::try_from(libc::SCHED_FLAG_RESET_ON_FORK).map_err(io::Error::other)?,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: u64::try_from(SLICE.as_nanos()).map_err(io::Error::other)?,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of `attributes`, which live until it returns, and writes nothing; 0 is the
    // calling thread.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_steps_back_and_nobody_else() {
        let own = rustix::process::getpriority_process(None).unwrap();
        let theirs = std::thread::spawn(|| {
            run_in_background(17).unwrap();
            let started = std::thread::spawn(|| rustix::process::getpriority_process(None).unwrap());
            (rustix::process::getpriority_process(None).unwrap(), started.join().unwrap())
        });
        assert_eq!(theirs.join().unwrap(), (17, 17));
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), own);
    }
}
