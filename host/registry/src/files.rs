//! Whole files or none.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// A file as text, on a thread that may block.
///
/// # Errors
/// Of the operating system; one that is no text, or larger than this.
pub(crate) async fn read(path: &Path, most: u64) -> io::Result<String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || read_blocking(&path, most)).await.map_err(io::Error::other)?
}

/// A file as text.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_blocking(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > most) {
        return Err(io::Error::other(format!("has more than {most} bytes")));
    }
    Ok(text)
}

/// Puts bytes into a file of this user alone, in place of what is there, so that it holds all of the one or all of the other whatever happens.
///
/// # Errors
/// Of the operating system; what was there is still there then.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // By chance: processes in different containers have the same number.
    let temporary = path.with_extension(format!("{:016x}.tmp", fastrand::u64(..)));
    let result = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_to_their_limit_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        replace(&path, b"one").unwrap();
        replace(&path, b"three").unwrap();
        assert_eq!(read_blocking(&path, 5).unwrap(), "three");
        assert!(read_blocking(&path, 4).is_err());
        fs::create_dir(folder.path().join("folder")).unwrap();
        replace(&folder.path().join("folder"), b"x").unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
