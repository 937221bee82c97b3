//! Notices that a file of the project has changed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

/// How often is looked.
const PERIOD: Duration = Duration::from_millis(150);

/// When each file was changed, and how long it is.
pub(super) type State = BTreeMap<PathBuf, (SystemTime, u64)>;

/// The project's sources and configurations.
pub(super) fn state(project: &Path) -> State {
    let mut state = State::new();
    look(project, 0, &mut state);
    state
}

/// Waits until something is not as it was.
pub(super) fn change(project: &Path, before: &State) -> State {
    loop {
        thread::sleep(PERIOD);
        let now = state(project);
        if now != *before {
            // An editor may write several files, one after the other.
            thread::sleep(PERIOD / 3);
            return state(project);
        }
    }
}

fn look(folder: &Path, depth: usize, state: &mut State) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') || (depth == 0 && name == "target") || depth > 16 {
            continue;
        }
        let Ok(facts) = entry.metadata() else { continue };
        if facts.is_dir() {
            look(&path, depth + 1, state);
        } else if [".rs", ".toml", ".yaml", ".yml", ".json", ".proto"].iter().any(|end| name.ends_with(end)) {
            state.insert(path, (facts.modified().unwrap_or(SystemTime::UNIX_EPOCH), facts.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_count_and_what_is_built_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("src/lib.rs", "1");
        write("target/debug/build.rs", "1");
        write(".git/x.rs", "1");
        write("notes.txt", "1");
        let before = state(folder.path());
        assert_eq!(before.len(), 1);
        write("target/debug/build.rs", "22");
        assert_eq!(state(folder.path()), before);
        write("src/lib.rs", "22");
        assert_ne!(state(folder.path()), before);
        assert_ne!(change(folder.path(), &before), before);
    }
}
