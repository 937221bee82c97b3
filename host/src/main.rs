//! The `fyke` binary.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Where the system gives them to whoever asks, the allocator asks: an empty proxy would hold twice as much, and no request be faster.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    fyke::cli::main()
}
