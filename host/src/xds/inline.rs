//! Certificates, keys and modules that come inside of resources, as files that a configuration can refer to.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use fyke_envoy::InlineFiles;

use crate::{files, wasm::source};

/// A folder that nobody else may look into.
#[derive(Debug)]
pub struct Inline {
    folder: PathBuf,
    /// It goes when the process ends.
    passing: bool,
    made: Mutex<bool>,
}

impl Inline {
    /// Below this, where it stays; without it for as long as the process runs.
    pub fn new(state: Option<&Path>, plane: &str) -> Self {
        let folder = match state {
            Some(state) => state.with_extension("files"),
            None => {
                let number = fastrand::u64(..);
                std::env::temp_dir().join(format!("fyke-{}-{number:016x}-{plane}", std::process::id()))
            }
        };
        Self { folder, passing: state.is_none(), made: Mutex::default() }
    }

    /// In this folder, for good.
    pub fn within(folder: PathBuf) -> Self {
        Self { folder, passing: false, made: Mutex::default() }
    }

    /// Forgets what none of these texts refers to.
    pub fn keep_only(&self, texts: &[&str]) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !texts.iter().any(|text| text.contains(&*name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn make(&self) -> io::Result<()> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if !*made {
            DirBuilder::new().recursive(!self.passing).mode(0o700).create(&self.folder)?;
            *made = true;
        }
        Ok(())
    }
}

impl InlineFiles for Inline {
    fn keep(&self, what: &str, content: &[u8]) -> Result<String, String> {
        let digest = source::digest(content);
        let path = self.folder.join(format!("{}-{what}", digest.get(..32).unwrap_or(&digest)));
        let kept = self.make().and_then(|()| if path.exists() { Ok(()) } else { files::replace(&path, content, true) });
        kept.map_err(|error| error.to_string())?;
        path.to_str().map(str::to_owned).ok_or_else(|| "its path is not UTF-8".to_owned())
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        if self.passing {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_is_ours_alone_and_goes_when_nothing_refers_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let inline = Inline::new(Some(&folder.path().join("ads.json")), "ads");
        let one = inline.keep("key", b"secret").unwrap();
        let other = inline.keep("key", b"other").unwrap();
        assert_eq!(inline.keep("key", b"secret").unwrap(), one);
        assert_eq!(fs::read(&one).unwrap(), b"secret");
        let mode = fs::metadata(&inline.folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let third = inline.keep("key", b"third").unwrap();
        inline.keep_only(&[&format!("{{\"key\":\"{other}\"}}"), &format!("{{\"key\":\"{third}\"}}")]);
        assert!(!Path::new(&one).exists() && Path::new(&other).exists() && Path::new(&third).exists());
    }

    #[test]
    fn without_a_state_directory_it_goes_with_the_process() {
        let inline = Inline::new(None, "ads");
        let path = inline.keep("key", b"secret").unwrap();
        assert!(Path::new(&path).exists());
        drop(inline);
        assert!(!Path::new(&path).exists());
    }
}
