//! What `docker login` has left behind: the credentials of registries.
//!
//! Only those that are written in the file are read. Credential helpers (`credsStore`, `credHelpers`) are other
//! programs, and a proxy does not run what a file in a home directory names.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use data_encoding::{BASE64, BASE64_NOPAD};
use http::HeaderValue;
use serde::Deserialize;

/// How somebody is known to a registry.
#[derive(PartialEq, Eq)]
pub(super) enum Credentials {
    /// `user:password`
    Basic(String),
    /// A refresh token, good for a token of the registry's token service.
    Identity(String),
}

/// The names of one registry.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
    #[serde(rename = "credHelpers", default)]
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "identitytoken")]
    identity: Option<String>,
}

/// `$DOCKER_CONFIG/config.json`, or `~/.docker/config.json`.
pub(super) fn file() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")))?;
    Some(folder.join("config.json"))
}

/// The credentials for a registry in a file.
///
/// # Errors
/// Why there are none, for the operator whom the registry does not let in.
pub(super) fn find(file: Option<&Path>, registry: &str) -> Result<Credentials, String> {
    let Some(file) = file else {
        return Err("there are no credentials: neither DOCKER_CONFIG nor HOME is set".to_owned());
    };
    let name = file.display();
    let bytes = fs::read(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there are no credentials: {name} does not exist; try `docker login {registry}`")
        }
        _ => format!("there are no credentials: cannot read {name}: {error}"),
    })?;
    // Not what the library says, which may show what it has read.
    let config: Config = serde_json::from_slice(&bytes).map_err(|error| {
        format!(
            "there are no credentials: {name} cannot be understood, line {} column {}",
            error.line(),
            error.column()
        )
    })?;
    let found = config.auths.iter().find(|(key, _)| names(key, registry)).map(|(_, entry)| entry);
    // What a helper keeps has an empty entry beside it.
    match found.and_then(Entry::credentials) {
        Some(credentials) => {
            credentials.ok_or_else(|| format!("{name}: the `auth` for {registry} is not user:password in base64"))
        }
        None => Err(match config.helpers.get(registry).or(config.store.as_ref()) {
            Some(helper) => format!(
                "there are no credentials for {registry} in {name}, and the helper {helper:?} that it names is not \
                 run; write an `auth`"
            ),
            None => format!("there are no credentials for {registry} in {name}; try `docker login {registry}`"),
        }),
    }
}

impl Credentials {
    /// `Basic ...`
    pub fn basic(user_and_password: &str) -> Option<HeaderValue> {
        secret(&format!("Basic {}", BASE64.encode(user_and_password.as_bytes())))
    }
}

/// A header that no log shows.
pub(super) fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Entry {
    /// `None`: none; `Some(None)`: broken.
    fn credentials(&self) -> Option<Option<Credentials>> {
        let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        if let Some(identity) = set(&self.identity) {
            return Some(Some(Credentials::Identity(identity)));
        }
        if let (Some(user), Some(password)) = (set(&self.username), set(&self.password)) {
            return Some(Some(Credentials::Basic(format!("{user}:{password}"))));
        }
        let auth = set(&self.auth)?;
        let auth = auth.trim().as_bytes();
        let bytes = BASE64.decode(auth).or_else(|_| BASE64_NOPAD.decode(auth)).ok();
        let pair = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|pair| pair.contains(':'));
        // Some tools pad what they encode.
        Some(pair.map(|pair| Credentials::Basic(pair.trim_end_matches('\0').to_owned())))
    }
}

/// Whether a key of `auths` means the registry. `docker login` writes the host; older versions a URL.
fn names(key: &str, registry: &str) -> bool {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.split_once('/').map_or(key, |(host, _)| host);
    key.eq_ignore_ascii_case(registry) || (HUB.contains(&key) && HUB.contains(&registry))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn look(content: &str, registry: &str) -> Result<Credentials, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        fs::write(&file, content).unwrap();
        find(Some(&file), registry)
    }

    fn basic(pair: &str) -> Option<Credentials> {
        Some(Credentials::Basic(pair.to_owned()))
    }

    #[test]
    fn credentials_are_found_by_the_registry() {
        let content = format!(
            r#"{{"auths": {{
                "ghcr.io": {{"auth": "{}"}},
                "https://index.docker.io/v1/": {{"auth": "{}"}},
                "127.0.0.1:5000": {{"username": "u", "password": "p:q"}},
                "id.example": {{"auth": "{}", "identitytoken": "refresh"}}
            }}, "HttpHeaders": {{}}}}"#,
            BASE64.encode(b"me:secret"),
            BASE64_NOPAD.encode(b"hub:secret\0"),
            BASE64.encode(b"00000000-0000-0000-0000-000000000000:"),
        );
        let look = |registry| look(&content, registry).ok();
        assert!(look("ghcr.io") == basic("me:secret"));
        assert!(look("GHCR.io") == basic("me:secret"));
        assert!(look("docker.io") == basic("hub:secret"));
        assert!(look("127.0.0.1:5000") == basic("u:p:q"));
        assert!(look("id.example") == Some(Credentials::Identity("refresh".to_owned())));
        assert!(look("127.0.0.1:5001").is_none() && look("x.ghcr.io").is_none());
    }

    #[test]
    fn where_there_are_none_the_reason_is_told_and_no_secret() {
        for (content, reason) in [
            (r#"{"auths": {}}"#, "docker login"),
            (r#"{"auths": {"ghcr.io": {}}, "credsStore": "desktop"}"#, "\"desktop\""),
            (r#"{"credHelpers": {"ghcr.io": "pass"}}"#, "\"pass\""),
            (r#"{"auths": {"ghcr.io": {"auth": "c2VjcmV0"}}}"#, "user:password"),
            (r#"{"auths": {"ghcr.io": "c2VjcmV0"}}"#, "line 1"),
        ] {
            let Err(error) = look(content, "ghcr.io") else { panic!("{content}") };
            assert!(error.contains(reason) && !error.contains("c2VjcmV0"), "{error}");
        }
        let missing = find(Some(Path::new("/nonexistent/config.json")), "ghcr.io");
        assert!(missing.is_err_and(|error| error.contains("does not exist")));
        assert!(find(None, "ghcr.io").is_err());
    }

    #[test]
    fn headers_hide_what_they_hold() {
        let header = Credentials::basic("me:secret").unwrap();
        assert_eq!((header.to_str().unwrap(), format!("{header:?}")), ("Basic bWU6c2VjcmV0", "Sensitive".to_owned()));
        assert!(secret("a\nb").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_file_of_any_kind_is_read_or_refused(bytes in any::<Vec<u8>>()) {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("config.json");
            fs::write(&file, bytes).unwrap();
            prop_assert!(find(Some(&file), "ghcr.io").is_err());
        }

        /// Whatever is in the entry, and whether or not it can be used.
        #[test]
        fn no_secret_is_in_what_is_said(secret in "[A-Z]{12}", shape in 0_usize..5, broken in any::<bool>()) {
            let encoded = BASE64.encode(secret.as_bytes());
            let entry = match shape {
                0 => serde_json::json!({ "auth": encoded }),
                1 => serde_json::json!({ "auth": secret }),
                2 => serde_json::json!({ "password": secret }),
                3 => serde_json::json!({ "username": secret, "password": [secret] }),
                _ => serde_json::json!(secret),
            };
            let text = serde_json::json!({ "auths": { "ghcr.io": entry } }).to_string();
            let text = if broken { &text[..text.len() - 1] } else { &text[..] };
            let Err(error) = look(text, "ghcr.io") else { return Err(TestCaseError::fail("it was accepted")) };
            prop_assert!(!error.contains(&secret) && !error.contains(&encoded), "{error}");
        }

        /// A registry whose name is another one's with something before, behind or in it is not that one.
        #[test]
        fn nobody_elses_credentials_are_used(
            key in "(https?://)?(user@)?[a-z.]{0,4}ghcr\\.io(:[0-9]{1,3})?[a-z.]{0,4}(/[a-z0-9/.]{0,6})?",
        ) {
            let content = serde_json::json!({ "auths": { &key: { "auth": BASE64.encode(b"me:secret") } } });
            let host = key.trim_start_matches("https://").trim_start_matches("http://");
            let host = host.split('/').next().unwrap();
            prop_assert_eq!(look(&content.to_string(), "ghcr.io").is_ok(), host == "ghcr.io", "{}", key);
        }

        #[test]
        fn a_header_is_what_was_to_be_sent_or_none(text in any::<String>()) {
            let header = Credentials::basic(&text).unwrap();
            let sent = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
            prop_assert_eq!(BASE64.decode(sent.as_bytes()).unwrap(), text.as_bytes());
            if let Some(header) = secret(&text) {
                prop_assert_eq!(header.as_bytes(), text.as_bytes());
                prop_assert!(header.is_sensitive() && !text.contains(['\r', '\n', '\0']));
            }
        }
    }
}
