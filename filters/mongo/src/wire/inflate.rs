//! The beginning of a compressed message, made readable step by step and only as far as somebody reads.
//!
//! One [`Inflater`] serves all connections of a worker: what a message needs is made anew from its first bytes whenever there are enough
//! of them, so that nothing has to be kept for it but those bytes.

use std::io::Read;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::Unreadable;
use super::snappy::{Snappy, Stop};

/// How much more is made readable at a time, in bytes.
const STEP: usize = 8 << 10;
/// The largest block of Zstandard, in bytes.
const BLOCK: usize = 128 << 10;
/// A frame of Zstandard whose window is 512 KiB, with nothing else said: more than is ever inflated.
const FRAME: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0, 72];
/// A last block with nothing in it.
const LAST: [u8; 3] = [1, 0, 0];

/// Makes bytes readable.
pub struct Inflater {
    out: Vec<u8>,
    zlib: Box<DecompressorOxide>,
    zstd: FrameDecoder,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { out: Vec::new(), zlib: Box::default(), zstd: FrameDecoder::new() }
    }
}

/// One message's compressed bytes.
pub struct Squeezed<'a> {
    inflater: &'a mut Inflater,
    input: &'a [u8],
    how: How,
    /// The input is all there is.
    whole: bool,
    limit: usize,
    over: bool,
}

enum How {
    Plain,
    Snappy(Snappy),
    Zlib { at: usize },
    Zstd { again: bool },
}

impl Inflater {
    /// How much was made readable of the last message that was begun.
    #[must_use]
    pub fn made(&self) -> usize {
        self.out.len()
    }

    /// Begins with the first bytes of a message; `limit` bounds what comes out.
    ///
    /// # Errors
    /// There is no such compressor.
    pub fn begin<'a>(
        &'a mut self,
        compressor: u8,
        input: &'a [u8],
        whole: bool,
        limit: usize,
    ) -> Result<Squeezed<'a>, Unreadable> {
        self.out.clear();
        let how = match compressor {
            0 => How::Plain,
            1 => How::Snappy(Snappy::default()),
            2 => {
                self.zlib.init();
                How::Zlib { at: 0 }
            }
            3 => How::Zstd { again: false },
            _ => return Err(Unreadable::Compression),
        };
        Ok(Squeezed { inflater: self, input, how, whole, limit, over: false })
    }
}

impl Squeezed<'_> {
    /// What is readable.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.inflater.out
    }

    /// Makes more of it readable: `false` when there is no more, because it ends, because the limit is reached, or because what follows is not there.
    ///
    /// # Errors
    /// It was not made by that compressor.
    pub fn grow(&mut self) -> Result<bool, Unreadable> {
        let before = self.inflater.out.len();
        let aim = (before.max(STEP / 2) * 2).min(self.limit);
        if self.over || aim <= before {
            return Ok(false);
        }
        match &mut self.how {
            How::Plain => {
                let more = self.input.get(before..aim.min(self.input.len())).unwrap_or_default();
                self.inflater.out.extend_from_slice(more);
            }
            How::Snappy(snappy) => match snappy.read(self.input, &mut self.inflater.out, aim) {
                Stop::Broken => return Err(Unreadable::Compression),
                Stop::Input => self.over = true,
                Stop::Enough => {}
            },
            How::Zlib { at } => {
                let Inflater { out, zlib, .. } = &mut *self.inflater;
                out.resize(aim, 0);
                let mut flags = inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER
                    | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
                if !self.whole {
                    flags |= inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
                }
                let input = self.input.get(*at..).unwrap_or_default();
                let (status, read, written) = decompress(zlib, input, out, before, flags);
                *at += read;
                out.truncate(before + written);
                match status {
                    TINFLStatus::HasMoreOutput => {}
                    TINFLStatus::Done | TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
                        self.over = true
                    }
                    _ => return Err(Unreadable::Compression),
                }
            }
            How::Zstd { again } => {
                // Twice at most: what the first block has is nearly always enough.
                let aim = if std::mem::replace(again, true) { self.limit } else { 1 };
                self.over = zstd(self.inflater, self.input, aim)? || aim == self.limit;
            }
        }
        Ok(self.inflater.out.len() > before)
    }
}

/// Decodes blocks from the beginning, until they may make `aim` bytes. `true`: there are no more that could be.
///
/// The decoder keeps back a window's worth of what it has decoded until the frame ends. So it gets a frame that ends: our own head, the
/// blocks, and an empty last one; with that, neither the window that a stranger claims nor a checksum of what is not all there matters.
fn zstd(inflater: &mut Inflater, input: &[u8], aim: usize) -> Result<bool, Unreadable> {
    let Some(start) = blocks_of(input)? else { return Ok(true) };
    let (mut end, mut made, mut over) = (start, 0, false);
    while made < aim && !over {
        let Some([one, two, three]) = input.get(end..).and_then(|rest| rest.first_chunk::<3>()) else {
            over = true;
            break;
        };
        let head = u32::from_le_bytes([*one, *two, *three, 0]);
        let (is_last, kind, size) = (head & 1 != 0, (head >> 1) & 3, (head >> 3) as usize);
        if size > BLOCK || kind == 3 {
            return Err(Unreadable::Compression);
        }
        // A block of one repeated byte has that byte only.
        let stored = if kind == 1 { 1 } else { size };
        if input.len() < end + 3 + stored {
            over = true;
            break;
        }
        end += 3 + stored;
        made += if kind == 2 { BLOCK } else { size };
        over = is_last;
    }
    decode(inflater, input.get(start..end).unwrap_or_default())?;
    Ok(over)
}

fn decode(inflater: &mut Inflater, blocks: &[u8]) -> Result<(), Unreadable> {
    let Inflater { out, zstd, .. } = inflater;
    out.clear();
    let mut source = FRAME.chain(blocks).chain(&LAST[..]);
    zstd.reset(&mut source).map_err(|_| Unreadable::Compression)?;
    zstd.decode_blocks(&mut source, BlockDecodingStrategy::All).map_err(|_| Unreadable::Compression)?;
    zstd.collect_to_writer(&mut *out).map_err(|_| Unreadable::Compression)?;
    Ok(())
}

/// Where the blocks of a frame begin. `None`: its head is not all there.
fn blocks_of(input: &[u8]) -> Result<Option<usize>, Unreadable> {
    let (Some(magic), Some(descriptor)) = (input.first_chunk::<4>(), input.get(4)) else { return Ok(None) };
    let single = descriptor & 0x20 != 0;
    // Dictionaries are not part of the protocol.
    if magic != b"\x28\xb5\x2f\xfd" || descriptor & 0x0b != 0 {
        return Err(Unreadable::Compression);
    }
    let content = match descriptor >> 6 {
        0 => usize::from(single),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    Ok(Some(5 + usize::from(!single) + content))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn squeeze(compressor: u8, plain: &[u8]) -> Vec<u8> {
        match compressor {
            0 => plain.to_vec(),
            1 => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
            2 => miniz_oxide::deflate::compress_to_vec_zlib(plain, 6),
            _ => ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest),
        }
    }

    fn inflate(compressor: u8, input: &[u8], whole: bool, limit: usize) -> Result<Vec<u8>, Unreadable> {
        let mut inflater = Inflater::default();
        let mut squeezed = inflater.begin(compressor, input, whole, limit)?;
        while squeezed.grow()? {}
        Ok(squeezed.bytes().to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn a_beginning_inflates_to_a_beginning(words in prop::collection::vec("[a-z ]{1,30}", 1..4000), compressor in 0_u8..4, share in 0.0..1.0, limit in 1_usize..400_000) {
            let plain = words.concat().repeat(5).into_bytes();
            let squeezed = squeeze(compressor, &plain);
            let whole = inflate(compressor, &squeezed, true, limit).unwrap();
            prop_assert!(plain.starts_with(&whole));
            // What is asked for is there; a block of Zstandard may be as long as 128 KiB.
            prop_assert!(whole.len() >= limit.min(plain.len()), "{} of {} and {}", whole.len(), limit, plain.len());
            prop_assert!(whole.len() <= limit + BLOCK);
            let cut = (squeezed.len() as f64 * share) as usize;
            let part = inflate(compressor, &squeezed[..cut], false, usize::MAX >> 2).unwrap();
            prop_assert!(plain.starts_with(&part));
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300), compressor in 0_u8..6, framed in any::<bool>()) {
            let bytes = if framed { [&b"\x28\xb5\x2f\xfd\x00\x48"[..], &bytes].concat() } else { bytes };
            if let Ok(out) = inflate(compressor, &bytes, true, 100_000) {
                prop_assert!(out.len() <= 100_000 + BLOCK + 64);
            }
        }
    }
}
