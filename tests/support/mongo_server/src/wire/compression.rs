//! The compressors of OP_COMPRESSED.

use std::io::{Read, Write};

use super::{MAX_MESSAGE, WireError, wire_error};

/// A compressor that hello may negotiate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressor {
    /// Number 1.
    Snappy,
    /// Number 2.
    Zlib,
    /// Number 3.
    Zstd,
}

impl Compressor {
    /// Every compressor, in the order in which servers prefer them.
    pub const ALL: [Self; 3] = [Self::Snappy, Self::Zstd, Self::Zlib];

    /// The name in hello.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// The compressor of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|compressor| compressor.name() == name)
    }

    /// The number in OP_COMPRESSED.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Snappy => 1,
            Self::Zlib => 2,
            Self::Zstd => 3,
        }
    }

    pub(crate) fn numbered(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|compressor| compressor.number() == number)
    }

    pub(crate) fn deflate(self, plain: &[u8]) -> Result<Vec<u8>, WireError> {
        let failed = |error: &dyn std::fmt::Display| WireError(format!("{}: {error}", self.name()));
        match self {
            Self::Snappy => snap::raw::Encoder::new().compress_vec(plain).map_err(|error| failed(&error)),
            Self::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(plain).map_err(|error| failed(&error))?;
                encoder.finish().map_err(|error| failed(&error))
            }
            Self::Zstd => zstd::bulk::compress(plain, 1).map_err(|error| failed(&error)),
        }
    }

    /// Inflates to exactly `size` bytes.
    pub(crate) fn inflate(self, packed: &[u8], size: usize) -> Result<Vec<u8>, WireError> {
        if size > MAX_MESSAGE {
            return wire_error(format!("{size} inflated bytes are too many"));
        }
        let failed = |error: &dyn std::fmt::Display| WireError(format!("{}: {error}", self.name()));
        let plain = match self {
            // The stream itself says how long it is: believed only if it agrees with the message.
            Self::Snappy if snap::raw::decompress_len(packed).map_err(|error| failed(&error))? != size => {
                return wire_error("snappy: length differs from the message's");
            }
            Self::Snappy => snap::raw::Decoder::new().decompress_vec(packed).map_err(|error| failed(&error))?,
            Self::Zlib => {
                let mut plain = Vec::with_capacity(size);
                let limit = size as u64 + 1;
                flate2::read::ZlibDecoder::new(packed)
                    .take(limit)
                    .read_to_end(&mut plain)
                    .map_err(|error| failed(&error))?;
                plain
            }
            Self::Zstd => zstd::bulk::decompress(packed, size).map_err(|error| failed(&error))?,
        };
        if plain.len() == size { Ok(plain) } else { wire_error("inflated length differs from the message's") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compressor_returns_what_it_was_given() {
        let plain: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
        for compressor in Compressor::ALL {
            let packed = compressor.deflate(&plain).unwrap();
            assert_eq!(compressor.inflate(&packed, plain.len()).unwrap(), plain, "{}", compressor.name());
            assert!(compressor.inflate(&packed, plain.len() - 1).is_err());
            assert!(compressor.inflate(&packed, plain.len() + 1).is_err());
        }
    }
}
