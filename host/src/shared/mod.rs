//! What filters share: data in a sharded map for the whole process, scoped by VM, and queues ([`queue`]).

pub mod queue;

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

use dashmap::DashMap;
use queue::Queues;

/// Keys and values of one VM may take this much together; more is refused, which traps the guest.
const LIMIT: usize = 64 * 1024 * 1024;

/// What an entry takes besides its bytes.
const ENTRY: usize = 96;

/// `proxy_get_shared_data` and `proxy_set_shared_data`.
#[derive(Debug)]
pub struct SharedData {
    scopes: DashMap<String, Arc<Scope>>,
    queues: Arc<Queues>,
}

/// The data of one VM id.
#[derive(Debug)]
pub struct Scope {
    /// `vm:NAME` or `filter:NAME`.
    pub name: String,
    /// Queues of the process, those of other scopes among them.
    pub queues: Arc<Queues>,
    values: DashMap<Vec<u8>, Value>,
    bytes: AtomicUsize,
    next: AtomicU32,
}

#[derive(Debug)]
struct Value {
    /// Exactly as large as they are counted.
    bytes: Box<[u8]>,
    cas: u32,
}

/// Why a value was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Somebody stored another value meanwhile.
    Stale,
    /// The scope holds as much as it may.
    Full,
}

impl Default for SharedData {
    fn default() -> Self {
        Self { scopes: DashMap::new(), queues: Arc::default() }
    }
}

impl SharedData {
    /// The data of one VM id.
    #[must_use]
    pub fn scope(&self, vm: &str) -> Arc<Scope> {
        if let Some(scope) = self.scopes.get(vm) {
            return Arc::clone(&scope);
        }
        let scope = self.scopes.entry(vm.to_owned()).or_insert_with(|| {
            Arc::new(Scope {
                name: vm.to_owned(),
                queues: Arc::clone(&self.queues),
                values: DashMap::new(),
                bytes: AtomicUsize::new(0),
                next: AtomicU32::new(0),
            })
        });
        Arc::clone(&scope)
    }
}

impl Scope {
    /// The id of a queue that a VM registered: one of this scope where no VM is named, else of the VM or filter of that name.
    #[must_use]
    pub fn resolve_queue(&self, vm: &[u8], name: &[u8]) -> Option<u32> {
        if vm.is_empty() {
            return self.queues.resolve(&self.name, name);
        }
        let vm = std::str::from_utf8(vm).ok()?;
        ["vm", "filter"].iter().find_map(|kind| self.queues.resolve(&format!("{kind}:{vm}"), name))
    }

    /// Appends the value to `out` and returns its token, which is never zero.
    pub fn read(&self, key: &[u8], out: &mut Vec<u8>) -> Option<u32> {
        let value = self.values.get(key)?;
        out.extend_from_slice(&value.bytes);
        Some(value.cas)
    }

    /// Stores a value. `cas` zero stores unconditionally; a key that does not exist ignores it.
    ///
    /// # Errors
    /// [`Conflict`].
    pub fn write(&self, key: &[u8], bytes: &[u8], cas: u32) -> Result<(), Conflict> {
        let next = || loop {
            let cas = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if cas != 0 {
                break cas;
            }
        };
        // The entry is locked from here on: two writers with the same token cannot both succeed.
        match self.values.entry(key.to_vec()) {
            dashmap::Entry::Occupied(mut entry) => {
                let value = entry.get_mut();
                if cas != 0 && cas != value.cas {
                    return Err(Conflict::Stale);
                }
                self.reserve(bytes.len(), value.bytes.len())?;
                value.bytes = bytes.into();
                value.cas = next();
            }
            dashmap::Entry::Vacant(entry) => {
                self.reserve(ENTRY + key.len() + bytes.len(), 0)?;
                entry.insert(Value { bytes: bytes.into(), cas: next() });
            }
        }
        Ok(())
    }

    fn reserve(&self, more: usize, less: usize) -> Result<(), Conflict> {
        let now = self.bytes.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        if now.saturating_sub(less) > LIMIT {
            self.bytes.fetch_sub(more, Ordering::Relaxed);
            return Err(Conflict::Full);
        }
        self.bytes.fetch_sub(less, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_token_is_refused_and_the_value_kept() {
        let data = SharedData::default();
        let scope = data.scope("vm");
        scope.write(b"k", b"one", 0).unwrap();
        let mut out = Vec::new();
        let first = scope.read(b"k", &mut out).unwrap();
        assert_ne!(first, 0);
        scope.write(b"k", b"two", first).unwrap();
        assert_eq!(scope.write(b"k", b"three", first), Err(Conflict::Stale));
        out.clear();
        assert!(scope.read(b"k", &mut out).unwrap() > first);
        assert_eq!(out, b"two");
    }

    #[test]
    fn a_token_for_a_missing_key_is_ignored() {
        let scope = SharedData::default().scope("vm");
        assert_eq!(scope.write(b"k", b"v", 99), Ok(()));
    }

    #[test]
    fn scopes_do_not_see_each_other() {
        let data = SharedData::default();
        data.scope("a").write(b"k", b"v", 0).unwrap();
        assert_eq!(data.scope("b").read(b"k", &mut Vec::new()), None);
    }

    #[test]
    fn a_scope_is_bounded_and_overwriting_gives_room_back() {
        let scope = SharedData::default().scope("vm");
        let half = vec![0u8; LIMIT / 2];
        for _ in 0..5 {
            scope.write(b"a", &half, 0).unwrap();
        }
        assert_eq!(scope.write(b"b", &half, 0), Err(Conflict::Full));
        scope.write(b"a", b"", 0).unwrap();
        assert_eq!(scope.write(b"b", &half, 0), Ok(()));
    }

    #[test]
    fn many_small_keys_are_counted_with_what_they_take() {
        let scope = SharedData::default().scope("vm");
        let most = LIMIT / ENTRY;
        let stored = (0..2 * most).filter(|key| scope.write(&key.to_le_bytes(), b"", 0).is_ok()).count();
        assert!(stored <= most, "{stored} keys");
    }

    #[test]
    fn concurrent_increments_by_compare_and_swap_lose_nothing() {
        let scope = SharedData::default().scope("vm");
        scope.write(b"n", &0u64.to_le_bytes(), 0).unwrap();
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for _ in 0..500 {
                        loop {
                            let mut out = Vec::new();
                            let cas = scope.read(b"n", &mut out).unwrap();
                            let n = u64::from_le_bytes(out.try_into().unwrap()) + 1;
                            if scope.write(b"n", &n.to_le_bytes(), cas).is_ok() {
                                break;
                            }
                        }
                    }
                });
            }
        });
        let mut out = Vec::new();
        scope.read(b"n", &mut out).unwrap();
        assert_eq!(u64::from_le_bytes(out.try_into().unwrap()), 2000);
    }
}
