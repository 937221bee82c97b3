//! Whether an HTTP/2 client is in the middle of a request's head.
//!
//! hyper bounds how large a head may become and not how long it may take: a client could hold a connection, and the table of
//! its compression, with one byte of a CONTINUATION frame a minute. This follows the frames' nine-byte headers (RFC 9113,
//! section 4.1) in what is read anyway, and knows when a header block is open (section 4.3).

/// Length of a frame's header.
const HEADER: usize = 9;
/// What every client sends first (section 3.4).
const PREFACE: usize = 24;
const TYPE_HEADERS: u8 = 0x1;
const TYPE_CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// Follows one connection.
#[derive(Debug)]
pub struct Heads {
    header: [u8; HEADER],
    /// Bytes of `header` that have come.
    filled: usize,
    /// Bytes to come until the next frame's header.
    left: usize,
    /// The frame that these belong to ends an open block.
    ends: bool,
    open: bool,
}

impl Default for Heads {
    fn default() -> Self {
        Self { header: [0; HEADER], filled: 0, left: PREFACE, ends: false, open: false }
    }
}

impl Heads {
    /// Follows bytes as they come. Returns whether a head is open behind them.
    pub fn follow(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skip = self.left.min(bytes.len());
                bytes = bytes.get(skip..).unwrap_or_default();
                self.left -= skip;
                self.frame_ends();
                continue;
            }
            let Some((byte, rest)) = bytes.split_first() else { break };
            if let Some(place) = self.header.get_mut(self.filled) {
                *place = *byte;
            }
            self.filled += 1;
            bytes = rest;
            if self.filled == HEADER {
                self.filled = 0;
                self.frame_begins();
            }
        }
        self.open
    }

    fn frame_begins(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.open |= kind == TYPE_HEADERS;
        self.ends = matches!(kind, TYPE_HEADERS | TYPE_CONTINUATION) && flags & END_HEADERS != 0;
        self.frame_ends();
    }

    fn frame_ends(&mut self) {
        if self.left == 0 && std::mem::take(&mut self.ends) {
            self.open = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER + length, b'x');
        frame
    }

    /// Whether a head is open after each frame, however the bytes are cut.
    fn open_after(frames: &[Vec<u8>], cut: usize) -> Vec<bool> {
        let mut heads = Heads::default();
        assert!(!heads.follow(&[b'P'; PREFACE]));
        frames.iter().map(|frame| frame.chunks(cut).map(|chunk| heads.follow(chunk)).last().unwrap()).collect()
    }

    #[test]
    fn a_block_is_open_from_its_first_frame_to_the_end_of_its_last() {
        let frames = [
            frame(4, 0, 6),
            frame(TYPE_HEADERS, END_HEADERS, 30),
            frame(0, 0, 300),
            frame(TYPE_HEADERS, 0, 30),
            frame(TYPE_CONTINUATION, 0, 0),
            frame(TYPE_CONTINUATION, 0, 1),
            frame(TYPE_CONTINUATION, END_HEADERS, 0),
            frame(TYPE_HEADERS, END_HEADERS, 0),
            frame(6, END_HEADERS, 8),
        ];
        for cut in [1, 2, 7, 9, 10, 1000] {
            let open = open_after(&frames, cut);
            assert_eq!(open, [false, false, false, true, true, true, false, false, false], "cut into {cut}");
        }
    }

    #[test]
    fn a_frame_that_has_not_come_whole_is_open() {
        let mut heads = Heads::default();
        heads.follow(&[b'P'; PREFACE]);
        let headers = frame(TYPE_HEADERS, END_HEADERS, 30);
        assert!(!heads.follow(&headers[..8]), "nobody knows yet what it is");
        assert!(heads.follow(&headers[8..38]));
        assert!(!heads.follow(&headers[38..]));
    }
}
