//! A program that runs until it is dropped: in Python, or for Node.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::running::Running;

/// However busy the machine is.
pub const LONG: Duration = Duration::from_secs(60);

/// The Python that the tests were given.
pub fn python() -> Option<OsString> {
    let python = std::env::var_os("FYKE_PYTHON");
    if python.is_none() {
        eprintln!("skipped: FYKE_PYTHON names no Python with what tests/e2e/requirements.txt asks for");
    }
    python
}

/// Where the programs for Node are, if there is a Node, and what they need has been installed.
pub fn node_folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("node");
    let version = Command::new("node").arg("--version").stdout(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no Node");
        return None;
    }
    if !folder.join("node_modules").is_dir() {
        eprintln!("skipped: `npm ci` was not run in {}", folder.display());
        return None;
    }
    Some(folder)
}

/// One that runs.
pub struct Script {
    process: Running,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<Value>,
}

impl Script {
    /// One in Python.
    pub fn start(python: &OsString, name: &str, arguments: &[String]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name);
        // What they have in common is compiled each time, and not left among the sources.
        Self::run(Command::new(python).arg("-B").arg(script), arguments)
    }

    /// One for Node, out of the folder of those.
    pub fn start_node(folder: &Path, name: &str, arguments: &[String]) -> Self {
        Self::run(Command::new("node").arg(folder.join(name)), arguments)
    }

    fn run(command: &mut Command, arguments: &[String]) -> Self {
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Of one that was killed the last line may be half of one.
                let Ok(line) = serde_json::from_str(&line) else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { process: Running(child), stdin, lines }
    }

    pub fn say(&mut self, line: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// What it has said and nobody has looked at.
    pub fn said(&self) -> impl Iterator<Item = Value> {
        self.lines.try_iter()
    }

    /// The first thing that is found in a line, whenever that comes. `None`: it says no such thing.
    pub fn hear<T>(&self, mut find: impl FnMut(Value) -> Option<T>) -> Option<T> {
        let until = Instant::now() + LONG;
        loop {
            let line = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())).ok()?;
            if let Some(found) = find(line) {
                return Some(found);
            }
        }
    }

    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Ends it at once.
    pub fn end(&mut self) {
        drop(self.stdin.take());
        self.process.kill();
    }
}

/// The port in what a program says first.
pub fn port(line: &Value) -> Option<u16> {
    line["port"].as_u64().map(|port| u16::try_from(port).unwrap())
}
