//! The ways in which a body can come in chunks.

/// Bodies up to this length come in every way that there is.
const ALL: usize = 7;

/// Every way to cut `body`, as far as that makes sense: short ones in every way, with and without an empty chunk; longer ones whole, byte
/// by byte, and cut in two at up to 32 places.
pub(super) fn chunkings(body: &[u8], empty_chunks: bool) -> Vec<Vec<Vec<u8>>> {
    let mut ways: Vec<Vec<Vec<u8>>> = match body.len() {
        0 => vec![Vec::new()],
        length @ 1..=ALL => {
            (0..1_u32 << (length - 1)).map(|cuts| cut(body, |at| cuts & (1 << (at - 1)) != 0)).collect()
        }
        length => {
            let step = length.div_ceil(32);
            let halves = (1..length).step_by(step).map(|place| cut(body, |at| at == place));
            std::iter::once(vec![body.to_vec()]).chain(halves).chain([cut(body, |_| true)]).collect()
        }
    };
    if empty_chunks {
        ways.push(vec![body.to_vec(), Vec::new()]);
        ways.push(vec![Vec::new(), body.to_vec()]);
    }
    ways
}

/// Cuts before every position at which `here` says so.
fn cut(body: &[u8], here: impl Fn(usize) -> bool) -> Vec<Vec<u8>> {
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    for (at, byte) in body.iter().enumerate() {
        match chunks.last_mut() {
            Some(chunk) if !here(at) => chunk.push(*byte),
            _ => chunks.push(vec![*byte]),
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_there_once_and_whole() {
        let ways = chunkings(b"abc", false);
        let texts: Vec<String> = ways
            .iter()
            .map(|way| {
                way.iter().map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect::<Vec<_>>().join("|")
            })
            .collect();
        assert_eq!(texts, ["abc", "a|bc", "ab|c", "a|b|c"]);
    }

    #[test]
    fn nothing_is_lost_and_long_bodies_are_bounded() {
        for length in [0, 1, 7, 8, 31, 32, 33, 1000] {
            let body: Vec<u8> = (0..length).map(|byte| (byte % 251) as u8).collect();
            let ways = chunkings(&body, true);
            assert!(ways.len() <= 67, "{length}: {}", ways.len());
            assert!(ways.iter().all(|way| way.concat() == body), "{length}");
        }
    }
}
