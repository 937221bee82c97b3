//! Which part of an image is the module.
//!
//! There are three ways to put a module into a registry: as an artifact with a layer of its own media type (CNCF's
//! `application/wasm`, Istio's `...vnd.module.wasm...`, `oras push` and `wasm-to-oci` as they like it), and inside of a
//! container image, in a file `plugin.wasm`. An index may stand before each of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::answer::shown;
use crate::config::module::manifest_digest;

/// What is asked for: manifests and indexes of OCI and of Docker.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                                 application/vnd.docker.distribution.manifest.v2+json, \
                                 application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest may have megabytes, and all of them could be in what is wrong with it.
const LONGEST_REASON: usize = 1000;

/// More is no manifest (distribution specification, "Pushing Manifests").
pub(super) const LIMIT: usize = 4 << 20;

/// Where a layer, or the manifest, carries the signature over the module's bytes, in base64.
pub(super) const SIGNATURE: &str = "io.fyke.signature.ed25519";

const MODULES: [&str; 3] = [
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
];
const ARCHIVES: [&str; 2] =
    ["application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip"];

/// What to fetch next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another manifest, by the digits of its digest.
    Manifest(String),
    /// The layer with the module.
    Layer(Layer),
}

/// A layer with a module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// The digits of its digest.
    pub sha256: String,
    pub size: u64,
    pub form: Form,
    pub signature: Option<String>,
}

/// How a module is in its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The layer is the module.
    Module,
    /// It is in the file `plugin.wasm` of a gzipped tar file.
    Archive,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    manifests: Option<Vec<Descriptor>>,
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

/// Reads a manifest or an index.
///
/// # Errors
/// Why there is no module in it, for the operator.
pub(super) fn read(bytes: &[u8]) -> Result<Next, String> {
    next(bytes).map_err(|reason| shown(&reason, LONGEST_REASON))
}

fn next(bytes: &[u8]) -> Result<Next, String> {
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| format!("its manifest cannot be read: {error}"))?;
    match (document.manifests, document.layers) {
        (Some(manifests), None) => choose(&manifests).map(Next::Manifest),
        (None, Some(layers)) => layer(layers, &document.annotations).map(Next::Layer),
        // Whoever reads only one of the two sees something else in it (CVE-2021-41190).
        (Some(_), Some(_)) => Err("its manifest is an index as well".to_owned()),
        (None, None) => Err("its manifest has no layers; those of Docker's first schema are not supported".to_owned()),
    }
}

/// The only manifest of an index, or the only one for WebAssembly. Attestations have an unknown platform.
fn choose(manifests: &[Descriptor]) -> Result<String, String> {
    let architecture = |entry: &Descriptor| match &entry.platform {
        Some(platform) => platform.architecture.clone(),
        None => String::new(),
    };
    let known: Vec<_> = manifests.iter().filter(|entry| architecture(entry) != "unknown").collect();
    let wasm: Vec<_> = known.iter().copied().filter(|entry| architecture(entry).starts_with("wasm")).collect();
    match (known.as_slice(), wasm.as_slice()) {
        ([only], _) | (_, [only]) => manifest_digest(&only.digest),
        ([], _) => Err("its index is empty".to_owned()),
        (several, _) => {
            let choices: Vec<_> = several.iter().map(|entry| entry.described()).collect();
            Err(format!("its index holds several images; name one by its digest: {}", choices.join(", ")))
        }
    }
}

fn layer(layers: Vec<Descriptor>, annotations: &BTreeMap<String, String>) -> Result<Layer, String> {
    let seen: Vec<_> = layers.iter().map(|layer| layer.media_type.clone()).collect();
    let (modules, rest): (Vec<_>, Vec<_>) =
        layers.into_iter().partition(|layer| MODULES.contains(&layer.media_type.as_str()));
    if modules.len() > 1 {
        return Err(format!("{} of its layers are modules; one is expected", modules.len()));
    }
    let module = modules.into_iter().next().map(|layer| (Form::Module, layer));
    // What a container sees is what its last layer says.
    let archive = || rest.into_iter().next_back().filter(|layer| ARCHIVES.contains(&layer.media_type.as_str()));
    let (form, layer) = module.or_else(|| archive().map(|layer| (Form::Archive, layer))).ok_or_else(|| {
        let seen = if seen.is_empty() { "nothing".to_owned() } else { seen.join(", ") };
        format!("none of its layers is a module; they are: {seen}; `{}` is expected", MODULES[1])
    })?;
    let signature = layer.annotations.get(SIGNATURE).or_else(|| annotations.get(SIGNATURE)).cloned();
    Ok(Layer { sha256: manifest_digest(&layer.digest)?, size: layer.size, form, signature })
}

impl Descriptor {
    fn described(&self) -> String {
        let platform = self.platform.as_ref();
        let platform = platform.map_or("no platform".to_owned(), |it| format!("{}/{}", it.os, it.architecture));
        format!("{} ({platform})", self.digest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(document: serde_json::Value) -> Result<Next, String> {
        super::read(&serde_json::to_vec(&document).unwrap())
    }

    fn entry(kind: &str, digit: &str) -> serde_json::Value {
        json!({"mediaType": kind, "digest": format!("sha256:{}", digit.repeat(64)), "size": 3})
    }

    fn image(layers: &[serde_json::Value]) -> Result<(String, Form), String> {
        match read(json!({"layers": layers}))? {
            Next::Layer(layer) => Ok((layer.sha256[..1].to_owned(), layer.form)),
            Next::Manifest(digest) => Err(digest),
        }
    }

    #[test]
    fn the_module_is_the_layer_that_says_so_or_the_last_archive() {
        for kind in MODULES {
            assert_eq!(image(&[entry("text/plain", "1"), entry(kind, "2")]).unwrap(), ("2".to_owned(), Form::Module));
        }
        for kind in ARCHIVES {
            assert_eq!(image(&[entry(kind, "1"), entry(kind, "2")]).unwrap(), ("2".to_owned(), Form::Archive));
            assert_eq!(image(&[entry(MODULES[0], "1"), entry(kind, "2")]).unwrap(), ("1".to_owned(), Form::Module));
        }
    }

    #[test]
    fn what_is_no_one_module_is_refused() {
        let zstd = "application/vnd.oci.image.layer.v1.tar+zstd";
        let sha512 = json!({"mediaType": MODULES[1], "digest": format!("sha512:{}", "1".repeat(128))});
        for (layers, reason) in [
            (vec![], "they are: nothing"),
            (vec![entry(zstd, "1")], "tar+zstd"),
            (vec![entry(ARCHIVES[0], "1"), entry(zstd, "2")], "tar+zstd"),
            (vec![entry(MODULES[0], "1"), entry(MODULES[1], "2")], "2 of its layers"),
            (vec![sha512], "sha512"),
        ] {
            let error = image(&layers).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        for (document, reason) in [
            (json!({"schemaVersion": 1, "fsLayers": []}), "first schema"),
            (json!({"layers": [], "manifests": []}), "index as well"),
            (json!({"layers": 1}), "cannot be read"),
            (json!([]), "cannot be read"),
            (json!({"layers": [{"mediaType": "x"}]}), "cannot be read"),
        ] {
            let error = read(document).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn an_index_has_to_leave_one_choice() {
        let image = |digit: &str, os: &str, architecture: &str| {
            let mut entry = entry("application/vnd.oci.image.manifest.v1+json", digit);
            entry["platform"] = json!({"os": os, "architecture": architecture});
            entry
        };
        let choose = |manifests: &[serde_json::Value]| match read(json!({"manifests": manifests}))? {
            Next::Manifest(digest) => Ok(digest[..1].to_owned()),
            Next::Layer(layer) => Err(layer.sha256),
        };
        let (amd, arm) = (image("1", "linux", "amd64"), image("2", "linux", "arm64"));
        let (wasm, attestation) = (image("3", "wasip1", "wasm"), image("4", "unknown", "unknown"));
        assert_eq!(choose(&[entry("x", "5")]).unwrap(), "5");
        assert_eq!(choose(&[amd.clone(), attestation]).unwrap(), "1");
        assert_eq!(choose(&[amd.clone(), wasm, arm.clone()]).unwrap(), "3");
        let error = choose(&[amd, arm]).unwrap_err();
        assert!(error.contains("sha256:1111") && error.contains("linux/arm64"), "{error}");
        assert!(choose(&[]).unwrap_err().contains("empty"));
    }

    #[test]
    fn signatures_are_on_the_layer_or_on_the_image() {
        let mut signed = entry(MODULES[0], "1");
        let signature = |document| match read(document).unwrap() {
            Next::Layer(layer) => layer.signature,
            Next::Manifest(_) => None,
        };
        let around = json!({SIGNATURE: "image"});
        assert_eq!(signature(json!({"layers": [signed]})), None);
        assert_eq!(signature(json!({"layers": [signed], "annotations": around})).unwrap(), "image");
        signed["annotations"] = json!({SIGNATURE: "layer"});
        assert_eq!(signature(json!({"layers": [signed], "annotations": around})).unwrap(), "layer");
    }

    #[test]
    fn what_is_wrong_is_said_in_short_and_on_one_line() {
        let long = "\u{1b}[2J\n".repeat(100_000);
        for document in [
            json!({"layers": [{"mediaType": long, "digest": "x"}]}),
            json!({"layers": [{"mediaType": MODULES[0], "digest": format!("{long}:x")}]}),
            json!({"layers": long}),
            json!({"manifests": [entry(&long, "1"), {"mediaType": "x", "digest": long}]}),
        ] {
            let error = read(document).unwrap_err();
            assert!(error.chars().count() <= LONGEST_REASON && !error.chars().any(char::is_control), "{error:?}");
        }
    }

    /// Words that mean something in a manifest, and others.
    fn word() -> impl Strategy<Value = String> {
        let known = [MODULES.as_slice(), ARCHIVES.as_slice(), &["", "wasm", "amd64", "unknown", "sha256:", "sha512:0"]]
            .concat();
        prop_oneof![
            prop::sample::select(known).prop_map(str::to_owned),
            "sha256:[0-9a-fA-F]{64}",
            "sha256:[0-9a-f]{62,66}",
            any::<String>(),
        ]
    }

    fn descriptor() -> impl Strategy<Value = serde_json::Value> {
        (word(), word(), prop::option::of(any::<i64>()), prop::option::of((word(), word())), prop::option::of(word()))
            .prop_map(|(kind, digest, size, platform, signature)| {
                let mut one = json!({"mediaType": kind, "digest": digest});
                if let Some(size) = size {
                    one["size"] = json!(size);
                }
                if let Some((os, architecture)) = platform {
                    one["platform"] = json!({"os": os, "architecture": architecture});
                }
                if let Some(signature) = signature {
                    one["annotations"] = json!({SIGNATURE: signature});
                }
                one
            })
    }

    fn is_digest(text: &str) -> bool {
        text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_are_read_or_refused(bytes in any::<Vec<u8>>()) {
            let _ = super::read(&bytes);
        }

        #[test]
        fn whatever_leads_on_is_a_digest_that_the_document_names(
            layers in prop::option::of(prop::collection::vec(descriptor(), 0..4)),
            manifests in prop::option::of(prop::collection::vec(descriptor(), 0..4)),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut document = json!({"schemaVersion": 2});
            if let Some(layers) = &layers {
                document["layers"] = json!(layers);
            }
            if let Some(manifests) = &manifests {
                document["manifests"] = json!(manifests);
            }
            let text = document.to_string();
            let bytes = cut.map_or(text.as_bytes(), |cut| &text.as_bytes()[..cut.index(text.len())]);
            let lower = text.to_ascii_lowercase();
            match super::read(bytes) {
                Ok(next) => {
                    prop_assert!(cut.is_none(), "half of a document is none");
                    prop_assert!(layers.is_some() != manifests.is_some(), "one or the other");
                    let digest = match &next {
                        Next::Manifest(digest) => digest,
                        Next::Layer(layer) => &layer.sha256,
                    };
                    prop_assert!(is_digest(digest), "{digest}");
                    prop_assert!(lower.contains(&format!("sha256:{digest}")), "{digest}");
                    if let Next::Layer(layer) = next {
                        let kinds: Vec<_> = layers.iter().flatten().filter_map(|one| one["mediaType"].as_str()).collect();
                        let expected: &[&str] = if layer.form == Form::Module { &MODULES } else { &ARCHIVES };
                        prop_assert!(kinds.iter().any(|kind| expected.contains(kind)));
                        prop_assert!(kinds.iter().filter(|kind| MODULES.contains(kind)).count() <= 1);
                    }
                }
                Err(reason) => {
                    prop_assert!(reason.chars().count() <= LONGEST_REASON);
                    prop_assert!(!reason.chars().any(char::is_control), "{reason:?}");
                }
            }
        }
    }
}
