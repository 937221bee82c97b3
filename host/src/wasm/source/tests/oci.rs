//! Registries.

use serde_json::{Value, json};

use super::{
    server::{Reply, Seen, Server, ok, status},
    *,
};

pub(super) const WASM: &str = "application/wasm";
const ARCHIVE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What a registry holds of one image.
#[derive(Clone)]
pub(super) struct Image {
    pub manifest: Vec<u8>,
    pub layer: Vec<u8>,
}

impl Image {
    pub fn new(kind: &str, layer: &[u8], annotations: &Value) -> Self {
        let entry = json!({
            "mediaType": kind,
            "digest": format!("sha256:{}", digest(layer)),
            "size": layer.len(),
            "annotations": annotations,
        });
        let manifest = json!({"schemaVersion": 2, "layers": [entry]});
        Self { manifest: serde_json::to_vec(&manifest).unwrap(), layer: layer.to_vec() }
    }

    pub fn reply(&self, seen: &Seen) -> Reply {
        let path = &seen.path;
        let known = [format!("sha256:{}", digest(&self.manifest)), "1".to_owned(), "latest".to_owned()];
        if path.strip_prefix("/v2/team/filter/manifests/").is_some_and(|name| known.iter().any(|known| known == name)) {
            assert!(seen.headers["accept"].contains("application/vnd.oci.image.manifest.v1+json"));
            ok(&self.manifest[..])
        } else if *path == format!("/v2/team/filter/blobs/sha256:{}", digest(&self.layer)) {
            ok(&self.layer[..])
        } else {
            let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            Reply::Answer(404, Vec::new(), body.to_vec())
        }
    }
}

pub(super) fn module() -> Image {
    Image::new(WASM, MODULE, &json!({}))
}

pub(super) fn named(server: &Server, rest: &str) -> ModuleSource {
    ModuleSource::Oci(Reference::parse(&format!("oci://{}/team/filter{rest}", server.address)).unwrap())
}

fn serve(image: Image) -> Server {
    Server::start(move |seen, _| image.reply(seen))
}

#[test]
fn a_digest_is_asked_for_once() {
    let folder = tempfile::tempdir().unwrap();
    let image = module();
    let source = format!("@sha256:{}", digest(&image.manifest));
    let server = serve(image);
    for _ in 0..2 {
        assert_eq!(told(read(&fetcher(&folder), &named(&server, &source), None)).unwrap(), MODULE);
    }
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_tag_with_a_digest_of_the_module_is_asked_for_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(module());
    for _ in 0..2 {
        let module = read(&fetcher(&folder), &named(&server, ":1"), Some(&digest(MODULE))).unwrap();
        assert_eq!(module, Module::from(MODULE.to_vec()));
    }
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_tag_alone_is_asked_for_each_time_but_its_bytes_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(module());
    for requests in [2, 3] {
        assert_eq!(told(read(&fetcher(&folder), &named(&server, ""), None)).unwrap(), MODULE);
        assert_eq!(server.seen().len(), requests);
    }
}

#[test]
fn when_the_registry_has_died_a_tag_means_what_it_has_meant() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(module());
    let source = named(&server, ":1");
    assert_eq!(read(&fetcher(&folder), &source, None).unwrap().fallback, None);
    let address = server.address.to_string();
    drop(server);
    let last = read(&fetcher(&folder), &source, None).unwrap();
    assert_eq!(&*last.bytes, MODULE);
    assert!(last.fallback.is_some_and(|reason| reason.contains(&address) && reason.contains("refused")));
    // Not what is not known, not what is not wanted, and nothing without a cache.
    let other = ModuleSource::Oci(Reference::parse(&format!("oci://{address}/team/filter:2")).unwrap());
    fails(read(&fetcher(&folder), &other, None), "unreachable", &[&address]);
    fails(read(&fetcher(&folder), &source, Some(&digest(b"other"))), "unreachable", &[&address]);
    fails(read(&Fetcher { cache: None, ..fetcher(&folder) }, &source, None), "unreachable", &[&address]);
    // What must have a certain digest has it, whoever is dead.
    let certain = read(&fetcher(&folder), &other, Some(&digest(MODULE))).unwrap();
    assert_eq!(certain, Module::from(MODULE.to_vec()));
}

#[test]
fn a_registry_that_dies_half_way_is_an_outage_and_one_that_refuses_is_not() {
    let image = module();
    let other = Image::new(WASM, b"\0asm other", &json!({}));
    for (reply, outage) in [
        (status(500, &[]), true),
        (Reply::Cut(10, b"\0asm".to_vec()), true),
        (status(404, &[]), false),
        (status(403, &[]), false),
        (status(401, &[]), false),
        (ok("\0asm damage"), false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (image, other) = (image.clone(), other.clone());
        let server = Server::start(move |seen, before| match before {
            0..2 => image.reply(seen),
            _ if seen.path.contains("/manifests/") => other.reply(seen),
            _ => reply.clone(),
        });
        let read = || read(&fetcher(&folder), &named(&server, ":1"), None);
        assert_eq!(told(read()).unwrap(), MODULE);
        match read() {
            Ok(module) => assert!(outage && module.fallback.is_some() && *module.bytes == *MODULE),
            Err(error) => assert!(!outage && !error.is_outage(), "{error}"),
        }
    }
}

#[test]
fn modules_are_unpacked_from_container_images() {
    let folder = tempfile::tempdir().unwrap();
    let layer = archive::tests::packed(&[("plugin.wasm", MODULE)]);
    let image = Image::new(ARCHIVE, &layer, &json!({}));
    let source = format!("@sha256:{}", digest(&image.manifest));
    let server = serve(image);
    let mut fetcher = fetcher(&folder);
    fetcher.limits.size = 4096;
    for _ in 0..2 {
        // The digest of the module, not of the layer.
        assert_eq!(told(read(&fetcher, &named(&server, &source), Some(&digest(MODULE)))).unwrap(), MODULE);
    }
    assert_eq!(server.seen().len(), 2);
    fails(read(&fetcher, &named(&server, ":1"), Some(&digest(&layer))), "digest", &[&digest(MODULE)]);
}

#[test]
fn an_index_leads_to_the_image_and_to_no_other_index() {
    let folder = tempfile::tempdir().unwrap();
    let image = module();
    let index = |of: &[u8]| {
        let entry = json!({"digest": format!("sha256:{}", digest(of))});
        serde_json::to_vec(&json!({"manifests": [entry]})).unwrap()
    };
    let inner = index(&image.manifest);
    let outer = index(&inner);
    let pinned = format!("@sha256:{}", digest(&inner));
    let server = Server::start(move |seen, _| match &seen.path {
        path if path.ends_with("/manifests/2") => ok(&outer[..]),
        path if path.ends_with(&digest(&inner)) => ok(&inner[..]),
        path if path.ends_with("/manifests/3") => ok(index(b"gone")),
        _ => image.reply(seen),
    });
    assert_eq!(told(read(&fetcher(&folder), &named(&server, &pinned), None)).unwrap(), MODULE);
    assert_eq!(server.seen().len(), 3);
    fails(read(&fetcher(&folder), &named(&server, ":2"), None), "manifest", &["another index"]);
    fails(read(&fetcher(&folder), &named(&server, ":3"), None), "not_found", &[&digest(b"gone"), "manifest unknown"]);
}

#[test]
fn what_does_not_fit_its_digest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = module();
    let (manifest, other) = (digest(&image.manifest), digest(b"other"));
    // A manifest that is not the one that the reference names.
    let server = Server::start({
        let image = image.clone();
        move |seen, _| if seen.path.contains("manifests") { ok(&image.manifest[..]) } else { image.reply(seen) }
    });
    let result = read(&fetcher(&folder), &named(&server, &format!(":1@sha256:{other}")), None);
    fails(result, "digest", &["the manifest's", &manifest, "the reference", &other]);
    // A module that is not the one that the configuration names: the manifest says enough.
    let result = read(&fetcher(&folder), &named(&server, ":1"), Some(&other));
    fails(result, "digest", &[&digest(MODULE), "the configuration", &other]);
    assert!(server.paths().iter().all(|path| path.contains("manifests")));
    // A layer that is not the one that the manifest names.
    let server = Server::start(move |seen, _| if seen.path.contains("blobs") { ok("?") } else { image.reply(seen) });
    fails(read(&fetcher(&folder), &named(&server, ":1"), None), "digest", &["the layer's", "the manifest"]);
    assert!(!folder.path().join("downloads").exists());
}

#[test]
fn images_that_are_no_modules_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(Image::new("application/vnd.oci.image.layer.v1.tar+zstd", b"layer", &json!({})));
    fails(read(&fetcher(&folder), &named(&server, ":1"), None), "manifest", &["/team/filter:1", "tar+zstd"]);
    let server = serve(Image::new(WASM, &[0; 65], &json!({})));
    fails(read(&fetcher(&folder), &named(&server, ":1"), None), "too_large", &["/team/filter:1"]);
    assert_eq!(server.seen().len(), 1, "the manifest says so");
    let server = serve(Image::new(ARCHIVE, b"no archive", &json!({})));
    fails(read(&fetcher(&folder), &named(&server, ":1"), None), "manifest", &["unpacked"]);
    fails(read(&fetcher(&folder), &named(&server, ":2"), None), "not_found", &["manifests/2", "manifest unknown"]);
}
