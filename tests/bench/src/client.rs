//! A small HTTP/1.1 client over blocking sockets: enough to ask, to pour and to swallow.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes written or read at a time.
pub const PIECE: usize = 64 * 1024;

/// How the length of a request's body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// One keep-alive connection.
pub struct Connection {
    // A small buffer: thousands of these are open at once.
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects, or fails within the timeout that later reads and writes have too.
    pub fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream: BufReader::with_capacity(1024, stream) })
    }

    /// Asks for `path` and returns how many bytes the answer has.
    ///
    /// # Errors
    /// When the answer is not a 200, or is cut short.
    pub fn get(&mut self, path: &str) -> anyhow::Result<u64> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
        self.stream.get_mut().write_all(head.as_bytes())?;
        self.answer(|_| {})
    }

    /// Sends `length` bytes to `path` and returns what was answered.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub fn post(&mut self, path: &str, length: u64, framing: Framing) -> anyhow::Result<String> {
        let framed = match framing {
            Framing::Length => format!("Content-Length: {length}"),
            Framing::Chunked => "Transfer-Encoding: chunked".to_owned(),
        };
        let head = format!("POST {path} HTTP/1.1\r\nHost: bench\r\n{framed}\r\n\r\n");
        self.stream.get_mut().write_all(head.as_bytes())?;
        let zeros = vec![0; PIECE];
        let mut left = length;
        while left > 0 {
            let piece = zeros.get(..usize::try_from(left)?.min(PIECE)).unwrap_or_default();
            let stream = self.stream.get_mut();
            match framing {
                Framing::Length => stream.write_all(piece)?,
                Framing::Chunked => {
                    let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
                    chunk.extend_from_slice(piece);
                    chunk.extend_from_slice(b"\r\n");
                    stream.write_all(&chunk)?;
                }
            }
            left -= piece.len() as u64;
        }
        if framing == Framing::Chunked {
            self.stream.get_mut().write_all(b"0\r\n\r\n")?;
        }
        let mut body = Vec::new();
        self.answer(|piece| body.extend_from_slice(piece))?;
        Ok(String::from_utf8(body)?)
    }

    /// Reads one answer and returns the length of its body.
    fn answer(&mut self, mut each: impl FnMut(&[u8])) -> anyhow::Result<u64> {
        let head = Head::read(&mut self.stream)?.context("the connection was closed before the answer")?;
        ensure!(head.first.split(' ').nth(1) == Some("200"), "answered: {}", head.first);
        head.body(&mut self.stream, |piece| each(piece))
    }
}

/// The head of a message, as far as framing needs it.
pub struct Head {
    /// Request or status line.
    pub first: String,
    length: Option<u64>,
    chunked: bool,
}

impl Head {
    /// `None` when the connection was closed before a byte.
    pub fn read(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<Self>> {
        let Some(first) = line(stream)? else {
            return Ok(None);
        };
        let mut head = Self { first, length: None, chunked: false };
        loop {
            let header = line(stream)?.context("the head was cut short")?;
            if header.is_empty() {
                return Ok(Some(head));
            }
            let (name, value) = header.split_once(':').context("a header without a colon")?;
            if name.eq_ignore_ascii_case("content-length") {
                head.length = Some(value.trim().parse()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.chunked = value.trim().eq_ignore_ascii_case("chunked");
            }
        }
    }

    /// Swallows the body, piece by piece, and returns its length. Without framing there is none.
    pub fn body(&self, stream: &mut BufReader<TcpStream>, mut each: impl FnMut(&[u8])) -> anyhow::Result<u64> {
        if !self.chunked {
            return swallow(stream, self.length.unwrap_or(0), &mut each);
        }
        let mut total = 0;
        loop {
            let size = line(stream)?.context("the chunks were cut short")?;
            let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
            total += swallow(stream, size, &mut each)?;
            let end = line(stream)?.context("a chunk was cut short")?;
            ensure!(end.is_empty(), "a chunk is longer than it says, or there are trailers");
            if size == 0 {
                return Ok(total);
            }
        }
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<String>> {
    let mut line = String::new();
    if stream.by_ref().take(16 * 1024).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    ensure!(line.ends_with('\n'), "a line was cut short or is too long");
    Ok(Some(line.trim_end().to_owned()))
}

fn swallow(stream: &mut BufReader<TcpStream>, length: u64, each: &mut impl FnMut(&[u8])) -> anyhow::Result<u64> {
    let mut piece = vec![0; PIECE.min(usize::try_from(length)?)];
    let mut left = length;
    while left > 0 {
        let want = piece.len().min(usize::try_from(left)?);
        let read = stream.read(piece.get_mut(..want).unwrap_or_default())?;
        if read == 0 {
            bail!("a body was cut short by {left} bytes");
        }
        each(piece.get(..read).unwrap_or_default());
        left -= read as u64;
    }
    Ok(length)
}
