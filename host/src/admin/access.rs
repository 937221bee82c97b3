//! Who may do what at the admin endpoint.
//!
//! Reading is open to this machine; changing anything, and reading from elsewhere, needs the token. A web page of another origin may
//! do neither, even in the browser of somebody who may: its requests carry that origin, or the name that it was fetched by.

use std::{
    fs,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use http::{HeaderMap, StatusCode, header};

/// Bytes of a token.
const TOKEN: usize = 32;
/// Longer files are no tokens.
const LONGEST: usize = 4096;

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To look.
    Read,
    /// To change something.
    Change,
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Whoever may open the unix socket.
    Socket,
    /// This address.
    Address(IpAddr),
}

/// The token, and the rules.
#[derive(Debug)]
pub struct Access {
    token: String,
}

/// Where the token of an endpoint is when nobody says otherwise: the command line finds it there, too.
#[must_use]
pub fn default_token_file(address: SocketAddr) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
    let folder = runtime.unwrap_or_else(|| {
        let run = Path::new("/run");
        let own = rustix::process::geteuid();
        if own.is_root() && run.is_dir() {
            run.to_owned()
        } else {
            std::env::temp_dir().join(format!("fyke-{}", own.as_raw()))
        }
    });
    folder.join("fyke").join(format!("{}.token", address.port()))
}

/// Reads a token.
///
/// # Errors
/// Of the operating system; `InvalidData` when there is none in the file.
pub fn read_token(file: &Path) -> io::Result<String> {
    let text = fs::read_to_string(file)?;
    let token = text.trim();
    if token.is_empty() || token.len() > LONGEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no token in it"));
    }
    Ok(token.to_owned())
}

/// The token in a file, or a new one where there is no file.
///
/// # Errors
/// Of the operating system.
pub fn token(file: &Path) -> io::Result<String> {
    match read_token(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let mut random = [0; TOKEN];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut file) => writeln!(file, "{token}")?,
        // Another process was faster: then that one's holds.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return read_token(file),
        Err(error) => return Err(error),
    }
    Ok(token)
}

impl Access {
    /// With this token.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self { token }
    }

    /// Whether a request may be answered.
    ///
    /// # Errors
    /// 401 without a token, 403 with a wrong one or from a foreign page; with a reason for people.
    pub fn check(&self, peer: Peer, headers: &HeaderMap, right: Right) -> Result<(), (StatusCode, &'static str)> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if let Some(origin) = headers.get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if page != Some(host) {
                return Err((StatusCode::FORBIDDEN, "a page of another origin may not ask"));
            }
        }
        let free = match peer {
            Peer::Socket => true,
            Peer::Address(address) => right == Right::Read && address.to_canonical().is_loopback(),
        };
        // Whoever has the token knows whom they ask. A browser that merely runs here may have been led here by a name of somebody's.
        if free && (host.is_empty() || is_own(host)) {
            return Ok(());
        }
        let given = text(header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match given {
            Some(token) if is_same(token.as_bytes(), self.token.as_bytes()) => Ok(()),
            Some(_) => Err((StatusCode::FORBIDDEN, "this is not the token")),
            None if free => {
                Err((StatusCode::FORBIDDEN, "only an address, or localhost, may be the Host; or give the token"))
            }
            None => Err((StatusCode::UNAUTHORIZED, "this needs the token: `authorization: Bearer TOKEN`")),
        }
    }
}

/// An address, or the name that every machine has for itself. Any other name may be a page's that leads here.
fn is_own(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// In the same time wherever they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (one, other)| sum | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn reading_is_open_here_and_changing_needs_the_token() {
        let access = Access::new("secret".to_owned());
        let here = Peer::Address("127.0.0.1".parse().unwrap());
        let there = Peer::Address("10.1.2.3".parse().unwrap());
        let none = headers(&[("host", "127.0.0.1:9900")]);
        let right = headers(&[("host", "127.0.0.1:9900"), ("authorization", "bearer secret")]);
        let wrong = headers(&[("host", "127.0.0.1:9900"), ("authorization", "Bearer secreT")]);
        let status =
            |peer, headers: &HeaderMap, right| access.check(peer, headers, right).map_err(|error| error.0.as_u16());
        assert_eq!(status(here, &none, Right::Read), Ok(()));
        assert_eq!(status(here, &none, Right::Change), Err(401));
        assert_eq!(status(here, &wrong, Right::Change), Err(403));
        assert_eq!(status(here, &right, Right::Change), Ok(()));
        assert_eq!(status(there, &none, Right::Read), Err(401));
        assert_eq!(status(there, &right, Right::Read), Ok(()));
        assert_eq!(status(Peer::Socket, &none, Right::Change), Ok(()));
    }

    #[test]
    fn pages_of_other_origins_and_names_that_lead_here_are_refused() {
        let access = Access::new("secret".to_owned());
        let here = Peer::Address("::1".parse().unwrap());
        let check = |list: &[(&'static str, &'static str)]| access.check(here, &headers(list), Right::Read).is_ok();
        assert!(check(&[("host", "localhost:9900"), ("origin", "http://localhost:9900")]));
        assert!(check(&[("host", "[::1]:9900")]));
        assert!(!check(&[("host", "localhost:9900"), ("origin", "http://evil.example")]));
        assert!(!check(&[("host", "localhost:9900"), ("origin", "null")]));
        assert!(!check(&[("host", "evil.example:9900")]));
    }

    #[test]
    fn a_token_is_made_once_and_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/token");
        let made = token(&file).unwrap();
        assert_eq!(made.len(), 2 * TOKEN);
        assert_eq!(token(&file).unwrap(), made);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "\n").unwrap();
        assert_eq!(token(&file).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
