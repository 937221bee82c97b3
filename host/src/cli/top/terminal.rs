//! The terminal: raw, on its other screen, and as it was when this ends.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{self, OptionalActions, Termios};
use tokio::sync::mpsc;

use super::screen::{Key, Style};

/// Whether there is one on both sides.
pub(super) fn is_one() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Raw until this is dropped.
pub(super) struct Terminal {
    before: Termios,
}

impl Terminal {
    /// Takes it over.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn open() -> io::Result<Self> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let terminal = Self { before };
        // The other screen, no cursor.
        write("\x1b[?1049h\x1b[?25l")?;
        Ok(terminal)
    }

    /// Columns and lines.
    #[expect(clippy::unused_self, reason = "only whoever has it may ask")]
    pub fn size(&self) -> (usize, usize) {
        match termios::tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => (80, 24),
        }
    }

    /// Shows lines, from the top.
    ///
    /// # Errors
    /// Of the operating system.
    #[expect(clippy::unused_self, reason = "only whoever has it may draw")]
    pub fn draw(&self, lines: &[(Style, String)]) -> io::Result<()> {
        write(&frame(lines))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = write("\x1b[0m\x1b[?25h\x1b[?1049l");
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// All of it in one write, so that nothing flickers; no line feed behind the last line, which would scroll.
fn frame(lines: &[(Style, String)]) -> String {
    let mut frame = String::from("\x1b[H");
    for (number, (style, line)) in lines.iter().enumerate() {
        if number > 0 {
            frame.push_str("\r\n");
        }
        let style = match style {
            Style::Plain => "",
            Style::Title => "\x1b[1m",
            Style::Heading => "\x1b[7m",
            Style::Warning => "\x1b[1;31m",
        };
        frame.push_str(&format!("{style}{line}\x1b[K\x1b[0m"));
    }
    frame.push_str("\x1b[J");
    frame
}

/// What is pressed, read by a thread that ends with the process.
pub(super) fn keys() -> mpsc::Receiver<Key> {
    let (pressed, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        let mut stdin = io::stdin().lock();
        while let Ok(count) = stdin.read(&mut bytes) {
            let read = bytes.get(..count).unwrap_or_default();
            if read.is_empty() || parse(read).into_iter().any(|key| pressed.blocking_send(key).is_err()) {
                return;
            }
        }
    });
    keys
}

/// The keys in what was read at once. What is not known is passed over.
fn parse(mut bytes: &[u8]) -> Vec<Key> {
    const SEQUENCES: [(&[u8], Key); 9] = [
        (b"\x1b[A", Key::Up),
        (b"\x1b[B", Key::Down),
        (b"\x1b[C", Key::NextTab),
        (b"\x1b[D", Key::PreviousTab),
        (b"\x1b[5~", Key::PageUp),
        (b"\x1b[6~", Key::PageDown),
        (b"\x1b[Z", Key::PreviousTab),
        (b"\x1b[H", Key::Top),
        (b"\x1b[1~", Key::Top),
    ];
    let mut keys = Vec::new();
    while let [first, rest @ ..] = bytes {
        if let Some((sequence, key)) = SEQUENCES.iter().find(|(sequence, _)| bytes.starts_with(sequence)) {
            keys.push(*key);
            bytes = bytes.get(sequence.len()..).unwrap_or_default();
            continue;
        }
        bytes = rest;
        match first {
            b'q' | 3 | 4 => keys.push(Key::Quit),
            b'\t' => keys.push(Key::NextTab),
            b'>' => keys.push(Key::NextColumn),
            b'<' => keys.push(Key::PreviousColumn),
            // A sequence that is not known: up to its last byte.
            0x1b if rest.first() == Some(&b'[') => {
                let end =
                    rest.iter().skip(1).position(|byte| (0x40..=0x7e).contains(byte)).map_or(rest.len(), |end| end + 2);
                bytes = rest.get(end..).unwrap_or_default();
            }
            byte if byte.is_ascii_graphic() => keys.push(Key::Letter(char::from(*byte))),
            _ => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_in_whatever_pieces() {
        assert_eq!(parse(b"r\x1b[A\t\x1b[6~q"), [Key::Letter('r'), Key::Up, Key::NextTab, Key::PageDown, Key::Quit]);
        assert_eq!(parse(b"\x1b[15~x"), [Key::Letter('x')]);
        assert_eq!(parse(b"\x1b"), []);
        assert_eq!(parse(b"\x1b[99"), []);
        assert_eq!(parse(b"\x03"), [Key::Quit]);
        assert_eq!(parse("ä".as_bytes()), []);
    }

    #[test]
    fn a_frame_is_drawn_over_the_one_before() {
        let lines = [(Style::Title, "a".to_owned()), (Style::Plain, "b".to_owned())];
        assert_eq!(frame(&lines), "\x1b[H\x1b[1ma\x1b[K\x1b[0m\r\nb\x1b[K\x1b[0m\x1b[J");
    }
}
