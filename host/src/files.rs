//! Writes files that are there whole or not at all.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// What a file is called while it is written: a random number, and this.
pub const TEMPORARY: &str = "tmp";

/// Puts bytes into a file of this user alone, in place of what is there: readers, in this process or another, see all of the one or all
/// of the other. With `durable` a power failure does not change that.
///
/// # Errors
/// Of the operating system; what was there is still there then.
pub fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    // By chance: processes in different containers have the same number.
    let temporary = path.with_extension(format!("{:016x}.{TEMPORARY}", fastrand::u64(..)));
    let result = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        replace(&path, b"one", false).unwrap();
        replace(&path, b"two", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // What cannot be put in place leaves nothing either.
        fs::create_dir(folder.path().join("folder")).unwrap();
        replace(&folder.path().join("folder"), b"x", false).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
