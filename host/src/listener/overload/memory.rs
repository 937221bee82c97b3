//! How much memory the process uses, and may use. Linux only; elsewhere reading fails, and there is no pressure.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

/// Tells what the process uses.
pub trait MemoryUse {
    /// Resident memory, in bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    fn resident(&self) -> io::Result<u64>;
}

/// Small files of the kernel: the real ones, or those of a test.
pub trait Files {
    /// The whole file.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// The files of this system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemFiles;

impl Files for SystemFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(path)
    }
}

/// Reads `/proc/self/statm` (proc(5)): a few microseconds, where `status` and `smaps` cost more the more there is.
#[derive(Debug, Clone, Copy)]
pub struct Statm<F> {
    files: F,
    page: u64,
}

impl Statm<SystemFiles> {
    /// Of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self::new(SystemFiles, u64::try_from(rustix::param::page_size()).unwrap_or(4096))
    }
}

impl<F: Files> Statm<F> {
    /// From these files, on a machine with pages of so many bytes.
    #[must_use]
    pub fn new(files: F, page: u64) -> Self {
        Self { files, page }
    }
}

impl<F: Files> MemoryUse for Statm<F> {
    fn resident(&self) -> io::Result<u64> {
        let text = self.files.read(Path::new("/proc/self/statm"))?;
        // "size resident shared text lib data dt", in pages.
        let pages = text.split_ascii_whitespace().nth(1).and_then(|field| field.parse::<u64>().ok());
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no resident pages in /proc/self/statm");
        pages.ok_or_else(malformed).map(|pages| pages.saturating_mul(self.page))
    }
}

/// The memory that this process' control groups grant it, in bytes: the least of its own group's limit and those of the
/// groups around it. Looks at version 2 (`memory.max`) and version 1 (`memory.limit_in_bytes`). `None` when there is no
/// limit, or none can be found: in a container the groups around it may be out of sight, but then its own is seen as
/// the root.
#[must_use]
pub fn control_group_limit(files: &impl Files) -> Option<u64> {
    let groups = files.read(Path::new("/proc/self/cgroup")).ok()?;
    let limits = groups.lines().filter_map(|line| {
        // "hierarchy:controllers:path" (cgroups(7)); version 2 has hierarchy 0 and names no controllers.
        let mut fields = line.splitn(3, ':');
        let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if hierarchy == "0" && controllers.is_empty() {
            least(files, "/sys/fs/cgroup", path, "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            least(files, "/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
        } else {
            None
        }
    });
    limits.min()
}

/// The limit that holds: the configured one, unless the control group grants less. The kernel does not ask what is
/// configured.
#[must_use]
pub fn effective_limit(configured: Option<u64>, control_group: Option<u64>) -> Option<u64> {
    configured.into_iter().chain(control_group).min()
}

/// The least limit on the way from the root to a group.
fn least(files: &impl Files, root: &str, path: &str, file: &str) -> Option<u64> {
    let mut directory = PathBuf::from(root);
    let mut limits = Vec::from_iter(limit(files, &directory.join(file)));
    for component in Path::new(path).components() {
        // A group outside of our namespace is shown as `/../..`: there is nothing to see.
        if let Component::Normal(name) = component {
            directory.push(name);
            limits.extend(limit(files, &directory.join(file)));
        }
    }
    limits.into_iter().min()
}

fn limit(files: &impl Files, path: &Path) -> Option<u64> {
    // Version 1 says "none" with the highest multiple of the page size that fits into 63 bits; version 2 with "max",
    // which is no number.
    let limit = files.read(path).ok()?.trim().parse::<u64>().ok()?;
    (limit < 1 << 62).then_some(limit)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Fake(HashMap<&'static str, String>);

    impl Fake {
        fn with(mut self, path: &'static str, text: &str) -> Self {
            self.0.insert(path, text.to_owned());
            self
        }
    }

    impl Files for Fake {
        fn read(&self, path: &Path) -> io::Result<String> {
            let text = path.to_str().and_then(|path| self.0.get(path));
            text.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    #[test]
    fn resident_pages_are_the_second_field() {
        let files = Fake::default().with("/proc/self/statm", "1000 250 30 40 0 50 0\n");
        assert_eq!(Statm::new(files, 4096).resident().unwrap(), 250 * 4096);
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        assert!(Statm::new(Fake::default(), 4096).resident().is_err());
        let files = Fake::default().with("/proc/self/statm", "1000");
        assert_eq!(Statm::new(files, 4096).resident().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_memory() {
        assert!(Statm::of_this_process().resident().unwrap() > 100_000);
    }

    #[test]
    fn version_2_takes_the_least_of_a_group_and_those_around_it() {
        let files = Fake::default()
            .with("/proc/self/cgroup", "0::/system.slice/fyke.service\n")
            .with("/sys/fs/cgroup/system.slice/memory.max", "1000000\n")
            .with("/sys/fs/cgroup/system.slice/fyke.service/memory.max", "max\n");
        assert_eq!(control_group_limit(&files), Some(1_000_000));
    }

    #[test]
    fn a_container_sees_its_group_as_the_root() {
        for path in ["0::/", "0::/../..", "0::/docker/0123abcd"] {
            let files = Fake::default().with("/proc/self/cgroup", path).with("/sys/fs/cgroup/memory.max", "512\n");
            assert_eq!(control_group_limit(&files), Some(512), "{path}");
        }
    }

    #[test]
    fn version_1_is_read_where_the_memory_controller_is() {
        let files = Fake::default()
            .with("/proc/self/cgroup", "12:cpu,cpuacct:/a\n9:memory:/docker/x\n0::/docker/x\n")
            .with("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
            .with("/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "268435456\n");
        assert_eq!(control_group_limit(&files), Some(268_435_456));
    }

    #[test]
    fn without_a_limit_there_is_none() {
        let files = Fake::default()
            .with("/proc/self/cgroup", "9:memory:/\n0::/a\n")
            .with("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
            .with("/sys/fs/cgroup/a/memory.max", "max\n");
        assert_eq!(control_group_limit(&files), None);
        assert_eq!(control_group_limit(&Fake::default()), None);
    }

    #[test]
    fn the_lower_limit_holds() {
        assert_eq!(effective_limit(Some(2), Some(1)), Some(1));
        assert_eq!(effective_limit(Some(2), None), Some(2));
        assert_eq!(effective_limit(None, Some(1)), Some(1));
        assert_eq!(effective_limit(None, None), None);
    }

    proptest! {
        #[test]
        fn arbitrary_files_do_not_panic(text in "(.|\n){0,80}", limit in ".{0,30}") {
            let files = Fake::default()
                .with("/proc/self/cgroup", &text)
                .with("/proc/self/statm", &text)
                .with("/sys/fs/cgroup/memory.max", &limit);
            let _ = control_group_limit(&files);
            let _ = Statm::new(files, u64::MAX).resident();
        }
    }
}
