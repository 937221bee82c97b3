//! The token that changes need: where it is, how it is made, and whose word is taken for it.
//!
//! Whoever can put a file in its place can change everything. So where nobody says where it is, neither the file nor
//! its folders are links, and only this user or root can write to them. A file that the configuration names may be a
//! link, as a secret of Kubernetes is; it may not be everybody's to write. A file appears with the token in it or not
//! at all.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, rand::GetRandomFlags};

/// Bytes of a token.
const TOKEN: usize = 32;
/// Longer files are no tokens.
const LONGEST: u64 = 4096;
/// Below the folder of all programs.
const OWN: &str = "fyke";

/// Where tokens are when nobody says otherwise.
#[derive(Debug)]
pub struct Places {
    /// A folder of this user alone.
    runtime: Option<PathBuf>,
    /// Where services have theirs.
    run: PathBuf,
    /// Everybody's.
    temporary: PathBuf,
    user: u32,
}

impl Places {
    /// Of this process' user.
    #[must_use]
    pub fn of_process() -> Self {
        let user = rustix::process::geteuid().as_raw();
        // That of somebody else (`sudo -E`) is none.
        let own = |path: &PathBuf| fs::metadata(path).is_ok_and(|facts| facts.is_dir() && facts.uid() == user);
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(own);
        Self { runtime, run: "/run".into(), temporary: std::env::temp_dir(), user }
    }

    /// Where a process keeps the token of its endpoint.
    #[must_use]
    pub fn own(&self, address: SocketAddr) -> Kept {
        match &self.runtime {
            Some(runtime) => self.kept(runtime, None, address),
            None if self.user == 0 && self.run.is_dir() => self.kept(&self.run, None, address),
            None => self.shared(address),
        }
    }

    /// Where the token of an endpoint may be that is reached at `address`, the likeliest first. Whoever asks may live
    /// in another environment than who answers, and knows an endpoint for all addresses of this machine by one of them.
    #[must_use]
    pub fn candidates(&self, address: SocketAddr) -> Vec<Kept> {
        let mut names = vec![address];
        if address.ip().to_canonical().is_loopback() {
            names.push((Ipv4Addr::UNSPECIFIED, address.port()).into());
            names.push((Ipv6Addr::UNSPECIFIED, address.port()).into());
        }
        let all = |name: SocketAddr| {
            let private = self.runtime.iter().chain([&self.run]).map(move |base| self.kept(base, None, name));
            private.chain([self.shared(name)])
        };
        names.into_iter().flat_map(all).collect()
    }

    /// Where everybody may write, in a folder of this user.
    fn shared(&self, address: SocketAddr) -> Kept {
        self.kept(&self.temporary, Some(format!("{OWN}-{}", self.user)), address)
    }

    fn kept(&self, base: &Path, user: Option<String>, address: SocketAddr) -> Kept {
        let mut folders: Vec<PathBuf> = user.map(|user| base.join(user)).into_iter().collect();
        let folder = folders.last().map_or(base, PathBuf::as_path).join(OWN);
        let file = folder.join(format!("{address}.token"));
        folders.push(folder);
        Kept { base: base.to_owned(), folders, file, user: self.user }
    }
}

/// A file in a place that nobody has named.
#[derive(Debug)]
pub struct Kept {
    base: PathBuf,
    /// Below the base, the outermost first.
    folders: Vec<PathBuf>,
    file: PathBuf,
    user: u32,
}

impl Kept {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Reads it.
    ///
    /// # Errors
    /// Of the operating system; `PermissionDenied` when somebody else could have written it; `InvalidData` when there
    /// is none in it.
    pub fn read(&self) -> io::Result<String> {
        self.checked()?.ok_or_else(no_token)
    }

    /// Reads it, or makes it where there is none. An empty file is none.
    ///
    /// # Errors
    /// As [`Kept::read`].
    pub fn read_or_make(&self) -> io::Result<String> {
        for folder in &self.folders {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        match self.checked() {
            Ok(Some(token)) => Ok(token),
            // Whoever has the endpoint's address is the only one to do so.
            Ok(None) => make(&self.file, fs::rename),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match make(&self.file, link) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.read(),
                made => made,
            },
            Err(error) => Err(error),
        }
    }

    fn checked(&self) -> io::Result<Option<String>> {
        let facts = fs::metadata(&self.base)?;
        if facts.mode() & 0o1002 == 0o002 {
            return Err(denied(format!("everybody may replace what is in {}; `chmod +t` it", self.base.display())));
        }
        for folder in &self.folders {
            let facts = fs::symlink_metadata(folder)?;
            let reason = match intruder(&facts, self.user, 0o022) {
                _ if !facts.is_dir() => Some("it is not a folder".to_owned()),
                reason => reason,
            };
            if let Some(reason) = reason {
                return Err(denied(format!("{} is not to be trusted: {reason}; remove it", folder.display())));
            }
        }
        let no_link = |error: io::Error| match error.raw_os_error() {
            Some(number) if number == rustix::io::Errno::LOOP.raw_os_error() => {
                denied("it is a link, and may lead to somebody else's file; remove it".to_owned())
            }
            _ => error,
        };
        let file = open(&self.file, OFlags::NOFOLLOW).map_err(no_link)?;
        match intruder(&file.metadata()?, self.user, 0o022) {
            Some(reason) => Err(denied(format!("{reason}; remove it, and a new one is made"))),
            None => read(file),
        }
    }
}

/// The token in the file that the configuration names, or a new one where there is no file.
///
/// # Errors
/// As [`Kept::read`].
pub fn configured(file: &Path) -> io::Result<String> {
    let known = || {
        let opened = open(file, OFlags::empty())?;
        // It may be a group's to write: an orchestrator's, say.
        match intruder(&opened.metadata()?, rustix::process::geteuid().as_raw(), 0o002) {
            Some(reason) => Err(denied(format!("{reason}; `chown` or `chmod` it, for whoever writes it is obeyed"))),
            None => read(opened)?.ok_or_else(no_token),
        }
    };
    match known() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        known => return known,
    }
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    match make(file, link) {
        // Another process was faster: then that one's holds.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => known(),
        made => made,
    }
}

/// The token in a file that whoever asks has named: the worst that can be wrong with it is that it is not the right
/// one. Root asks with the file of a service's user.
///
/// # Errors
/// Of the operating system; `InvalidData` when there is none in it.
pub fn named(file: &Path) -> io::Result<String> {
    read(File::open(file)?)?.ok_or_else(no_token)
}

fn open(file: &Path, flags: OFlags) -> io::Result<File> {
    // A pipe in its place keeps nobody waiting.
    let flags = (flags | OFlags::NONBLOCK).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file)?;
    if opened.metadata()?.is_file() {
        Ok(opened)
    } else {
        Err(denied("it is not a regular file; remove it".to_owned()))
    }
}

/// `None`: there is nothing in it.
fn read(file: File) -> io::Result<Option<String>> {
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    let token = text.trim();
    if text.len() as u64 > LONGEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(no_token());
    }
    Ok((!token.is_empty()).then(|| token.to_owned()))
}

/// Who else could have written here.
fn intruder(facts: &Metadata, user: u32, others: u32) -> Option<String> {
    if facts.uid() != user && facts.uid() != 0 {
        return Some(format!("it belongs to user {}, neither to {user} nor to root", facts.uid()));
    }
    let mode = facts.mode() & 0o7777;
    (mode & others != 0).then(|| format!("others may write to it (mode {mode:04o})"))
}

/// Writes a new one aside, and has `place` put it where it belongs: a crash in between leaves no file without a token.
fn make(file: &Path, place: impl FnOnce(PathBuf, PathBuf) -> io::Result<()>) -> io::Result<String> {
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let (token, suffix) = (random::<TOKEN>()?, random::<8>()?);
    let aside = file.with_file_name(format!(".{name}.{suffix}"));
    let made = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        writeln!(file, "{token}")?;
        file.sync_all()
    })();
    let placed = made.and_then(|()| place(aside.clone(), file.to_owned()));
    let _ = fs::remove_file(&aside);
    placed.map(|()| token)
}

/// Fails when there is something already.
fn link(from: PathBuf, to: PathBuf) -> io::Result<()> {
    match fs::hard_link(&from, &to) {
        // Not every file system has links.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !to.exists() => fs::rename(from, to),
        linked => linked,
    }
}

fn random<const BYTES: usize>() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

fn no_token() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "there is no token in it; remove it, and the next start makes one")
}

fn denied(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests;
