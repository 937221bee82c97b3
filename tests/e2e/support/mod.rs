//! Clients, upstreams and the proxy in between.

pub mod faulty;
pub mod h2;
pub mod lines;
pub mod load;
pub mod neighbour;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod service;
pub mod site;
pub mod tls;
pub mod upstream;
pub mod wire;

use std::time::{Duration, Instant};

pub use neighbour::Neighbour;
pub use proxy::{Launch, Proxy};
pub use service::Service;
pub use site::{Site, endpoints};
pub use upstream::{Reply, Upstream};
pub use wire::{Conn, Message};

/// How long anything may take that should happen at once: generous, because the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `look` finds something.
#[track_caller]
pub fn eventually<T>(what: impl Into<String>, look: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    let what = what.into();
    let mut look = look;
    async move {
        let begun = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(begun.elapsed() < DEADLINE, "{place}: waited in vain for: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Waits for a future, but not for ever.
#[track_caller]
pub fn soon<T>(what: impl Into<String>, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    let what = what.into();
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(value) => value,
            Err(_) => panic!("{place}: waited in vain for: {what}"),
        }
    }
}

/// Bytes that are not all the same, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Whether the tests that take minutes are wanted.
pub fn long() -> bool {
    std::env::var_os("FYKE_LONG").is_some_and(|value| value == "1")
}
