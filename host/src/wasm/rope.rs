//! Bytes of one stream held between filters: chunks as they arrived, copied only when a guest rewrites them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use fyke_engine::{Buffer, Refused};

/// A sequence of chunks that reads as one buffer.
#[derive(Debug, Default)]
pub struct Rope {
    chunks: VecDeque<Bytes>,
    length: usize,
}

impl Rope {
    /// Appends a chunk without copying.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.length += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    /// Takes the first chunk.
    pub fn pop(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.pop_front()?;
        self.length -= chunk.len();
        Some(chunk)
    }

    /// Moves everything of `other` behind what is held.
    pub fn append(&mut self, other: &mut Self) {
        self.length += other.length;
        other.length = 0;
        if self.chunks.is_empty() {
            std::mem::swap(&mut self.chunks, &mut other.chunks);
        } else {
            self.chunks.append(&mut other.chunks);
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.length = 0;
    }

    /// Bytes held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Splits the chunks at `at`, which must not exceed the length; what follows is returned.
    fn split_off(&mut self, at: usize) -> VecDeque<Bytes> {
        let mut tail = VecDeque::new();
        while self.length > at {
            let Some(mut last) = self.chunks.pop_back() else { break };
            self.length -= last.len();
            if self.length < at {
                let rest = last.split_off(at - self.length);
                self.length += last.len();
                self.chunks.push_back(last);
                tail.push_front(rest);
            } else {
                tail.push_front(last);
            }
        }
        tail
    }
}

impl Buffer for Rope {
    fn len(&self) -> usize {
        self.length
    }

    fn copy_to(&self, start: usize, length: usize, out: &mut Vec<u8>) {
        let mut skip = start;
        let mut left = length;
        for chunk in &self.chunks {
            if left == 0 {
                break;
            }
            if skip >= chunk.len() {
                skip -= chunk.len();
                continue;
            }
            let part = chunk.get(skip..).unwrap_or_default();
            let part = part.get(..left).unwrap_or(part);
            out.extend_from_slice(part);
            left -= part.len();
            skip = 0;
        }
    }

    fn splice(&mut self, start: usize, length: usize, bytes: &[u8]) -> Result<(), Refused> {
        let start = start.min(self.length);
        let end = start.saturating_add(length).min(self.length);
        let tail = self.split_off(end);
        drop(self.split_off(start));
        self.push(Bytes::copy_from_slice(bytes));
        for chunk in tail {
            self.push(chunk);
        }
        Ok(())
    }
}

/// A buffer that cannot be written: the body of a callout's answer.
pub struct ReadOnly<'a>(pub &'a BytesMut);

impl Buffer for ReadOnly<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn copy_to(&self, start: usize, length: usize, out: &mut Vec<u8>) {
        let rest = self.0.get(start..).unwrap_or_default();
        out.extend_from_slice(rest.get(..length).unwrap_or(rest));
    }

    fn splice(&mut self, _start: usize, _length: usize, _bytes: &[u8]) -> Result<(), Refused> {
        Err(Refused)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flat(rope: &Rope) -> Vec<u8> {
        let mut out = Vec::new();
        rope.copy_to(0, usize::MAX, &mut out);
        out
    }

    proptest! {
        #[test]
        fn a_rope_reads_and_splices_like_a_vector(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8),
            edits in prop::collection::vec((0usize..120, 0usize..120, prop::collection::vec(any::<u8>(), 0..10)), 0..6),
            range in (0usize..150, 0usize..150),
        ) {
            let mut rope = Rope::default();
            let mut model = Vec::new();
            for chunk in chunks {
                model.extend_from_slice(&chunk);
                rope.push(Bytes::from(chunk));
            }
            for (start, length, bytes) in edits {
                let from = start.min(model.len());
                let to = from.saturating_add(length).min(model.len());
                model.splice(from..to, bytes.iter().copied());
                prop_assert_eq!(rope.splice(start, length, &bytes), Ok(()));
            }
            prop_assert_eq!(rope.len(), model.len());
            prop_assert_eq!(flat(&rope), model.clone());
            let mut part = Vec::new();
            rope.copy_to(range.0, range.1, &mut part);
            let from = range.0.min(model.len());
            let to = from.saturating_add(range.1).min(model.len());
            prop_assert_eq!(part, model[from..to].to_vec());
        }
    }
}
