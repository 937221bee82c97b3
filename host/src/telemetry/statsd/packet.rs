//! Datagrams out of lines.

/// Gathers lines until a datagram is full.
#[derive(Debug)]
pub(super) struct Packer {
    buffer: Vec<u8>,
    lines: u64,
    limit: usize,
}

/// What became of lines that were to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Push {
    /// They are in.
    Taken,
    /// They do not fit beside what is in: empty it first.
    Full,
    /// They never fit.
    TooLong,
}

impl Packer {
    pub(super) fn new(limit: usize) -> Self {
        Self { buffer: Vec::with_capacity(limit), lines: 0, limit }
    }

    /// Adds lines that must not be parted: all or none.
    pub(super) fn push(&mut self, unit: &str) -> Push {
        if unit.len() > self.limit {
            return Push::TooLong;
        }
        if !self.buffer.is_empty() {
            if self.buffer.len().saturating_add(unit.len()).saturating_add(1) > self.limit {
                return Push::Full;
            }
            self.buffer.push(b'\n');
        }
        self.buffer.extend_from_slice(unit.as_bytes());
        self.lines = self.lines.saturating_add(lines(unit));
        Push::Taken
    }

    /// What is in, and how many lines that is.
    pub(super) fn datagram(&self) -> (&[u8], u64) {
        (&self.buffer, self.lines)
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.lines = 0;
    }
}

/// How many lines that is.
pub(super) fn lines(unit: &str) -> u64 {
    u64::try_from(unit.split('\n').count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_line_is_split_lost_or_doubled_and_no_datagram_is_above_the_limit(
            units in prop::collection::vec("[a-z]{1,40}(\n[a-z]{1,20})?", 0..100),
            limit in 1_usize..100,
        ) {
            let mut packer = Packer::new(limit);
            let (mut datagrams, mut refused, mut counted) = (Vec::new(), 0, 0);
            for unit in &units {
                loop {
                    match packer.push(unit) {
                        Push::Taken => break,
                        Push::TooLong => {
                            prop_assert!(unit.len() > limit);
                            refused += lines(unit);
                            break;
                        }
                        Push::Full => {
                            let (bytes, lines) = packer.datagram();
                            // It is not emptied before it must be.
                            prop_assert!(bytes.len() + 1 + unit.len() > limit);
                            datagrams.push(String::from_utf8(bytes.to_vec()).unwrap());
                            counted += lines;
                            packer.clear();
                        }
                    }
                }
            }
            let (bytes, lines) = packer.datagram();
            datagrams.push(String::from_utf8(bytes.to_vec()).unwrap());
            counted += lines;
            prop_assert!(datagrams.iter().all(|datagram| datagram.len() <= limit));
            let sent: Vec<&str> = datagrams.iter().flat_map(|datagram| datagram.lines()).collect();
            let fits: Vec<&str> = units.iter().filter(|unit| unit.len() <= limit).flat_map(|unit| unit.lines()).collect();
            prop_assert_eq!(&sent, &fits);
            prop_assert_eq!(counted, sent.len() as u64);
            prop_assert_eq!(counted + refused, units.iter().map(|unit| unit.lines().count() as u64).sum::<u64>());
            // What belongs together is together.
            for unit in units.iter().filter(|unit| unit.len() <= limit) {
                prop_assert!(datagrams.iter().any(|datagram| datagram.contains(unit.as_str())));
            }
        }
    }
}
