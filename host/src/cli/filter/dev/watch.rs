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

/// The project's sources and configurations, and `more`; what is `written` meanwhile is no source.
pub(super) fn state(project: &Path, more: &[PathBuf], written: &[PathBuf]) -> State {
    let mut state = State::new();
    look(project, 0, &mut state);
    for file in more {
        note(file.clone(), &mut state);
    }
    state.retain(|path, _| !path.canonicalize().is_ok_and(|path| written.contains(&path)));
    state
}

fn note(path: PathBuf, state: &mut State) {
    if let Ok(facts) = fs::metadata(&path) {
        state.insert(path, (facts.modified().unwrap_or(SystemTime::UNIX_EPOCH), facts.len()));
    }
}

/// Waits until something is not as it was.
pub(super) fn change(project: &Path, more: &[PathBuf], written: &[PathBuf], before: &State) -> State {
    loop {
        thread::sleep(PERIOD);
        let now = state(project, more, written);
        if now != *before {
            // An editor may write several files, one after the other.
            thread::sleep(PERIOD / 3);
            return state(project, more, written);
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
        // Links are followed, as deep as folders may be.
        if path.is_dir() {
            look(&path, depth + 1, state);
        } else if [".rs", ".toml", ".yaml", ".yml", ".json", ".proto"].iter().any(|end| name.ends_with(end)) {
            note(path, state);
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
        let before = state(folder.path(), &[], &[]);
        assert_eq!(before.len(), 1);
        write("target/debug/build.rs", "22");
        assert_eq!(state(folder.path(), &[], &[]), before);
        write("src/lib.rs", "22");
        assert_ne!(state(folder.path(), &[], &[]), before);
        write("log.json", "1");
        let log = folder.path().join("log.json").canonicalize().unwrap();
        assert!(!state(folder.path(), &[], &[log]).keys().any(|path| path.ends_with("log.json")));
        assert_ne!(change(folder.path(), &[], &[], &before), before);
    }
}
