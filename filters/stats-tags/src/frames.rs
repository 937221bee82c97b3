//! Messages of gRPC in a body: a byte of flags, four of length (big-endian), the message (gRPC over HTTP/2, "Length-Prefixed-Message").
//!
//! Messages are never held and, but for their heads, never looked at. A trailer frame of gRPC-Web (the highest flag) is no message.

/// Bytes of a head.
const HEAD: usize = 5;
/// How many bytes are fetched at once, so that a chunk of many small messages is not fetched head by head.
const WINDOW: usize = 1024;
/// The flag of a frame that has trailers in it.
const TRAILERS: u8 = 0x80;

/// The messages of one direction so far.
#[derive(Debug, Default)]
pub struct Frames {
    messages: u64,
    /// What is here of a head.
    head: [u8; HEAD],
    have: usize,
    /// What is missing of a message.
    left: u64,
}

impl Frames {
    /// How many messages began.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// Goes through a chunk of this many bytes, of which `read` fetches some from a place on. How many bytes behind it
    /// need not be shown.
    pub fn chunk(&mut self, length: usize, read: impl Fn(usize, usize) -> Vec<u8>) -> u64 {
        let mut at = 0;
        let mut window = (0, Vec::new());
        loop {
            let inside = usize::try_from(self.left).unwrap_or(usize::MAX).min(length - at);
            at += inside;
            self.left -= inside as u64;
            if at >= length {
                return std::mem::take(&mut self.left);
            }
            let (start, bytes) = &window;
            let Some(byte) = at.checked_sub(*start).and_then(|place| bytes.get(place)).copied() else {
                let fetched = read(at, WINDOW);
                if fetched.is_empty() {
                    // The host has said that there are some. Nothing behind them can be told apart.
                    return std::mem::take(&mut self.left);
                }
                window = (at, fetched);
                continue;
            };
            at += 1;
            self.push(byte);
        }
    }

    /// So many bytes of a message are shown after all.
    pub const fn expect(&mut self, unseen: u64) {
        self.left = unseen;
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.head.get_mut(self.have) {
            *place = byte;
        }
        self.have += 1;
        if self.have < HEAD {
            return;
        }
        self.have = 0;
        let [flags, length @ ..] = self.head;
        self.left = u64::from(u32::from_be_bytes(length));
        if flags & TRAILERS == 0 {
            self.messages += 1;
        }
    }
}

/// Whether a body of this type is in frames. The text form of gRPC-Web is in base64, and is not looked into.
#[must_use]
pub fn is_framed(content_type: &[u8]) -> bool {
    is_grpc(content_type) && !content_type.starts_with(b"application/grpc-web-text")
}

/// Whether this is the type of gRPC: `application/grpc`, alone or with `+` or `-` and more.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b'-' | b';' | b' ')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(flags: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![flags];
        frame.extend(u32::try_from(length).unwrap().to_be_bytes());
        // Whoever reads on at the wrong place finds a head of four gigabytes.
        frame.extend(std::iter::repeat_n(0xff, length));
        frame
    }

    /// Shows a body as a host does that skips what it is told to.
    fn count(chunks: &[&[u8]]) -> u64 {
        let mut frames = Frames::default();
        let mut skip = 0_u64;
        for chunk in chunks {
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= skipped as u64;
            let shown = &chunk[skipped..];
            if !shown.is_empty() {
                skip +=
                    frames.chunk(shown.len(), |start, length| shown[start..(start + length).min(shown.len())].to_vec());
            }
        }
        frames.messages()
    }

    proptest! {
        #[test]
        fn messages_are_counted_however_the_body_is_cut(
            lengths in prop::collection::vec(0_usize..3000, 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let body: Vec<u8> = lengths.iter().enumerate().flat_map(|(at, length)| frame(u8::from(at % 2 == 1), *length)).collect();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            places.extend([0, body.len()]);
            places.sort_unstable();
            let chunks: Vec<&[u8]> = places.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
            prop_assert_eq!(count(&chunks), lengths.len() as u64);
        }

        #[test]
        fn bytes_of_any_kind_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let singles: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(count(&singles), count(&[&bytes]));
        }
    }

    #[test]
    fn trailers_of_grpc_web_are_no_message() {
        let body = [frame(0, 3), frame(TRAILERS, 20)].concat();
        assert_eq!(count(&[&body]), 1);
    }

    #[test]
    fn a_message_that_never_ends_is_one() {
        assert_eq!(count(&[&[0, 0xff, 0xff, 0xff, 0xff], &[1; 100], &[2; 100]]), 1);
    }

    #[test]
    fn types_are_told_apart() {
        for yes in ["application/grpc", "application/grpc+proto", "application/grpc-web", "application/grpc; a=b"] {
            assert!(is_framed(yes.as_bytes()), "{yes}");
        }
        for no in ["", "application/grpcx", "application/json", "application/grpc-web-text+proto"] {
            assert!(!is_framed(no.as_bytes()), "{no}");
        }
    }
}
