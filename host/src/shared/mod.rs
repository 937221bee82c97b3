//! What filters share: data in a sharded map for the whole process, scoped by VM, and queues ([`queue`]).

pub mod limiter;
pub mod queue;

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
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
    /// Limits; hardly any scope has some.
    limits: OnceLock<limiter::Limits>,
    values: DashMap<Vec<u8>, Value, ahash::RandomState>,
    bytes: AtomicUsize,
    next: AtomicU32,
    /// Nothing is over before this.
    due: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Value {
    /// Exactly as large as they are counted.
    bytes: Box<[u8]>,
    cas: u32,
    /// From then on it is as if it were not there.
    expires: Option<Instant>,
}

impl Value {
    fn is_over(&self) -> bool {
        self.expires.is_some_and(|at| at <= Instant::now())
    }
}

/// Why nothing was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSum {
    /// What is there is no number of eight bytes.
    NoNumber,
    /// The scope holds as much as it may.
    Full,
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
                limits: OnceLock::new(),
                values: DashMap::default(),
                bytes: AtomicUsize::new(0),
                next: AtomicU32::new(0),
                due: Mutex::new(None),
            })
        });
        Arc::clone(&scope)
    }
}

impl Scope {
    /// The limits of this scope.
    pub fn limits(&self) -> &limiter::Limits {
        self.limits.get_or_init(limiter::Limits::default)
    }

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
        let value = self.values.get(key).filter(|value| !value.is_over())?;
        out.extend_from_slice(&value.bytes);
        Some(value.cas)
    }

    /// Stores a value. `cas` zero stores unconditionally; a key that does not exist ignores it.
    ///
    /// # Errors
    /// [`Conflict`].
    pub fn write(&self, key: &[u8], bytes: &[u8], cas: u32) -> Result<(), Conflict> {
        match self.try_write(key, bytes, cas) {
            // What is over may have to make room first.
            Err(Conflict::Full) if self.sweep() => self.try_write(key, bytes, cas),
            other => other,
        }
    }

    fn try_write(&self, key: &[u8], bytes: &[u8], cas: u32) -> Result<(), Conflict> {
        // The entry is locked from here on: two writers with the same token cannot both succeed.
        match self.values.entry(key.to_vec()) {
            dashmap::Entry::Occupied(mut entry) => {
                let value = entry.get_mut();
                if cas != 0 && cas != value.cas && !value.is_over() {
                    return Err(Conflict::Stale);
                }
                self.reserve(bytes.len(), value.bytes.len())?;
                *value = Value { bytes: bytes.into(), cas: self.token(), expires: None };
            }
            dashmap::Entry::Vacant(entry) => {
                self.reserve(ENTRY + key.len() + bytes.len(), 0)?;
                entry.insert(Value { bytes: bytes.into(), cas: self.token(), expires: None });
            }
        }
        Ok(())
    }

    /// Removes a value. Returns whether there was one.
    pub fn delete(&self, key: &[u8]) -> bool {
        let Some((key, value)) = self.values.remove(key) else { return false };
        self.bytes.fetch_sub(ENTRY + key.len() + value.bytes.len(), Ordering::Relaxed);
        !value.is_over()
    }

    /// Adds to a number of eight bytes, little-endian, and returns the sum; one that is not there is zero. It keeps its time to live.
    ///
    /// # Errors
    /// [`NoSum`]. Nothing is changed then.
    pub fn add(&self, key: &[u8], delta: i64) -> Result<i64, NoSum> {
        match self.try_add(key, delta) {
            Err(NoSum::Full) if self.sweep() => self.try_add(key, delta),
            other => other,
        }
    }

    fn try_add(&self, key: &[u8], delta: i64) -> Result<i64, NoSum> {
        let full = |_: Conflict| NoSum::Full;
        match self.values.entry(key.to_vec()) {
            dashmap::Entry::Occupied(mut entry) => {
                let value = entry.get_mut();
                let (now, expires) = if value.is_over() {
                    (0, None)
                } else {
                    let bytes = <[u8; 8]>::try_from(&*value.bytes).map_err(|_| NoSum::NoNumber)?;
                    (i64::from_le_bytes(bytes), value.expires)
                };
                self.reserve(8, value.bytes.len()).map_err(full)?;
                let sum = now.wrapping_add(delta);
                *value = Value { bytes: sum.to_le_bytes().into(), cas: self.token(), expires };
                Ok(sum)
            }
            dashmap::Entry::Vacant(entry) => {
                self.reserve(ENTRY + key.len() + 8, 0).map_err(full)?;
                entry.insert(Value { bytes: delta.to_le_bytes().into(), cas: self.token(), expires: None });
                Ok(delta)
            }
        }
    }

    /// A new token, never zero.
    fn token(&self) -> u32 {
        loop {
            let cas = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if cas != 0 {
                return cas;
            }
        }
    }

    /// Gives a value this long to live; zero: for ever. Returns whether there is one.
    pub fn expire(&self, key: &[u8], after: Duration) -> bool {
        match self.values.get_mut(key) {
            Some(mut value) if !value.is_over() => {
                value.expires = if after.is_zero() { None } else { Instant::now().checked_add(after) };
                self.note_due(value.expires);
                true
            }
            _ => false,
        }
    }

    /// The keys that begin with `prefix`, sorted, as many as fit into `most` bytes.
    #[must_use]
    pub fn keys(&self, prefix: &[u8], most: usize) -> Vec<Vec<u8>> {
        let found = self.values.iter().filter(|entry| entry.key().starts_with(prefix) && !entry.value().is_over());
        let mut keys: Vec<Vec<u8>> = found.map(|entry| entry.key().clone()).collect();
        keys.sort_unstable();
        let mut left = most;
        keys.into_iter()
            .take_while(|key| {
                let fits = key.len() + 4 <= left;
                left = left.saturating_sub(key.len() + 4);
                fits
            })
            .collect()
    }

    /// Forgets what is over. Returns whether that was anything.
    fn sweep(&self) -> bool {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.is_none_or(|due| Instant::now() < due) {
            // A full scope is not searched again for every value that it refuses.
            return false;
        }
        *due = None;
        drop(due);
        let (mut freed, mut next) = (0, None::<Instant>);
        self.values.retain(|key, value| {
            if value.is_over() {
                freed += ENTRY + key.len() + value.bytes.len();
                return false;
            }
            next = earliest(next, value.expires);
            true
        });
        self.note_due(next);
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
        freed > 0
    }

    /// Notes when a value will be over, if it will.
    fn note_due(&self, at: Option<Instant>) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        *due = earliest(*due, at);
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

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
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
    fn values_are_deleted_added_to_listed_and_expire() {
        let scope = SharedData::default().scope("vm");
        assert_eq!((scope.add(b"a:n", 5), scope.add(b"a:n", -7)), (Ok(5), Ok(-2)));
        scope.write(b"a:text", b"x", 0).unwrap();
        assert_eq!(scope.add(b"a:text", 1), Err(NoSum::NoNumber));
        scope.write(b"b", b"y", 0).unwrap();
        assert_eq!(scope.keys(b"a:", 100), [b"a:n".to_vec(), b"a:text".to_vec()]);
        assert_eq!(scope.keys(b"", 8), [b"a:n".to_vec()]);
        assert!(scope.delete(b"a:n") && !scope.delete(b"a:n"));
        assert!(scope.expire(b"b", Duration::from_nanos(1)) && !scope.expire(b"missing", Duration::ZERO));
        while scope.read(b"b", &mut Vec::new()).is_some() {
            std::hint::spin_loop();
        }
        assert_eq!((scope.keys(b"", 100), scope.sweep(), scope.sweep()), (vec![b"a:text".to_vec()], true, false));
        scope.delete(b"a:text");
        assert_eq!(scope.bytes.load(Ordering::Relaxed), 0, "all of it was given back");
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
