//! Holds idle keep-alive connections, in a process of its own because open files are limited per process.
//!
//! Opens them one by one, asks once on each, prints `held N`; when it reads a line, asks again on each and prints `again N`.

use std::{io::Write as _, net::SocketAddr, process, thread, time::Duration};

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::client::Connection;

/// Nobody waits for longer.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Args)]
pub struct Options {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    count: usize,
}

/// Raises the number of files that this process and those it starts may open as far as it goes.
///
/// # Errors
/// When that is fewer than `needed`.
pub fn raise_open_files(needed: usize) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    if let Some(maximum) = limit.maximum {
        anyhow::ensure!(maximum >= needed as u64, "{needed} open files are needed, {maximum} are allowed: ulimit -Hn");
    }
    Ok(())
}

/// As the module says.
pub fn run(options: &Options) -> anyhow::Result<()> {
    raise_open_files(options.count + 64)?;
    thread::spawn(|| {
        thread::sleep(PATIENCE);
        process::exit(3);
    });
    let mut connections = Vec::with_capacity(options.count);
    for _ in 0..options.count {
        let mut connection = Connection::open(options.address)?;
        connection.get("/")?;
        connections.push(connection);
    }
    say(&format!("held {}", connections.len()))?;
    std::io::stdin().read_line(&mut String::new())?;
    let again = connections.iter_mut().filter_map(|connection| connection.get("/").ok()).count();
    say(&format!("again {again}"))
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
