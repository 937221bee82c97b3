//! The pipe to the test.

use std::{
    io::{self, BufRead, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Standard input and standard output.
#[derive(Debug)]
pub(super) struct Pipe {
    input: io::Stdin,
    output: io::Stdout,
}

/// Whoever died with it left no line half written: a line is written at once.
pub(super) fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipe {
    pub fn new() -> Self {
        Self { input: io::stdin(), output: io::stdout() }
    }

    /// A line; `None`: the end.
    pub fn read<T: DeserializeOwned>(&mut self) -> io::Result<Option<serde_json::Result<T>>> {
        let mut line = String::new();
        match self.input.lock().read_line(&mut line)? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&line))),
        }
    }

    pub fn write(&mut self, value: &Value) -> io::Result<()> {
        let mut output = self.output.lock();
        writeln!(output, "{value}")?;
        output.flush()
    }

    /// Asks the test something in the middle of an order.
    pub fn ask<T: DeserializeOwned>(&mut self, question: &Value) -> io::Result<T> {
        self.write(question)?;
        match self.read()? {
            Some(answer) => answer.map_err(io::Error::other),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
