//! The beginning of a command: what is kept of its first arguments.

/// How many arguments are kept.
pub const KEPT: usize = 10;
/// How much of each.
pub const LONGEST: usize = 256;

/// The first arguments of a command, the name among them, each up to [`LONGEST`] bytes.
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
        usize::try_from(length).unwrap_or(usize::MAX).min(LONGEST)
    }

    /// More of the last one.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if let Some((end, _)) = self.ends.last_mut() {
            *end = self.bytes.len();
        }
    }
}

#[cfg(test)]
impl Head {
    /// Of these arguments.
    pub fn of(arguments: &[&[u8]]) -> Self {
        let mut head = Self::default();
        head.begin(u32::try_from(arguments.len()).unwrap());
        for argument in arguments {
            let kept = head.open(argument.len() as u64);
            if head.kept() <= KEPT && kept > 0 {
                head.extend(&argument[..kept]);
            }
        }
        head
    }
}
