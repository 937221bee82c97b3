//! The server as a process: prints one line `listening on HOST:PORT` for each member.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use fyke_mongo_server::{Compressor, Deployment, Options, Pose};

/// An in-memory MongoDB server for tests.
#[derive(Debug, Parser)]
#[command(name = "mongo-server")]
struct Cli {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on, 0 for any; members count up from it
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// What the server says it is
    #[arg(long, value_enum, default_value_t = CliPose::Standalone)]
    pose: CliPose,
    /// How many servers share the data
    #[arg(long, default_value_t = 1)]
    members: usize,
    /// Name of the replica set
    #[arg(long, default_value = "rs0")]
    set_name: String,
    /// Names of the members in hello, HOST:PORT, in order
    #[arg(long, value_delimiter = ',')]
    advertise: Vec<String>,
    /// A user; without one nobody has to authenticate
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// The user's password
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// Iterations of SCRAM-SHA-256
    #[arg(long, default_value_t = 15_000)]
    iterations: u32,
    /// Compressors to offer, or `none`
    #[arg(long, value_delimiter = ',', default_value = "snappy,zstd,zlib")]
    compressors: Vec<String>,
    /// Commands that the log keeps
    #[arg(long, default_value_t = 10_000)]
    log_capacity: usize,
    /// Connections beyond this number are closed at once
    #[arg(long)]
    max_connections: Option<usize>,
    /// The first cursor id
    #[arg(long)]
    first_cursor: Option<i64>,
    /// Certificate chain, PEM
    #[arg(long, requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Key of the certificate, PEM
    #[arg(long, requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Threads; default one for each core
    #[arg(long)]
    threads: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CliPose {
    Standalone,
    Mongos,
    ReplicaSet,
    /// A replica set of which this member leads
    Primary,
    /// A replica set without a primary
    Secondary,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = cli.threads {
        runtime.worker_threads(threads.max(1));
    }
    match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => fail(&error),
    }
}

async fn run(cli: Cli) -> ExitCode {
    let pose = match cli.pose {
        CliPose::Standalone => Pose::Standalone,
        CliPose::Mongos => Pose::Mongos,
        CliPose::ReplicaSet | CliPose::Primary | CliPose::Secondary => Pose::ReplicaSet,
    };
    let options = Options {
        host: cli.host,
        port: cli.port,
        pose,
        set_name: cli.set_name,
        advertise: cli.advertise,
        users: cli.user.zip(cli.password).into_iter().collect(),
        iterations: cli.iterations,
        compressors: cli.compressors.iter().filter_map(|name| Compressor::named(name)).collect(),
        log_capacity: cli.log_capacity,
        max_connections: cli.max_connections,
        first_cursor: cli.first_cursor,
        tls: cli.tls_certificate.zip(cli.tls_key),
        ..Options::default()
    };
    let deployment = match Deployment::start(options, cli.members.max(1)).await {
        Ok(deployment) => deployment,
        Err(error) => return fail(&error),
    };
    if matches!(cli.pose, CliPose::Secondary) {
        deployment.set_primary(None);
    }
    for server in deployment.servers() {
        println!("listening on {}", server.address());
    }
    std::future::pending().await
}

fn fail(error: &std::io::Error) -> ExitCode {
    eprintln!("mongo-server: {error}");
    ExitCode::FAILURE
}
