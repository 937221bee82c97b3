use proptest::prelude::*;

use super::head::{ALL, KEPT, LONGEST};
use super::line::number;
use super::*;

/// Feeds in pieces; what was whole, and what is left of the last one.
fn feed<R: Reader>(reader: &mut R, pieces: &[&[u8]], mut whole: impl FnMut(&R, Step)) -> Result<(), Bad> {
    for piece in pieces {
        let mut cursor = Cursor::new(*piece, 0);
        while cursor.at() < piece.len() {
            match cursor.next(reader)? {
                Step::More => break,
                step => whole(reader, step),
            }
        }
    }
    Ok(())
}

fn replies(bytes: &[u8]) -> Result<Vec<Reply>, Bad> {
    let mut seen = Vec::new();
    let mut reader = Replies::default();
    feed(&mut reader, &[bytes], |reader, _| seen.push(reader.reply().clone()))?;
    assert!(
        reader.is_idle() || !bytes.ends_with(b"\n"),
        "something is missing of {:?}",
        bytes.escape_ascii().to_string()
    );
    Ok(seen)
}

fn commands(bytes: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, Bad> {
    let mut seen = Vec::new();
    feed(&mut Requests::default(), &[bytes], |reader, step| {
        let head = reader.head();
        if step == Step::Whole {
            seen.push((0..head.kept()).map(|at| head.argument(at).unwrap().to_vec()).collect());
        }
    })?;
    Ok(seen)
}

#[test]
fn numbers_are_read_as_strictly_as_redis_reads_them() {
    for (text, value) in [(&b"0"[..], Some(0)), (b"12", Some(12)), (b"-1", Some(-1))] {
        assert_eq!(number(text), value);
    }
    for text in [&b""[..], b"-", b"+1", b"01", b"-0", b"1 ", b" 1", b"1e3", b"99999999999999999999", b"0x1", b"\xb2"] {
        assert_eq!(number(text), None, "{}", text.escape_ascii());
    }
}

#[test]
fn commands_of_both_forms_are_found() {
    let found =
        commands(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n\r\n*0\r\n*-1\r\nPING\n*1\r\n$0\r\n\r\nset a 'b c'\r\n").unwrap();
    let expected: [&[&[u8]]; 4] = [&[b"GET", b"a"], &[b"PING"], &[b""], &[b"set", b"a", b"b c"]];
    assert_eq!(found, expected);
}

#[test]
fn of_a_line_without_an_end_no_more_is_kept_than_of_a_command() {
    for line in [vec![b'x'; INLINE], b"word ".repeat(INLINE / 5), [b"x".repeat(400), vec![b' ']].concat().repeat(150)] {
        let mut reader = Requests::default();
        reader.feed(&line).unwrap();
        assert!(reader.is_inline() && reader.room() <= 2 * ALL, "{}", reader.room());
        assert_eq!(reader.feed(b"\r\n"), if line.len() + 1 > INLINE { Err(Bad::Line) } else { Ok((2, Step::Whole)) });
    }
    let mut reader = Requests::default();
    reader.feed(&[&[b'y'; LONGEST + 1][..], b" z ", &b"w ".repeat(KEPT), b"\n"].concat()).unwrap();
    let head = reader.head();
    assert_eq!((head.count() as usize, head.kept()), (KEPT + 2, KEPT));
    assert_eq!((head.argument(0), head.whole(0), head.whole(1)), (Some(&[b'y'; LONGEST][..]), None, Some(&b"z"[..])));
}

#[test]
fn what_is_no_command_is_refused() {
    for (bytes, bad) in [
        (&b"*1048577\r\n"[..], Bad::Length),
        (b"*x\r\n", Bad::Length),
        (b"*1\n", Bad::Ending),
        (b"*1\rx\n", Bad::Ending),
        (b"*1\r\n+OK\r\n", Bad::Type),
        (b"*1\r\n$-1\r\n", Bad::Length),
        (b"*1\r\n$536870913\r\n", Bad::Length),
        (b"*1\r\n$1\r\nabc", Bad::Ending),
        (b"*1\r\n$1\r\na\rx", Bad::Ending),
        (b"POST / HTTP/1.1\r\n", Bad::Http),
        (b"Host: a\r\n", Bad::Http),
        (b"get \"a\r\n", Bad::Quotes),
    ] {
        assert_eq!(commands(bytes).err(), Some(bad), "{}", bytes.escape_ascii());
    }
    assert_eq!(commands(&[b'x'; INLINE + 1]).err(), Some(Bad::Line));
    assert!(commands(&[b'x'; INLINE]).is_ok());
    assert_eq!(commands(&[&b"*"[..], &[b'1'; HEADER]].concat()).err(), Some(Bad::Line));
}

#[test]
fn replies_of_every_type_are_found() {
    for (bytes, kind, first) in [
        (&b"+OK\r\n"[..], b'+', &b"OK"[..]),
        (b"-ERR no\r\n", b'-', b"ERR no"),
        (b":12\r\n", b':', b"12"),
        (b"$-1\r\n", b'$', b""),
        (b"$0\r\n\r\n", b'$', b""),
        (b"$3\r\na\r\n\r\n", b'$', b"a\r\n"),
        (b"*-1\r\n", b'*', b""),
        (b"*0\r\n", b'*', b""),
        (b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n", b'*', b"x"),
        (b"_\r\n", b'_', b""),
        (b"#t\r\n", b'#', b"t"),
        (b",inf\r\n", b',', b"inf"),
        (b"(123456789012345678901234567890\r\n", b'(', b"123456789012345678901234567890"),
        (b"!8\r\nERR what\r\n", b'!', b"ERR what"),
        (b"=7\r\ntxt:abc\r\n", b'=', b"txt:abc"),
        (b"%1\r\n+a\r\n:1\r\n", b'%', b"a"),
        (b"~1\r\n+a\r\n", b'~', b"a"),
        (b">2\r\n+a\r\n:7\r\n", b'>', b"a"),
        (b"|1\r\n+ttl\r\n:3600\r\n+v\r\n", b'+', b"v"),
        (b"|0\r\n+v\r\n", b'+', b"v"),
        (b"*2\r\n|1\r\n+ttl\r\n:3600\r\n+a\r\n+b\r\n", b'*', b"a"),
        (b"$?\r\n;2\r\nab\r\n;1\r\nc\r\n;0\r\n", b'$', b"ab"),
        (b"*?\r\n:1\r\n$?\r\n;0\r\n.\r\n", b'*', b"1"),
        (b"%?\r\n+a\r\n~?\r\n.\r\n.\r\n", b'%', b"a"),
    ] {
        let twice = replies(&bytes.repeat(2)).unwrap_or_else(|bad| panic!("{}: {bad}", bytes.escape_ascii()));
        assert_eq!(twice.len(), 2, "{}", bytes.escape_ascii());
        for reply in twice {
            assert_eq!((reply.kind, reply.first.as_slice()), (kind, first), "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn what_is_no_reply_is_refused() {
    let deep = [b"*1\r\n".repeat(DEPTH), b":1\r\n".to_vec()].concat();
    assert_eq!(replies(&deep).unwrap().len(), 1);
    for (bytes, bad) in [
        (b"*1\r\n".repeat(DEPTH + 1), Bad::Depth),
        (b"$-2\r\n".to_vec(), Bad::Length),
        (b"!-1\r\n".to_vec(), Bad::Length),
        (b"%-1\r\n".to_vec(), Bad::Length),
        (b"*4294967296\r\n".to_vec(), Bad::Length),
        (b"$536870913\r\n".to_vec(), Bad::Length),
        (b"*?\r\n;0\r\n".to_vec(), Bad::Type),
        (b"$?\r\n+a\r\n".to_vec(), Bad::Type),
        (b".\r\n".to_vec(), Bad::Type),
        (b"*1\r\n.\r\n".to_vec(), Bad::Type),
        (b"x\r\n".to_vec(), Bad::Type),
        (b"\r\n".to_vec(), Bad::Type),
        (b"+a\n".to_vec(), Bad::Ending),
        (vec![b'+'; LINE + 1], Bad::Line),
    ] {
        assert_eq!(
            replies(&bytes).err(),
            Some(bad),
            "{}",
            bytes.iter().take(20).copied().collect::<Vec<_>>().escape_ascii()
        );
    }
}

#[test]
fn bodies_are_not_looked_at() {
    let mut reader = Requests::default();
    let (taken, step) = reader.feed(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$500000000\r\n").unwrap();
    assert_eq!((taken, step), (32, Step::More));
    reader.feed(&[b'x'; 256]).unwrap();
    assert_eq!(reader.body(), 500_000_000 - 256);
    reader.skip(500_000_000 - 256);
    assert_eq!(reader.feed(b"\r\n").unwrap(), (2, Step::Whole));
    let mut reader = Replies::default();
    reader.feed(b"$500000000\r\n").unwrap();
    reader.feed(&[b'x'; 64]).unwrap();
    assert_eq!(reader.body(), 500_000_000 - 64);
}

#[test]
fn no_more_messages_are_found_than_may_be() {
    let bytes = b"PING\r\n\r\nPING\r\n";
    let mut cursor = Cursor::new(&bytes[..], 0).messages(2);
    let mut reader = Requests::default();
    for (step, at) in [(Step::Whole, 6), (Step::Nothing, 8), (Step::More, 8)] {
        assert_eq!((cursor.next(&mut reader), cursor.at()), (Ok(step), at));
    }
    assert!(cursor.has_more());
}

/// Any value, as a server may send it.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let text = "[a-z ]{0,20}";
    let bulk = proptest::collection::vec(any::<u8>(), 0..200);
    let leaf = prop_oneof![
        text.prop_map(|text| format!("+{text}\r\n").into_bytes()),
        text.prop_map(|text| format!("-ERR {text}\r\n").into_bytes()),
        any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
        bulk.clone().prop_map(|bulk| [format!("${}\r\n", bulk.len()).as_bytes(), &bulk, b"\r\n"].concat()),
        bulk.prop_map(|bulk| {
            let mut all = b"$?\r\n".to_vec();
            for chunk in bulk.chunks(7) {
                all.extend_from_slice(format!(";{}\r\n", chunk.len()).as_bytes());
                all.extend_from_slice(chunk);
                all.extend_from_slice(b"\r\n");
            }
            [all, b";0\r\n".to_vec()].concat()
        }),
        Just(b"_\r\n".to_vec()),
        Just(b"$-1\r\n".to_vec()),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let items = proptest::collection::vec(inner, 0..6);
        (items, 0..5_u8).prop_map(|(mut items, kind)| match kind {
            0 => [format!("*{}\r\n", items.len()).into_bytes(), items.concat()].concat(),
            1 => [format!("~{}\r\n", items.len()).into_bytes(), items.concat()].concat(),
            2 => [b"*?\r\n".to_vec(), items.concat(), b".\r\n".to_vec()].concat(),
            kind => {
                if items.len() % 2 == 1 {
                    items.pop();
                }
                let header = if kind == 3 { '%' } else { '|' };
                let map = [format!("{header}{}\r\n", items.len() / 2).into_bytes(), items.concat()].concat();
                if kind == 3 { map } else { [map, b":1\r\n".to_vec()].concat() }
            }
        })
    })
}

fn cut<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn replies_are_the_same_wherever_they_are_cut(
        values in proptest::collection::vec(value(), 1..8),
        cuts in proptest::collection::vec(any::<usize>(), 0..20),
    ) {
        let bytes = values.concat();
        let whole = replies(&bytes).unwrap();
        prop_assert_eq!(whole.len(), values.len());
        let mut pieces = Vec::new();
        let mut reader = Replies::default();
        feed(&mut reader, &cut(&bytes, &cuts), |reader, _| pieces.push(reader.reply().clone())).unwrap();
        prop_assert!(reader.is_idle());
        prop_assert_eq!(pieces, whole);
    }

    #[test]
    fn commands_are_the_same_wherever_they_are_cut(
        wanted in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..12), 1..6),
        cuts in proptest::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut bytes = Vec::new();
        for words in &wanted {
            bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            for word in words {
                bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        let mut heads = Vec::new();
        feed(&mut Requests::default(), &cut(&bytes, &cuts), |reader, _| heads.push(reader.head().clone())).unwrap();
        prop_assert_eq!(heads.len(), wanted.len());
        for (head, words) in heads.iter().zip(&wanted) {
            prop_assert_eq!(head.count() as usize, words.len());
            let mut room = ALL;
            for (at, word) in words.iter().enumerate().take(KEPT) {
                let kept = word.len().min(LONGEST).min(room);
                room -= kept;
                prop_assert_eq!(head.argument(at).unwrap(), &word[..kept]);
                prop_assert_eq!(head.whole(at).is_some(), word.len() == kept);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(pieces in proptest::collection::vec(
        prop_oneof![proptest::collection::vec(any::<u8>(), 0..40), "[*$%~>|;.:+!=?0-9\\-\r\n]{0,12}(\r\n)?".prop_map(String::into_bytes)], 0..20,
    )) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let _ = feed(&mut Replies::default(), &pieces, |_, _| {});
        let _ = feed(&mut Requests::default(), &pieces, |_, _| {});
    }
}
