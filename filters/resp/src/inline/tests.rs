use proptest::prelude::*;

use super::*;

/// The reference: all of a line at once, as `sdssplitargs` does it.
fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, Bad> {
    let at = |at: usize| line.get(at).copied().unwrap_or(0);
    let digit = |place: usize| char::from(at(place)).to_digit(16);
    let (mut words, mut place) = (Vec::new(), 0);
    loop {
        while is_space(at(place)) {
            place += 1;
        }
        if at(place) == 0 {
            return Ok(words);
        }
        let mut word = Vec::new();
        while at(place) != 0 && !is_space(at(place)) {
            let quote = at(place);
            place += 1;
            if quote != b'"' && quote != b'\'' {
                word.push(quote);
                continue;
            }
            while at(place) != quote {
                let (byte, next) = (at(place), at(place + 1));
                let (taken, length) = match (byte, next) {
                    (0, _) => return Err(Bad::Quotes),
                    (b'\\', b'\'') if quote == b'\'' => (b'\'', 2),
                    (b'\\', b'x') if quote == b'"' && digit(place + 2).is_some() && digit(place + 3).is_some() => {
                        ((digit(place + 2).unwrap() * 16 + digit(place + 3).unwrap()) as u8, 4)
                    }
                    (b'\\', next) if quote == b'"' && next != 0 => {
                        let letters = [(b'n', b'\n'), (b'r', b'\r'), (b't', b'\t'), (b'b', 8), (b'a', 7)];
                        (letters.iter().find(|(letter, _)| *letter == next).map_or(next, |(_, byte)| *byte), 2)
                    }
                    (byte, _) => (byte, 1),
                };
                word.push(taken);
                place += length;
            }
            place += 1;
            if at(place) != 0 && !is_space(at(place)) {
                return Err(Bad::Quotes);
            }
            break;
        }
        words.push(word);
    }
}

/// The same, in pieces of so many bytes.
fn fed(line: &[u8], most: usize) -> Result<Vec<Vec<u8>>, Bad> {
    let mut head = Head::default();
    let mut words = Words::default();
    for piece in line.chunks(most).chain([&b"\n"[..]]) {
        words.feed(piece, &mut head)?;
    }
    assert_eq!(head.count() as usize, head.kept());
    Ok((0..head.kept()).map(|at| head.whole(at).unwrap().to_vec()).collect())
}

#[test]
fn inline_commands_are_split_as_by_redis() {
    for (line, expected) in [
        (" get  a\tb\r", &["get", "a", "b"][..]),
        (r#""\x53UBSCRIBE" 'it\'s' "a\"b\n""#, &["SUBSCRIBE", "it's", "a\"b\n"]),
        (r#"set "" '' "\xzz" a"b""#, &["set", "", "", "xzz", "ab"]),
        (r#"'a\\b' "\x4" "\x" "\q""#, &["a\\\\b", "x4", "x", "q"]),
        ("a \"b\"\0\"", &["a", "b"]),
        ("", &[]),
    ] {
        let expected: Vec<Vec<u8>> = expected.iter().map(|word| word.as_bytes().to_vec()).collect();
        assert_eq!((fed(line.as_bytes(), 1), split(line.as_bytes())), (Ok(expected.clone()), Ok(expected)), "{line}");
    }
    for bad in ["\"a", "'a", "\"a\"b", "'a'b", "\"a\\", "\"a\\x4", "\"a\0\""] {
        assert_eq!((fed(bad.as_bytes(), 1), split(bad.as_bytes())), (Err(Bad::Quotes), Err(Bad::Quotes)), "{bad}");
    }
}

proptest! {
    #[test]
    fn lines_in_pieces_are_as_they_are_at_once(line in r#"([ "'\\xn0f\r\x00]|[a-c]){0,24}"#, most in 1_usize..9) {
        let expected = split(line.as_bytes());
        // What is kept is bounded, and these are short.
        prop_assume!(expected.as_ref().map_or(0, Vec::len) <= super::super::head::KEPT);
        prop_assert_eq!(fed(line.as_bytes(), most), expected);
    }
}
