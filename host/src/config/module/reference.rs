//! An image in a registry, as configuration names it.

use std::fmt;

use http::uri::Authority;

use super::{
    digest::manifest_digest,
    url::{Url, check_authority, is_loopback},
};

/// An image in a registry: `oci://registry[:port]/repository[:tag][@sha256:...]`. The tag is `latest` where there is
/// neither tag nor digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    registry: Authority,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "expected oci://REGISTRY/REPOSITORY:TAG or oci://REGISTRY/REPOSITORY@sha256:DIGEST";
        let rest = text.strip_prefix("oci://").ok_or(SHAPE)?;
        let (registry, rest) = rest.split_once('/').ok_or(SHAPE)?;
        let registry: Authority =
            registry.parse().map_err(|_| format!("{registry:?} is not the host of a registry; {SHAPE}"))?;
        check_authority(&registry)?;
        let (rest, digest) = match rest.split_once('@') {
            None => (rest, None),
            Some((rest, digest)) => (rest, Some(manifest_digest(digest)?)),
        };
        let (repository, tag) = match rest.split_once(':') {
            None => (rest, None),
            Some((repository, tag)) if is_tag(tag) => (repository, Some(tag.to_owned())),
            Some((_, tag)) => return Err(format!("{tag:?} cannot be a tag: letters, digits and . _ - are allowed")),
        };
        if !is_repository(repository) {
            return Err(format!(
                "{repository:?} cannot be a repository: lower-case letters and digits, separated by . _ - and / are"
            ));
        }
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { registry, repository: repository.to_owned(), tag, digest })
    }

    /// The registry's host and port as written.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.registry.as_str()
    }

    /// The digest of the manifest in 64 hexadecimal digits, if the reference has one.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Where the registry's API answers for the repository. Loopback registries speak plain HTTP, all others TLS.
    ///
    /// # Errors
    /// Of [`Url::parse`].
    pub(crate) fn endpoint(&self, kind: &str, name: &str) -> Result<Url, String> {
        let scheme = if is_loopback(self.registry.host()) { "http" } else { "https" };
        // Docker Hub's name is not its address.
        let registry = if self.is_of_the_hub() { "registry-1.docker.io" } else { self.registry.as_str() };
        Url::parse(&format!("{scheme}://{registry}/v2/{}/{kind}/{name}", self.path()))
    }

    /// What a token has to be good for, where the registry does not say.
    pub(crate) fn scope(&self) -> String {
        format!("repository:{}:pull", self.path())
    }

    /// What names the manifest: the digest, or else the tag.
    pub(crate) fn manifest(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The repository as the registry knows it: Docker Hub's own images are in a folder that nobody writes.
    fn path(&self) -> String {
        let folder = if self.is_of_the_hub() && !self.repository.contains('/') { "library/" } else { "" };
        format!("{folder}{}", self.repository)
    }

    fn is_of_the_hub(&self) -> bool {
        matches!(self.registry.as_str(), "docker.io" | "index.docker.io")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@sha256:{digest}"),
            None => Ok(()),
        }
    }
}

/// The distribution specification's grammar of tags.
fn is_tag(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(letter)
        && text.bytes().all(|byte| letter(byte) || byte == b'.' || byte == b'-')
}

/// The distribution specification's grammar of names: parts separated by slashes, each of words separated by a dot,
/// one or two underscores or any number of dashes.
fn is_repository(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separates = |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    text.len() <= 255
        && text.split('/').all(|part| {
            let ends = [part.bytes().next(), part.bytes().next_back()];
            ends.into_iter().all(|end| end.is_some_and(word))
                && part.split(|letter: char| letter.is_ascii() && word(letter as u8)).all(separates)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_are_read_as_written() {
        let digest = "0123456789abcdef".repeat(4);
        for (text, manifest) in [
            ("oci://ghcr.io/a/b:1.0", "1.0".to_owned()),
            ("oci://127.0.0.1:5000/a", "latest".to_owned()),
            (&format!("oci://[::1]:5000/a-b/c__d/e.f@sha256:{digest}"), format!("sha256:{digest}")),
            (&format!("oci://localhost/a:1@sha256:{digest}"), format!("sha256:{digest}")),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.manifest(), manifest);
            assert!(reference.to_string().starts_with(text), "{reference}");
        }
        for (bad, reason) in [
            ("oci://ghcr.io", "expected"),
            ("ghcr.io/a/b", "expected"),
            ("oci:///a", "not the host"),
            ("oci://a:b@ghcr.io/a", "credentials"),
            ("oci://ghcr.io:/a", "port"),
            ("oci://ghcr.io/A", "lower-case"),
            ("oci://ghcr.io/a//b", "repository"),
            ("oci://ghcr.io/../a", "repository"),
            ("oci://ghcr.io/a___b", "repository"),
            ("oci://ghcr.io/a:", "tag"),
            ("oci://ghcr.io/a:b/c", "tag"),
            ("oci://ghcr.io/a@sha256:12", "hexadecimal"),
            ("oci://ghcr.io/a@sha512:12", "sha512"),
            ("oci://ghcr.io/a@x", "hexadecimal"),
        ] {
            let error = Reference::parse(bad).unwrap_err();
            assert!(error.contains(reason), "{bad}: {error}");
        }
    }

    #[test]
    fn registries_are_asked_where_they_are() {
        let endpoint = |text| Reference::parse(text).unwrap().endpoint("blobs", "x").unwrap().to_string();
        assert_eq!(endpoint("oci://ghcr.io/a/b"), "https://ghcr.io/v2/a/b/blobs/x");
        assert_eq!(endpoint("oci://localhost:5000/a"), "http://localhost:5000/v2/a/blobs/x");
        assert_eq!(endpoint("oci://docker.io/a"), "https://registry-1.docker.io/v2/library/a/blobs/x");
        assert_eq!(endpoint("oci://docker.io/a/b"), "https://registry-1.docker.io/v2/a/b/blobs/x");
    }

    /// Texts that are nearly references.
    fn near() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>().prop_map(|text| format!("oci://{text}")),
            r"oci://[a-zA-Z0-9.:@\[\]%_-]{0,12}/[a-zA-Z0-9./:@_%?#&\\ -]{0,24}",
            r"oci://(ghcr\.io|docker\.io|localhost|127\.0\.0\.1:5000|\[::1\])/[a-z0-9._/-]{1,12}(:[a-zA-Z0-9._-]{0,5})?(@sha256:[0-9a-f]{64})?",
        ]
    }

    proptest! {
        #[test]
        fn a_reference_is_refused_or_means_one_thing(text in near()) {
            let Ok(reference) = Reference::parse(&text) else { return Ok(()) };
            // What is shown can be written again.
            prop_assert_eq!(Reference::parse(&reference.to_string()), Ok(reference.clone()));
            prop_assert!(reference.digest().is_none_or(|digest| digest.len() == 64));
            // Nothing in it leads to another host, or out of the repository.
            let name = reference.manifest();
            let url = reference.endpoint("manifests", &name);
            let Ok(url) = url else { return Err(TestCaseError::fail(format!("{text}: {url:?}"))) };
            let (host, registry) = (url.authority(), reference.registry());
            prop_assert!(host == registry || (host == "registry-1.docker.io" && registry.ends_with("docker.io")), "{url}");
            prop_assert_eq!(url.is_secure(), !is_loopback(url.host()));
            let path = url.path_and_query();
            prop_assert!(path.starts_with("/v2/") && path.ends_with(&format!("/manifests/{name}")), "{path}");
            prop_assert!(!path.contains(['?', '#', '%', '\\']), "{path}");
            prop_assert!(path.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != ".."), "{path}");
            prop_assert!(reference.scope().ends_with(":pull") && reference.scope().matches(':').count() == 2);
        }

        #[test]
        fn text_of_any_kind_is_read_or_refused(text in any::<String>()) {
            let _ = Reference::parse(&text);
            let _ = manifest_digest(&text);
        }
    }
}
