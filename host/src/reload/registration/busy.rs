//! How busy the host is, as it says itself: of the machine from `/proc`, or of the control group (version 2) that the proxy is in.
//!
//! Processors are told as the mean since the heartbeat before. A load average, which also counts who waits for a disk, would say less of the
//! time that matters to the registry; it is what the first heartbeat has.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use fyke_registry::{Load, client::LoadSource};

use crate::config::resolved::RegisterLoad;

/// What is reported with heartbeats; `None`: nothing.
pub(super) fn source(what: RegisterLoad) -> Option<LoadSource> {
    let group = match what {
        RegisterLoad::None => return None,
        RegisterLoad::Machine => None,
        RegisterLoad::Group => Some(own_group(&read("/proc/self/cgroup")?)?),
    };
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let busy =
        Busy { group, cores: f64::from(u32::try_from(cores).unwrap_or(1)), files: read, before: Mutex::default() };
    let begun = Instant::now();
    Some(Arc::new(move || busy.measure(begun.elapsed())))
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Where the group of version 2 is.
fn own_group(groups: &str) -> Option<String> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(format!("/sys/fs/cgroup{}", path.trim_end_matches('/')))
}

struct Busy<Files> {
    /// The folder of the group; `None`: it is about the machine.
    group: Option<String>,
    cores: f64,
    files: Files,
    before: Mutex<Option<Sample>>,
}

/// Time of processors so far, in any unit.
#[derive(Debug, Clone, Copy)]
struct Sample {
    used: f64,
    all: f64,
}

impl<Files: Fn(&str) -> Option<String>> Busy<Files> {
    /// `now`: since it began.
    fn measure(&self, now: Duration) -> Option<Load> {
        let sample = match &self.group {
            None => self.machine()?,
            Some(group) => self.group(group, now)?,
        };
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).replace(sample);
        let since = before.filter(|before| sample.all > before.all);
        let cpu = match (since, &self.group) {
            (Some(before), _) => (sample.used - before.used) / (sample.all - before.all),
            (None, None) => self.average()?,
            (None, Some(_)) => return None,
        };
        Some(Load::new(cpu, self.memory()?))
    }

    /// "cpu user nice system idle iowait irq softirq steal ..." (proc_stat(5)); guests are in user and nice.
    fn machine(&self) -> Option<Sample> {
        let text = (self.files)("/proc/stat")?;
        let fields = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().take(8);
        let times: Vec<f64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
        let all: f64 = times.iter().sum();
        let idle: f64 = times.iter().skip(3).take(2).sum();
        Some(Sample { used: all - idle, all })
    }

    fn group(&self, group: &str, now: Duration) -> Option<Sample> {
        let used = field(&(self.files)(&format!("{group}/cpu.stat"))?, "usage_usec ")? / 1e6;
        // "quota period", or "max period"; the root has none.
        let limit = (self.files)(&format!("{group}/cpu.max")).and_then(|text| {
            let (quota, period) = text.trim().split_once(' ')?;
            Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
        });
        let cores = limit.filter(|cores| *cores > 0.0).map_or(self.cores, |limit| limit.min(self.cores));
        Some(Sample { used, all: now.as_secs_f64() * cores })
    }

    fn average(&self) -> Option<f64> {
        let waiting: f64 = (self.files)("/proc/loadavg")?.split(' ').next()?.parse().ok()?;
        Some(waiting / self.cores)
    }

    fn memory(&self) -> Option<f64> {
        let machine = (self.files)("/proc/meminfo")?;
        let kib = |name| field(&machine, name).map(|kib| kib * 1024.0);
        let all = kib("MemTotal:")?;
        let Some(group) = &self.group else { return Some(1.0 - kib("MemAvailable:")? / all) };
        let file = |name: &str| (self.files)(&format!("{group}/{name}"));
        let used: f64 = file("memory.current")?.trim().parse().ok()?;
        // Pages of files that nobody has touched for a while are given back when there is need.
        let cached = file("memory.stat").and_then(|text| field(&text, "inactive_file ")).unwrap_or_default();
        let limit = file("memory.max").and_then(|text| text.trim().parse::<f64>().ok());
        Some((used - cached) / limit.map_or(all, |limit| limit.min(all)))
    }
}

/// The number behind a name, in whatever unit.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    type Files = HashMap<&'static str, String>;

    fn busy(group: Option<&str>, files: Files) -> Busy<impl Fn(&str) -> Option<String>> {
        let files = move |path: &str| files.get(path).cloned();
        Busy { group: group.map(str::to_owned), cores: 4.0, files, before: Mutex::default() }
    }

    #[test]
    fn this_machine_says_how_busy_it_is() {
        let source = source(RegisterLoad::Machine).unwrap();
        let load = source().unwrap();
        assert!((0.0..=1.0).contains(&load.cpu));
        assert!(load.memory > 0.0 && load.memory < 1.0);
        assert!(super::source(RegisterLoad::None).is_none());
    }

    #[test]
    fn processors_of_a_machine_are_told_since_the_heartbeat_before() {
        let stat = Arc::new(Mutex::new("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1".to_owned()));
        let seen = Arc::clone(&stat);
        let files = move |path: &str| match path {
            "/proc/stat" => Some(seen.lock().unwrap().clone()),
            "/proc/loadavg" => Some("1.00 2.00 3.00 1/2 3".to_owned()),
            "/proc/meminfo" => Some("MemTotal:   1000 kB\nMemFree: 1 kB\nMemAvailable:  250 kB\n".to_owned()),
            _ => None,
        };
        let busy = Busy { group: None, cores: 4.0, files, before: Mutex::default() };
        assert_eq!(busy.measure(Duration::ZERO), Some(Load::new(0.25, 0.75)));
        *stat.lock().unwrap() = "cpu  140 0 120 720 110 5 5 0 90 0\n".to_owned();
        // 70 of 100.
        assert_eq!(busy.measure(Duration::ZERO), Some(Load::new(0.7, 0.75)));
        *stat.lock().unwrap() = "cpu  nonsense\n".to_owned();
        assert_eq!(busy.measure(Duration::ZERO), None);
    }

    #[test]
    fn a_group_is_measured_by_its_limits() {
        let files = |limit: &str, most: &str| {
            Files::from([
                ("/g/cpu.stat", "usage_usec 3000000\nuser_usec 1\n".to_owned()),
                ("/g/cpu.max", format!("{limit} 100000\n")),
                ("/g/memory.current", "3072\n".to_owned()),
                ("/g/memory.stat", "anon 1\ninactive_file 1024\n".to_owned()),
                ("/g/memory.max", format!("{most}\n")),
                ("/proc/meminfo", "MemTotal:   8 kB\n".to_owned()),
            ])
        };
        for (limit, most, cpu, memory) in [("200000", "4096", 0.25, 0.5), ("max", "max", 0.125, 0.25)] {
            let busy = busy(Some("/g"), files(limit, most));
            *busy.before.lock().unwrap() = Some(Sample { used: 2.0, all: 0.0 });
            assert_eq!(busy.measure(Duration::from_secs(2)), Some(Load::new(cpu, memory)), "{limit} {most}");
        }
        // The first heartbeat has nothing to compare with.
        let busy = busy(Some("/g"), files("max", "max"));
        assert_eq!(busy.measure(Duration::ZERO), None);
        assert!(busy.measure(Duration::from_secs(1)).is_some());
    }

    #[test]
    fn the_own_group_is_that_of_version_2() {
        assert_eq!(
            own_group("9:memory:/x\n0::/system.slice/fyke\n").as_deref(),
            Some("/sys/fs/cgroup/system.slice/fyke")
        );
        assert_eq!(own_group("0::/\n").as_deref(), Some("/sys/fs/cgroup"));
        assert_eq!(own_group("9:memory:/x\n"), None);
    }
}
