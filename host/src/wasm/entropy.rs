//! Random bytes for guests: fetched from the operating system a page at a time, because a system call for each request's id costs more
//! than making the id.

use std::cell::RefCell;

/// Small requests are served from a store of this size.
const PAGE: usize = 1024;
/// Requests from here on go to the operating system directly.
const LARGE: usize = 256;

/// A worker's store of random bytes. Each byte is given out once, and is gone from the store then.
pub struct Entropy {
    store: RefCell<Store>,
}

struct Store {
    bytes: [u8; PAGE],
    left: usize,
}

impl Default for Entropy {
    fn default() -> Self {
        Self { store: RefCell::new(Store { bytes: [0; PAGE], left: 0 }) }
    }
}

impl Entropy {
    /// Fills `out` with bytes fit for cryptography.
    pub fn fill(&self, out: &mut [u8]) {
        let Ok(mut store) = self.store.try_borrow_mut() else { return from_system(out) };
        if out.len() >= LARGE {
            return from_system(out);
        }
        if store.left < out.len() {
            from_system(&mut store.bytes);
            store.left = PAGE;
        }
        let from = store.left - out.len();
        let left = store.left;
        if let Some(page) = store.bytes.get_mut(from..left) {
            out.copy_from_slice(page);
            page.fill(0);
        }
        store.left = from;
    }
}

/// Fills `out` from the operating system.
pub fn from_system(out: &mut [u8]) {
    let mut filled = 0;
    while let Some(rest) = out.get_mut(filled..)
        && !rest.is_empty()
    {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) if count > 0 => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => {
                tracing::error!("the operating system gives no randomness");
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_are_given_out_twice_also_across_pages() {
        let entropy = Entropy::default();
        let mut seen = HashSet::new();
        for _ in 0..(3 * PAGE / 16) {
            let mut id = [0; 16];
            entropy.fill(&mut id);
            assert!(seen.insert(id));
        }
    }

    #[test]
    fn any_length_is_filled() {
        let entropy = Entropy::default();
        for length in [0, 1, 100, LARGE - 1, LARGE, 3 * PAGE] {
            let mut bytes = vec![0; length];
            entropy.fill(&mut bytes);
            assert!(length < 16 || bytes.iter().any(|byte| *byte != 0), "{length} bytes");
            assert!(length < 16 || !bytes.ends_with(&[0; 16]), "{length} bytes");
        }
    }
}
