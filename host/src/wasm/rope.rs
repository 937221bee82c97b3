//! Bytes of one stream held between filters: chunks as they arrived, copied only when a guest rewrites them.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use fyke_engine::{Buffer, Refused};

/// Chunks below this are put together, in bytes.
const SMALL: usize = 512;

/// A sequence of chunks that reads as one buffer. Empty it is one word: a stream has two for each filter and direction, and most
/// of them never hold anything.
#[derive(Debug, Default)]
pub struct Rope(Option<Box<Chunks>>);

#[derive(Debug, Default)]
struct Chunks {
    chunks: VecDeque<Bytes>,
    length: usize,
}

impl Rope {
    fn held(&mut self) -> &mut Chunks {
        self.0.get_or_insert_default()
    }

    /// Appends a chunk without copying.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.held().push(chunk);
        }
    }

    /// Takes the first chunk.
    pub fn pop(&mut self) -> Option<Bytes> {
        let held = self.0.as_mut()?;
        let chunk = held.chunks.pop_front()?;
        held.length -= chunk.len();
        Some(chunk)
    }

    /// Moves everything of `other` behind what is held.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
        } else if let Some(other) = &mut other.0 {
            let held = self.held();
            // The seam is put together too: bytes that come one by one pass from rope to rope.
            if let Some(first) = other.chunks.pop_front() {
                other.length -= first.len();
                held.push(first);
            }
            held.length += std::mem::take(&mut other.length);
            held.chunks.append(&mut other.chunks);
        }
    }

    /// Moves the first `count` bytes, or all that there are, behind what `other` holds. Returns how many.
    pub fn move_front(&mut self, count: u64, other: &mut Self) -> u64 {
        let mut left = count;
        while left > 0
            && let Some(mut chunk) = self.pop()
        {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            let part = chunk.split_to(length);
            left -= length as u64;
            if !chunk.is_empty()
                && let Some(held) = &mut self.0
            {
                held.length += chunk.len();
                held.chunks.push_front(chunk);
            }
            other.push(part);
        }
        count - left
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Bytes held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.length)
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Chunks {
    /// Small chunks are put together: each of them alone would take many times its length.
    fn push(&mut self, chunk: Bytes) {
        self.length += chunk.len();
        if chunk.len() < SMALL
            && let Some(last) = self.chunks.back_mut()
            && last.len() < SMALL
        {
            let mut joined = match std::mem::take(last).try_into_mut() {
                Ok(last) => last,
                Err(last) => {
                    let mut joined = BytesMut::with_capacity(2 * SMALL);
                    joined.extend_from_slice(&last);
                    joined
                }
            };
            joined.extend_from_slice(&chunk);
            *last = joined.freeze();
            return;
        }
        self.chunks.push_back(chunk);
    }

    /// Drops so many bytes from the front.
    fn drop_front(&mut self, count: usize) {
        let mut left = count;
        while left > 0
            && let Some(first) = self.chunks.front_mut()
        {
            let part = left.min(first.len());
            first.advance(part);
            self.length -= part;
            left -= part;
            if first.is_empty() {
                self.chunks.pop_front();
            }
        }
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
        Self::len(self)
    }

    fn copy_to(&self, start: usize, length: usize, out: &mut Vec<u8>) {
        let mut skip = start;
        let mut left = length;
        for chunk in self.0.iter().flat_map(|held| &held.chunks) {
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
        let held = self.held();
        let start = start.min(held.length);
        let end = start.saturating_add(length).min(held.length);
        if start == 0 && bytes.is_empty() {
            // What filters do most: a message after the other leaves, and the many chunks behind it stay where they are.
            held.drop_front(end);
            return Ok(());
        }
        let tail = held.split_off(end);
        drop(held.split_off(start));
        self.push(Bytes::copy_from_slice(bytes));
        for chunk in tail {
            self.push(chunk);
        }
        Ok(())
    }
}

/// A buffer that notes whether it was written: a filter that has altered something cannot be left out any more.
pub struct Noted<'a> {
    /// It.
    pub buffer: &'a mut dyn Buffer,
    /// Set by a write that was done.
    pub written: &'a mut bool,
}

impl Buffer for Noted<'_> {
    fn len(&self) -> usize {
        self.buffer.len()
    }

    fn copy_to(&self, start: usize, length: usize, out: &mut Vec<u8>) {
        self.buffer.copy_to(start, length, out);
    }

    fn splice(&mut self, start: usize, length: usize, bytes: &[u8]) -> Result<(), Refused> {
        self.buffer.splice(start, length, bytes)?;
        *self.written = true;
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

    #[test]
    fn small_chunks_are_put_together() {
        let mut rope = Rope::default();
        for index in 0..100_000_u32 {
            rope.push(Bytes::copy_from_slice(&[index as u8]));
        }
        for index in 100_000..200_000_u32 {
            let mut one = Rope::default();
            one.push(Bytes::copy_from_slice(&[index as u8]));
            rope.append(&mut one);
            assert!(one.is_empty());
        }
        assert_eq!(rope.len(), 200_000);
        assert!(rope.0.as_ref().is_some_and(|held| held.chunks.len() <= 200_000 / SMALL + 1));
        assert!(flat(&rope).iter().enumerate().all(|(index, byte)| *byte == index as u8));
    }

    proptest! {
        #[test]
        fn what_is_moved_from_the_front_is_missing_there(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8),
            counts in prop::collection::vec(0_u64..60, 0..5),
        ) {
            let (mut rope, mut moved) = (Rope::default(), Rope::default());
            let mut model: Vec<u8> = chunks.concat();
            let mut passed = Vec::new();
            chunks.into_iter().for_each(|chunk| rope.push(Bytes::from(chunk)));
            for count in counts {
                let most = usize::try_from(count).unwrap().min(model.len());
                prop_assert_eq!(rope.move_front(count, &mut moved), most as u64);
                passed.extend(model.drain(..most));
                prop_assert_eq!((flat(&rope), flat(&moved)), (model.clone(), passed.clone()));
                prop_assert_eq!((rope.len(), moved.len()), (model.len(), passed.len()));
            }
        }

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
