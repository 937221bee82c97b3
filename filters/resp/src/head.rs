//! The beginning of a command: what is kept of its first arguments.

/// How many arguments are kept.
pub const KEPT: usize = 10;
/// How much of each.
pub const LONGEST: usize = 256;
/// How much of all together.
pub const ALL: usize = 1 << 10;

/// The first arguments of a command, the name among them, each up to [`LONGEST`] bytes and all up to [`ALL`].
#[derive(Debug, Clone, Default)]
pub struct Head {
    bytes: Vec<u8>,
    /// Where each ends in `bytes`, and how long it is.
    ends: Vec<(usize, u64)>,
    count: u32,
}

impl Head {
    /// An argument, or the beginning of one.
    pub fn argument(&self, at: usize) -> Option<&[u8]> {
        let (end, _) = *self.ends.get(at)?;
        let start = match at.checked_sub(1) {
            Some(before) => self.ends.get(before)?.0,
            None => 0,
        };
        self.bytes.get(start..end)
    }

    /// An argument of which nothing is missing.
    pub fn whole(&self, at: usize) -> Option<&[u8]> {
        let (_, length) = *self.ends.get(at)?;
        self.argument(at).filter(|kept| kept.len() as u64 == length)
    }

    /// How many arguments the command has, with its name.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// What it takes of memory, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity() + self.ends.capacity() * size_of::<(usize, u64)>()
    }

    /// How many are kept so far.
    pub const fn kept(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn begin(&mut self, count: u32) {
        self.bytes.clear();
        self.ends.clear();
        self.count = count;
    }

    /// One more; how much of it is kept.
    pub(super) fn open(&mut self, length: u64) -> usize {
        if self.ends.len() >= KEPT {
            return 0;
        }
        self.ends.push((self.bytes.len(), length));
        usize::try_from(length).unwrap_or(usize::MAX).min(self.room())
    }

    /// One more of a line, which says neither how many there are nor how long they are.
    pub(super) fn word(&mut self) {
        self.count = self.count.saturating_add(1);
        self.open(0);
    }

    /// A byte of that word.
    pub(super) fn grow(&mut self, byte: u8) {
        if self.count as usize > self.ends.len() {
            return;
        }
        let before = self.ends.len().checked_sub(2).and_then(|at| self.ends.get(at)).map_or(0, |(end, _)| *end);
        if let Some((end, length)) = self.ends.last_mut() {
            *length += 1;
            if *end - before < LONGEST && *end < ALL {
                self.bytes.push(byte);
                *end += 1;
            }
        }
    }

    /// How much of one more argument is kept.
    fn room(&self) -> usize {
        ALL.saturating_sub(self.bytes.len()).min(LONGEST)
    }

    /// More of the last one.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if let Some((end, _)) = self.ends.last_mut() {
            *end = self.bytes.len();
        }
    }
}
