//! A client that knows nothing but RESP2.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
};

use crate::script::LONG;

/// A connection to a server.
#[derive(Debug)]
pub struct RedisClient(BufReader<UnixStream>);

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Null,
    /// A number.
    Integer(i64),
    /// Text or bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Answer>),
    /// An error.
    Error(String),
}

impl RedisClient {
    pub(super) fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(LONG)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends a command, and waits for what is answered.
    pub fn call(&mut self, command: &[impl AsRef<[u8]>]) -> Answer {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for part in command {
            bytes.extend_from_slice(format!("${}\r\n", part.as_ref().len()).as_bytes());
            bytes.extend_from_slice(part.as_ref());
            bytes.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&bytes).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let text = line.strip_suffix("\r\n").expect("a line");
        let mut characters = text.chars();
        let kind = characters.next();
        let rest = characters.as_str();
        let number = || rest.parse::<i64>().unwrap();
        match kind {
            Some('+') => Answer::Bytes(rest.as_bytes().to_vec()),
            Some('-') => Answer::Error(rest.to_owned()),
            Some(':') => Answer::Integer(number()),
            Some('$' | '*') if rest == "-1" => Answer::Null,
            Some('$') => {
                let mut bytes = vec![0; usize::try_from(number()).unwrap() + 2];
                self.0.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Answer::Bytes(bytes)
            }
            Some('*') => Answer::List((0..number()).map(|_| self.answer()).collect()),
            _ => panic!("no RESP2: {line:?}"),
        }
    }
}
