//! The beginning of a Snappy block (format: google/snappy, `format_description.txt`).
//!
//! Crates for Snappy read whole blocks; here the first kilobytes of one are enough, and the rest may not even have arrived.

/// Where in a block somebody is.
#[derive(Debug, Default)]
pub struct Snappy {
    at: usize,
    begun: bool,
    /// Bytes of a literal that are still to come.
    literal: usize,
}

/// Why it went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// There is as much as was asked for.
    Enough,
    /// The input is used up.
    Input,
    /// It is no Snappy.
    Broken,
}

impl Snappy {
    /// Appends to `out` until it has `enough` bytes, or up to 64 more.
    pub fn read(&mut self, input: &[u8], out: &mut Vec<u8>, enough: usize) -> Stop {
        if !self.begun {
            // The length of what comes out, which the message's own header says too.
            let Some(end) = input.iter().take(5).position(|byte| byte & 0x80 == 0) else {
                return if input.len() >= 5 { Stop::Broken } else { Stop::Input };
            };
            (self.begun, self.at) = (true, end + 1);
        }
        while out.len() < enough {
            match self.element(input, out, enough) {
                Some(true) => {}
                Some(false) => return Stop::Broken,
                None => return Stop::Input,
            }
        }
        Stop::Enough
    }

    /// One literal or copy. `None`: it is not all there.
    fn element(&mut self, input: &[u8], out: &mut Vec<u8>, enough: usize) -> Option<bool> {
        let rest = input.get(self.at..)?;
        if self.literal > 0 {
            let room = enough.saturating_sub(out.len());
            let now = rest.get(..self.literal.min(rest.len()).min(room))?;
            out.extend_from_slice(now);
            self.at += now.len();
            self.literal -= now.len();
            return (!now.is_empty()).then_some(true);
        }
        let (tag, rest) = rest.split_first()?;
        let high = usize::from(tag >> 2);
        let number =
            |count: usize| Some(rest.get(..count)?.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
        match tag & 3 {
            0 => {
                let (extra, length) = match high {
                    60..=63 => (high - 59, number(high - 59)?.checked_add(1)?),
                    short => (0, short + 1),
                };
                self.at += 1 + extra;
                self.literal = length;
                Some(true)
            }
            1 => {
                let offset = (high >> 3) << 8 | number(1)?;
                self.at += 2;
                Some(copy(out, offset, (high & 7) + 4))
            }
            kind => {
                let bytes = if kind == 2 { 2 } else { 4 };
                let offset = number(bytes)?;
                self.at += 1 + bytes;
                Some(copy(out, offset, high + 1))
            }
        }
    }
}

/// Repeats what was there `offset` bytes ago; the two may overlap.
fn copy(out: &mut Vec<u8>, offset: usize, length: usize) -> bool {
    let Some(start) = out.len().checked_sub(offset).filter(|_| offset > 0) else { return false };
    for at in start..start + length {
        let Some(byte) = out.get(at).copied() else { return false };
        out.push(byte);
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_prefix_gives_a_prefix(words in prop::collection::vec("[a-e]{1,40}", 0..200), cut in 0.0..1.0, enough in 1_usize..9000) {
            let plain = words.concat().into_bytes();
            let packed = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
            let cut = (packed.len() as f64 * cut) as usize;
            let mut out = Vec::new();
            let mut snappy = Snappy::default();
            let stop = snappy.read(&packed, &mut out, enough);
            prop_assert_ne!(stop, Stop::Broken);
            prop_assert!(out.len() >= enough.min(plain.len()));
            prop_assert!(plain.starts_with(out.get(..out.len().min(plain.len())).unwrap()));
            prop_assert!(out.len() <= enough + 64);
            let mut out = Vec::new();
            prop_assert_ne!(Snappy::default().read(&packed[..cut], &mut out, usize::MAX >> 1), Stop::Broken);
            prop_assert!(plain.starts_with(&out));
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            let _ = Snappy::default().read(&bytes, &mut out, 4096);
            prop_assert!(out.len() <= 4096 + 64);
        }
    }
}
