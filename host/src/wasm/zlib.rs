//! Envoy's foreign functions `compress` and `uncompress`: the zlib format (RFC 1950).

use std::io::Read as _;

use flate2::{
    Compression,
    read::{ZlibDecoder, ZlibEncoder},
};
use fyke_engine::Status;

/// Most bytes that are compressed at once: a worker serves nobody else meanwhile.
const MOST_IN: usize = 4 << 20;
/// Most bytes that come of uncompressing: a few can mean a thousand times as many.
const MOST_OUT: u64 = 16 << 20;

/// Appends the compressed bytes to `out`. `BadArgument`: more than [`MOST_IN`].
pub fn compress(bytes: &[u8], out: &mut Vec<u8>) -> Status {
    if bytes.len() > MOST_IN {
        return Status::BadArgument;
    }
    match ZlibEncoder::new(bytes, Compression::fast()).read_to_end(out) {
        Ok(_) => Status::Ok,
        Err(_) => Status::SerializationFailure,
    }
}

/// Appends the original bytes to `out`. `SerializationFailure`: it is not zlib, it ends too early, or more than [`MOST_OUT`] come of it.
pub fn uncompress(bytes: &[u8], out: &mut Vec<u8>) -> Status {
    let start = out.len();
    let mut decoder = ZlibDecoder::new(bytes).take(MOST_OUT);
    let whole = decoder.read_to_end(out).is_ok();
    // At the limit there may be more, and the checksum has not been seen.
    let complete = decoder.limit() > 0 || matches!(decoder.into_inner().read(&mut [0]), Ok(0));
    if whole && complete {
        return Status::Ok;
    }
    out.truncate(start);
    Status::SerializationFailure
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..5_000)) {
            let (mut small, mut back) = (b"before".to_vec(), Vec::new());
            prop_assert_eq!(compress(&bytes, &mut small), Status::Ok);
            prop_assert_eq!(uncompress(&small[6..], &mut back), Status::Ok);
            prop_assert_eq!(back, bytes);
        }

        #[test]
        fn what_is_not_zlib_is_refused_without_a_trace(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut out = b"before".to_vec();
            if uncompress(&bytes, &mut out) != Status::Ok {
                prop_assert_eq!(out, b"before");
            }
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut bomb = Vec::new();
        let most = usize::try_from(MOST_OUT).unwrap();
        ZlibEncoder::new(&vec![0; most][..], Compression::best()).read_to_end(&mut bomb).unwrap();
        let mut out = Vec::new();
        assert_eq!((uncompress(&bomb, &mut out), out.len()), (Status::Ok, most));
        let last = bomb.len() - 1;
        bomb[last] ^= 1;
        out.clear();
        assert_eq!((uncompress(&bomb, &mut out), out.len()), (Status::SerializationFailure, 0), "a wrong checksum");
        bomb.clear();
        out.clear();
        ZlibEncoder::new(&vec![0; most + 1][..], Compression::best()).read_to_end(&mut bomb).unwrap();
        assert_eq!((uncompress(&bomb, &mut out), out.len()), (Status::SerializationFailure, 0));
        assert_eq!(compress(&vec![0; MOST_IN + 1], &mut out), Status::BadArgument);
    }

    #[test]
    fn half_of_it_is_refused() {
        let (mut small, mut out) = (Vec::new(), Vec::new());
        compress(b"some bytes that are worth compressing, compressing, compressing", &mut small);
        assert_eq!(uncompress(&small[..small.len() - 5], &mut out), Status::SerializationFailure);
        assert!(out.is_empty());
    }
}
