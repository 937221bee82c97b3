//! Child processes: pinned, measured through `/proc`, and always ended.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

const STEP: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(3);

/// Finds a program in `PATH` and where Debian keeps daemons.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Binds this program, and what it starts without saying otherwise, to a core.
pub fn pin_self(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {core}"))
}

/// The cores that this program may use, in the words of `taskset`.
pub fn cores() -> anyhow::Result<String> {
    let set = sched_getaffinity(None)?;
    let cores = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).map(|core| core.to_string());
    Ok(cores.collect::<Vec<_>>().join(","))
}

/// A running program that ends when this is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` on `core`; what it prints goes to `log`. It is told to end when this program dies, however it dies.
    pub fn start(program: &Path, arguments: &[&str], core: usize, log: &Path) -> anyhow::Result<Self> {
        Self::start_on(program, arguments, &core.to_string(), log)
    }

    /// The same on several cores, in the words of `taskset`: `0,1`.
    pub fn start_on(program: &Path, arguments: &[&str], cores: &str, log: &Path) -> anyhow::Result<Self> {
        let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", cores])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {} (setpriv and taskset are in util-linux)", program.display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Waits until `ready` is true.
    ///
    /// # Errors
    /// With what the program printed, when it ended or took longer than `patience`.
    pub fn wait_ready(&mut self, patience: Duration, mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}:\n{}", self.printed());
            }
            if Instant::now() > deadline {
                bail!("it was not ready within {patience:?}:\n{}", self.printed());
            }
            thread::sleep(STEP);
        }
        Ok(())
    }

    /// The last of what it printed.
    fn printed(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    /// User and system time of the process and its children so far. Counts in clock ticks, 10 ms on Linux.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let mut ticks = 0;
        for pid in self.tree() {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // Fields 14 and 15; the name before them may contain spaces, but ends with the last parenthesis.
            let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
            let mut fields = fields.split_whitespace().skip(11);
            for _ in 0..2 {
                ticks += fields.next().context("a short /proc/PID/stat")?.parse::<u64>()?;
            }
        }
        let tick = 1.0 / precise(rustix::param::clock_ticks_per_second());
        Ok(Duration::from_secs_f64(precise(ticks) * tick))
    }

    /// Resident bytes of the process and its children (`VmRSS`).
    pub fn resident(&self) -> anyhow::Result<u64> {
        let mut kibibytes = 0;
        for pid in self.tree() {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
            kibibytes += number.parse::<u64>()?;
        }
        Ok(kibibytes * 1024)
    }

    /// The process and its descendants.
    fn tree(&self) -> BTreeSet<u32> {
        let mut tree = BTreeSet::from([self.child.id()]);
        loop {
            let found: Vec<u32> = fs::read_dir("/proc")
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
                .filter(|pid| !tree.contains(pid) && parent(*pid).is_some_and(|pid| tree.contains(&pid)))
                .collect();
            if found.is_empty() {
                return tree;
            }
            tree.extend(found);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else {
            return;
        };
        // An ended child stays a zombie until it is waited for below, so the number is still its own.
        let _ = kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(STEP);
        }
    }
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Runs a program to its end and returns what it printed on standard output.
///
/// # Errors
/// When it fails, or runs longer than `patience`; then it is killed.
pub fn output(command: &mut Command, patience: Duration) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(err.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let deadline = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("{name} ran longer than {patience:?}");
        }
        thread::sleep(STEP);
    };
    let printed = read_all(&mut out)?;
    if !status.success() {
        bail!("{name} ended with {status}: {printed}{}", read_all(&mut err)?);
    }
    Ok(printed)
}

fn read_all(file: &mut File) -> anyhow::Result<String> {
    use std::io::{Read as _, Seek as _};
    file.rewind()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Time that a core was busy since the machine started, by all processes.
pub fn core_busy(core: usize) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let prefix = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&prefix)).context("no such core in /proc/stat")?;
    let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal: all but idle and iowait.
    let busy: u64 =
        fields.iter().take(8).enumerate().filter(|(index, _)| *index != 3 && *index != 4).map(|(_, ticks)| ticks).sum();
    Ok(Duration::from_secs_f64(precise(busy) / precise(rustix::param::clock_ticks_per_second())))
}

/// A count as a float: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn precise(count: u64) -> f64 {
    count as f64
}
