//! The serialized list of name-value pairs: `u32` count, a length pair for each, then every name and value followed by a zero byte.

/// A serialized list of pairs, read where it lies. A malformed list reads as the pairs before the malformation.
#[derive(Debug, Clone, Default)]
pub struct Pairs {
    bytes: Vec<u8>,
}

impl Pairs {
    /// Takes what the host wrote.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let claimed = number(&self.bytes, 0).unwrap_or(0);
        // A count that the bytes cannot hold is a lie; eight bytes of lengths belong to every pair.
        let count = if claimed.saturating_mul(8) <= self.bytes.len() { claimed } else { 0 };
        let mut lengths = 4;
        let mut data = 4 + count * 8;
        (0..count).map_while(move |_| {
            let name = number(&self.bytes, lengths)?;
            let value = number(&self.bytes, lengths + 4)?;
            lengths += 8;
            let name_end = data.checked_add(name)?;
            let value_end = name_end.checked_add(1)?.checked_add(value)?;
            let pair = (self.bytes.get(data..name_end)?, self.bytes.get(name_end + 1..value_end)?);
            data = value_end.checked_add(1)?;
            Some(pair)
        })
    }

    /// The first value of `name`, in any case.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(four.try_into().ok()?)).ok()
}

/// Serializes pairs for the host.
#[must_use]
pub fn encode_pairs<'a, I>(pairs: I) -> Vec<u8>
where
    I: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
{
    let mut count = 0_u32;
    let mut size = 4;
    for (name, value) in pairs.clone() {
        count += 1;
        size += 8 + name.len() + value.len() + 2;
    }
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(&count.to_le_bytes());
    for (name, value) in pairs.clone() {
        bytes.extend_from_slice(&length(name));
        bytes.extend_from_slice(&length(value));
    }
    for (name, value) in pairs {
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    bytes
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_survive_a_round_trip() {
        let list: [(&[u8], &[u8]); 3] = [(b":path", b"/"), (b"x", b""), (b"x", b"2")];
        let pairs = Pairs::new(encode_pairs(list.iter().copied()));
        assert_eq!(pairs.iter().collect::<Vec<_>>(), list);
        assert_eq!(pairs.first("X"), Some(&b""[..]));
        assert_eq!(pairs.first("y"), None);
    }

    #[test]
    fn malformed_pairs_end_early_and_never_panic() {
        for bytes in
            [&b""[..], &[0], &[1, 0, 0, 0], &[255; 12], &[1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 1]]
        {
            assert_eq!(Pairs::new(bytes.to_vec()).iter().count(), 0, "{bytes:?}");
        }
    }
}
