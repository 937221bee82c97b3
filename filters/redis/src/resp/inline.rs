//! Inline commands: a line of words, with quotes as Redis has them (`sdssplitargs`).

use super::Bad;

/// The words of a line.
///
/// # Errors
/// Quotes do not match.
pub fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, Bad> {
    let mut words = Vec::new();
    let mut rest = line.iter().copied().peekable();
    loop {
        while rest.next_if(|byte| is_space(*byte)).is_some() {}
        if rest.peek().is_none_or(|byte| *byte == 0) {
            return Ok(words);
        }
        let mut word = Vec::new();
        // What stands in quotes ends the word.
        while let Some(byte) = rest.next_if(|byte| !is_space(*byte) && *byte != 0) {
            match byte {
                b'"' | b'\'' => {
                    quoted(byte, &mut rest, &mut word)?;
                    if rest.peek().is_some_and(|byte| !is_space(*byte)) {
                        return Err(Bad::Quotes);
                    }
                    break;
                }
                byte => word.push(byte),
            }
        }
        words.push(word);
    }
}

fn quoted(
    quote: u8,
    rest: &mut std::iter::Peekable<impl Iterator<Item = u8> + Clone>,
    word: &mut Vec<u8>,
) -> Result<(), Bad> {
    loop {
        let byte = rest.next().ok_or(Bad::Quotes)?;
        if byte == quote {
            return Ok(());
        }
        if byte != b'\\' {
            word.push(byte);
            continue;
        }
        if quote == b'\'' {
            word.push(rest.next_if_eq(&b'\'').unwrap_or(b'\\'));
            continue;
        }
        let escaped = rest.next().ok_or(Bad::Quotes)?;
        word.push(match escaped {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'a' => 7,
            b'x' => hexadecimal(rest).unwrap_or(b'x'),
            other => other,
        });
    }
}

fn hexadecimal(rest: &mut std::iter::Peekable<impl Iterator<Item = u8> + Clone>) -> Option<u8> {
    let mut ahead = rest.clone();
    let mut digit = || char::from(ahead.next()?).to_digit(16);
    let value = digit()? * 16 + digit()?;
    *rest = ahead;
    u8::try_from(value).ok()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 11 | 12)
}
