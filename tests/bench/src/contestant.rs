//! The proxies that are compared, each with the same route: everything on one address to one upstream.

mod who;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};

use crate::{
    Common,
    configuration::{self, Chain, Isolation},
    empty, envoy, limited, observed,
    process::{self, Process},
    upstream,
};
pub use who::Contestant;

/// Compiling filters from nothing takes the most.
const START: Duration = Duration::from_secs(60);
const BUILD: Duration = Duration::from_secs(900);

/// What a proxy has to do in one measurement.
#[derive(Clone, Copy)]
pub struct Task {
    /// Where it forwards to.
    pub upstream: SocketAddr,
    /// Threads that serve.
    pub workers: usize,
    /// Connections that it must be able to hold. At most the default of all proxies for loads, more for idle connections.
    pub connections: Option<usize>,
    /// Whether requests may take minutes.
    pub patience: Patience,
    /// What is proxied.
    pub layer: Layer,
    /// Where limits are counted, by those who do that in Redis.
    pub redis: Option<SocketAddr>,
}

/// What is proxied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Requests.
    Http,
    /// Bytes.
    Tcp,
}

/// Whether the defaults for timeouts apply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// As the proxy is by default.
    Default,
    /// A gigabyte has to pass.
    Long,
}

/// A contestant that is there: its binary was found and says a version.
pub struct Candidate {
    /// Which.
    pub contestant: Contestant,
    binary: PathBuf,
    /// First line of what it says about its version.
    pub version: String,
    header_filter: Option<PathBuf>,
}

impl Candidate {
    /// Finds the contestants among `wanted` (all of `default` when empty), and notes about those that are missing.
    pub fn find(common: &Common, default: &[Contestant]) -> (Vec<Self>, Vec<String>) {
        let wanted = if common.only.is_empty() { default } else { &common.only };
        let (mut found, mut missing) = (Vec::new(), BTreeMap::<String, Vec<&str>>::new());
        for contestant in Contestant::ALL.into_iter().filter(|contestant| wanted.contains(contestant)) {
            match Self::locate(common, contestant) {
                Ok(candidate) => found.push(candidate),
                Err(error) => missing.entry(format!("{error:#}")).or_default().push(contestant.name()),
            }
        }
        let notes =
            missing.into_iter().map(|(reason, names)| format!("left out: {}: {reason}", names.join(", "))).collect();
        (found, notes)
    }

    fn locate(common: &Common, contestant: Contestant) -> anyhow::Result<Self> {
        let (binary, version) = match contestant {
            Contestant::Haproxy => (process::find("haproxy").context("apt-get install haproxy")?, "-v"),
            Contestant::Nginx => (process::find("nginx").context("apt-get install nginx-light")?, "-v"),
            Contestant::Envoy => {
                let found = common.envoy.clone().map_or_else(|| envoy::find(!common.no_install), Ok)?;
                (found, "--version")
            }
            _ => (fyke(common)?, "--version"),
        };
        let header_filter = match contestant {
            Contestant::Fyke5 | Contestant::Fyke10 => {
                Some(header_filter(common.header_filter.as_deref(), ("header", "release", "guest_header.wasm"))?)
            }
            Contestant::Fyke5Sdk | Contestant::Fyke5Stream | Contestant::Fyke5Observed | Contestant::Fyke10Sdk => {
                Some(header_filter(None, ("header-fyke", "filter", "guest_header_fyke.wasm"))?)
            }
            _ => None,
        };
        let version = version_of(&binary, version)?;
        Ok(Self { contestant, binary, version, header_filter })
    }

    /// Starts it on `core` with its files in `folder`, and waits until it forwards.
    pub fn start(&self, task: Task, folder: &Path, core: usize) -> anyhow::Result<Running> {
        let address = upstream::free_address()?;
        let name = self.contestant.name();
        let admin = upstream::free_address()?;
        let (text, extension) = self.configuration(task, address, admin, folder)?;
        let file = folder.join(format!("{name}.{extension}"));
        std::fs::write(&file, text)?;
        let file = file.to_string_lossy();
        let workers = task.workers.to_string();
        let arguments: Vec<&str> = match self.contestant {
            Contestant::Haproxy => vec!["-db", "-f", &file],
            Contestant::Nginx => vec!["-e", "stderr", "-g", "daemon off;", "-c", &file],
            Contestant::Envoy => vec!["-c", &file, "--concurrency", &workers, "--disable-hot-restart", "-l", "error"],
            _ => vec!["run", &file],
        };
        let mut process = Process::start(&self.binary, &arguments, core, &folder.join(format!("{name}.log")))?;
        process.wait_ready(START, || upstream::answers(address)).with_context(|| format!("{name} does not forward"))?;
        Ok(Running { address, admin, process })
    }

    fn configuration(
        &self,
        task: Task,
        listen: SocketAddr,
        admin: SocketAddr,
        folder: &Path,
    ) -> anyhow::Result<(String, &'static str)> {
        let fyke = |filters, isolation| {
            let chain = Chain { filters, header_filter: self.header_filter.as_deref(), isolation };
            configuration::fyke(task, listen, admin, &chain)
        };
        Ok(match self.contestant {
            Contestant::Fyke0 => (fyke(0, Isolation::Worker)?, "yaml"),
            Contestant::Fyke1 => (fyke(1, Isolation::Worker)?, "yaml"),
            Contestant::Fyke1Stream => (fyke(1, Isolation::Stream)?, "yaml"),
            Contestant::Fyke5 | Contestant::Fyke5Sdk => (fyke(5, Isolation::Worker)?, "yaml"),
            Contestant::Fyke5Stream => (fyke(5, Isolation::Stream)?, "yaml"),
            Contestant::Fyke5Observed => {
                let header_filter = self.header_filter.as_deref().context("no header filter")?;
                (observed::fyke(task, listen, admin, header_filter), "yaml")
            }
            Contestant::Fyke10 | Contestant::Fyke10Sdk => (fyke(10, Isolation::Worker)?, "yaml"),
            Contestant::FykeEmpty => {
                let module = folder.join("empty.wasm");
                std::fs::write(&module, empty::module())?;
                (limited::empty(task, listen, admin, &module), "yaml")
            }
            Contestant::FykeLimit => (limited::local(task, listen, admin, "always"), "yaml"),
            Contestant::FykeLimitSilent => (limited::local(task, listen, admin, "refused"), "yaml"),
            Contestant::FykeLimitRedis => {
                (limited::redis(task, listen, admin, task.redis.context("there is no Redis server")?), "yaml")
            }
            Contestant::Haproxy => (configuration::haproxy(task, listen), "cfg"),
            Contestant::Nginx => (configuration::nginx(task, listen, folder), "conf"),
            Contestant::Envoy => (configuration::envoy(task, listen), "json"),
        })
    }
}

/// A proxy that forwards.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where Fyke tells about itself.
    pub admin: SocketAddr,
    /// It.
    pub process: Process,
}

/// The root of the workspace that this program was built in.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The binary to measure.
pub fn fyke(common: &Common) -> anyhow::Result<PathBuf> {
    let path = common.fyke.clone().unwrap_or_else(|| target().join("release/fyke"));
    path.canonicalize().with_context(|| format!("{} is missing: cargo build --release, or --fyke PATH", path.display()))
}

/// The filter at `given`, or else the guest of this folder, built with this profile.
pub fn header_filter(given: Option<&Path>, (guest, profile, module): (&str, &str, &str)) -> anyhow::Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => {
            let manifest = workspace().join("tests/guests").join(guest).join("Cargo.toml");
            ensure!(manifest.is_file(), "{} is missing; give --header-filter PATH", manifest.display());
            let folder = target().join("bench-guests");
            let mut cargo = Command::new("cargo");
            cargo
                .args(["build", "--profile", profile, "--target", "wasm32-wasip1", "--manifest-path"])
                .arg(&manifest)
                .arg("--target-dir")
                .arg(&folder);
            process::output(&mut cargo, BUILD)?;
            folder.join("wasm32-wasip1").join(profile).join(module)
        }
    };
    path.canonicalize().with_context(|| format!("the header filter {} is missing", path.display()))
}

/// First line of what a program says about its version.
pub fn version_of(binary: &Path, option: &str) -> anyhow::Result<String> {
    // nginx says it on standard error.
    let output =
        Command::new(binary).arg(option).output().with_context(|| format!("cannot run {}", binary.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| !line.trim().is_empty()).context("it says no version")?;
    let last = line.rsplit('/').collect::<Vec<_>>();
    // Envoy: `PATH  version: REVISION/1.40.0/Clean/RELEASE/BoringSSL`.
    match (line.contains("version: "), last.get(3)) {
        (true, Some(version)) if last.len() > 4 => Ok(format!("Envoy {version}")),
        // HAProxy adds its address.
        _ => Ok(line.split(" - ").next().unwrap_or(line).trim().to_owned()),
    }
}
