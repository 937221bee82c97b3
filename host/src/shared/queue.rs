//! Shared queues of filters: first in, first out, for the whole process. A queue has a name within a scope, and an id that anybody may use.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};

use dashmap::DashMap;
use fyke_engine::ContextId;
use tokio::sync::mpsc;

/// Queues of the process.
const MOST_QUEUES: usize = 4096;
/// Entries of one queue.
const MOST_ENTRIES: usize = 65_536;
/// Bytes in one queue.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Something is in a queue, for the plugin context that registered it last.
pub type Ready = mpsc::UnboundedSender<(ContextId, u32)>;

/// `proxy_register_shared_queue` and its like.
#[derive(Debug, Default)]
pub struct Queues {
    ids: DashMap<(String, Vec<u8>), u32>,
    queues: DashMap<u32, Queue>,
    count: AtomicUsize,
    last: AtomicU32,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Box<[u8]>>,
    bytes: usize,
    listener: Option<(ContextId, Ready)>,
}

/// Why there is nothing to take, or nowhere to put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEntry {
    /// There is no such queue.
    Unknown,
    /// It holds nothing.
    Empty,
    /// It holds as much as it may.
    Full,
}

impl Queues {
    /// The id of a queue, made if it is not there. `None`: there are too many.
    pub fn register(&self, scope: &str, name: &[u8]) -> Option<u32> {
        match self.ids.entry((scope.to_owned(), name.to_vec())) {
            dashmap::Entry::Occupied(entry) => Some(*entry.get()),
            dashmap::Entry::Vacant(entry) => {
                if self.count.fetch_add(1, Ordering::Relaxed) >= MOST_QUEUES {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                    return None;
                }
                let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
                self.queues.insert(id, Queue::default());
                entry.insert(id);
                Some(id)
            }
        }
    }

    /// From now on this plugin context hears of entries, and nobody else. Of those that are there it hears at once.
    pub fn listen(&self, id: u32, root: ContextId, ready: &Ready) {
        if let Some(mut queue) = self.queues.get_mut(&id) {
            for _ in 0..queue.entries.len() {
                let _ = ready.send((root, id));
            }
            queue.listener = Some((root, ready.clone()));
        }
    }

    /// The id of a queue that somebody registered.
    #[must_use]
    pub fn resolve(&self, scope: &str, name: &[u8]) -> Option<u32> {
        self.ids.get(&(scope.to_owned(), name.to_vec())).map(|id| *id)
    }

    /// Puts an entry at the end.
    ///
    /// # Errors
    /// [`NoEntry::Unknown`], [`NoEntry::Full`].
    pub fn push(&self, id: u32, value: &[u8]) -> Result<(), NoEntry> {
        let mut queue = self.queues.get_mut(&id).ok_or(NoEntry::Unknown)?;
        if queue.entries.len() >= MOST_ENTRIES || queue.bytes + value.len() > MOST_BYTES {
            return Err(NoEntry::Full);
        }
        queue.bytes += value.len();
        queue.entries.push_back(value.into());
        if let Some((root, ready)) = &queue.listener {
            // Whoever is gone will be followed by another one, who hears of what is there.
            let _ = ready.send((*root, id));
        }
        Ok(())
    }

    /// Takes the first entry.
    ///
    /// # Errors
    /// [`NoEntry::Unknown`], [`NoEntry::Empty`].
    pub fn pop(&self, id: u32) -> Result<Box<[u8]>, NoEntry> {
        let mut queue = self.queues.get_mut(&id).ok_or(NoEntry::Unknown)?;
        let value = queue.entries.pop_front().ok_or(NoEntry::Empty)?;
        queue.bytes -= value.len();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_as_they_went_in_and_the_last_listener_hears_of_each() {
        let queues = Queues::default();
        let id = queues.register("vm:a", b"jobs").unwrap();
        assert_eq!(queues.register("vm:a", b"jobs"), Some(id));
        assert_ne!(queues.register("vm:b", b"jobs"), Some(id));
        assert_eq!((queues.resolve("vm:a", b"jobs"), queues.resolve("vm:a", b"other")), (Some(id), None));
        let ((first, mut of_first), (second, mut of_second)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        queues.listen(id, ContextId(1), &first);
        queues.push(id, b"one").unwrap();
        queues.listen(id, ContextId(9), &second);
        queues.push(id, b"two").unwrap();
        assert_eq!((of_first.try_recv().ok(), of_first.try_recv().ok()), (Some((ContextId(1), id)), None));
        let heard: Vec<_> = std::iter::from_fn(|| of_second.try_recv().ok()).collect();
        assert_eq!(heard, [(ContextId(9), id); 2], "of the one that was there, and of the one that came");
        assert_eq!([queues.pop(id).unwrap(), queues.pop(id).unwrap()], [b"one"[..].into(), b"two"[..].into()]);
        assert_eq!((queues.pop(id), queues.pop(77)), (Err(NoEntry::Empty), Err(NoEntry::Unknown)));
        assert_eq!(queues.push(77, b""), Err(NoEntry::Unknown));
    }

    #[test]
    fn a_queue_and_their_number_are_bounded() {
        let queues = Queues::default();
        let id = queues.register("vm:a", b"jobs").unwrap();
        assert_eq!((0..MOST_ENTRIES + 5).filter(|_| queues.push(id, b"").is_ok()).count(), MOST_ENTRIES);
        let large = queues.register("vm:a", b"large").unwrap();
        let value = vec![0; MOST_BYTES / 2];
        assert_eq!((0..3).filter(|_| queues.push(large, &value).is_ok()).count(), 2);
        queues.pop(large).unwrap();
        assert_eq!(queues.push(large, &value), Ok(()));
        assert_eq!(
            (0_usize..2 * MOST_QUEUES).filter(|n| queues.register("vm:c", &n.to_le_bytes()).is_some()).count(),
            MOST_QUEUES - 2
        );
    }
}
