//! Inline commands: a line of words, with quotes as Redis has them (`sdssplitargs`). Nothing of a line is kept but what the head keeps of its words, so that lines
//! without an end cost no more than commands do.

use super::head::Head;
use super::{Bad, INLINE};

/// A line, as far as it has come.
#[derive(Debug, Default, Clone, Copy)]
pub struct Words {
    place: Place,
    /// Bytes of the line.
    length: usize,
}

/// Where in a line the next byte is.
#[derive(Debug, Default, Clone, Copy)]
enum Place {
    /// Between words.
    #[default]
    Space,
    Word,
    Quoted(Quote),
    /// Behind quotes, which end the word.
    Closed,
    /// Behind a NUL, which ends the line for Redis.
    Over,
}

#[derive(Debug, Clone, Copy)]
enum Quote {
    Single,
    /// Behind a backslash in these.
    SingleEscape,
    Double,
    DoubleEscape,
    /// Behind `\x`.
    Hexadecimal,
    /// Behind `\x` and a digit.
    Digit(u8),
}

impl Words {
    /// Takes bytes up to the end of the line; how many, and whether it is whole.
    ///
    /// # Errors
    /// It is too long, or quotes do not match.
    pub fn feed(&mut self, bytes: &[u8], head: &mut Head) -> Result<(usize, bool), Bad> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        self.length = self.length.saturating_add(part.len());
        if self.length > INLINE {
            return Err(Bad::Line);
        }
        for byte in part {
            self.take(*byte, head)?;
        }
        match (end, self.place) {
            (None, _) => Ok((bytes.len(), false)),
            (Some(_), Place::Quoted(_)) => Err(Bad::Quotes),
            (Some(end), _) => Ok((end + 1, true)),
        }
    }

    fn take(&mut self, byte: u8, head: &mut Head) -> Result<(), Bad> {
        self.place = match self.place {
            Place::Over => Place::Over,
            Place::Quoted(quote) => quoted(quote, byte, head)?,
            _ if is_space(byte) => Place::Space,
            _ if byte == 0 => Place::Over,
            Place::Closed => return Err(Bad::Quotes),
            place => {
                if matches!(place, Place::Space) {
                    head.word();
                }
                match byte {
                    b'"' => Place::Quoted(Quote::Double),
                    b'\'' => Place::Quoted(Quote::Single),
                    byte => {
                        head.grow(byte);
                        Place::Word
                    }
                }
            }
        };
        Ok(())
    }
}

/// A byte in quotes; where the next one is.
fn quoted(quote: Quote, byte: u8, head: &mut Head) -> Result<Place, Bad> {
    let next = match (quote, byte) {
        (_, 0) => return Err(Bad::Quotes),
        (Quote::Single, b'\'') | (Quote::Double, b'"') => return Ok(Place::Closed),
        (Quote::Single, b'\\') => Quote::SingleEscape,
        (Quote::Double, b'\\') => Quote::DoubleEscape,
        (Quote::Single | Quote::Double, byte) => {
            head.grow(byte);
            quote
        }
        (Quote::SingleEscape, b'\'') => {
            head.grow(b'\'');
            Quote::Single
        }
        (Quote::SingleEscape, byte) => {
            head.grow(b'\\');
            return quoted(Quote::Single, byte, head);
        }
        (Quote::DoubleEscape, b'x') => Quote::Hexadecimal,
        (Quote::DoubleEscape, byte) => {
            head.grow(match byte {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'a' => 7,
                other => other,
            });
            Quote::Double
        }
        (Quote::Hexadecimal, byte) if byte.is_ascii_hexdigit() => Quote::Digit(byte),
        (Quote::Hexadecimal, byte) => {
            head.grow(b'x');
            return quoted(Quote::Double, byte, head);
        }
        (Quote::Digit(first), byte) => {
            let Some(low) = value(byte) else {
                head.grow(b'x');
                head.grow(first);
                return quoted(Quote::Double, byte, head);
            };
            head.grow(value(first).unwrap_or_default() << 4 | low);
            Quote::Double
        }
    };
    Ok(Place::Quoted(next))
}

/// Of a hexadecimal digit.
fn value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 11 | 12)
}

#[cfg(test)]
mod tests;
