//! Modules inside of container images, as Istio's "compat" variant has them: a layer with the file `plugin.wasm`.

use std::io::Read;

use flate2::read::MultiGzDecoder;

const NAME: &str = "plugin.wasm";

/// Besides the module: headers, padding, files next to it.
const OVERHEAD: u64 = 1 << 20;

/// The module in a gzipped tar file. Not more than a little over `limit` bytes are unpacked.
///
/// # Errors
/// What is wrong with the layer, for the operator.
pub(super) fn unpack(layer: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let broken = |error| format!("its layer cannot be unpacked: {error}");
    let most = limit as u64 + OVERHEAD;
    let mut archive = tar::Archive::new(MultiGzDecoder::new(layer).take(most));
    for entry in archive.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let path = entry.path_bytes();
        if path.strip_prefix(b"./").unwrap_or(&path) != NAME.as_bytes() {
            continue;
        }
        if !entry.header().entry_type().is_file() {
            return Err(format!("{NAME} in its layer is not a file"));
        }
        if entry.size() > limit as u64 {
            return Err(format!("{NAME} in its layer has more than {limit} bytes"));
        }
        let (size, mut bytes) = (entry.size(), Vec::new());
        let mut entry = entry;
        entry.read_to_end(&mut bytes).map_err(broken)?;
        return if bytes.len() as u64 == size {
            Ok(bytes)
        } else {
            Err(broken(std::io::ErrorKind::UnexpectedEof.into()))
        };
    }
    Err(format!("its last layer holds no {NAME}, and no layer is a module"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    /// A layer with these files.
    pub(in crate::wasm::source) fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        zipped(&builder.into_inner().unwrap())
    }

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_plugin_is_found_among_other_files() {
        let layer = packed(&[("etc/plugin.wasm", b"other"), ("./plugin.wasm", b"module"), ("README", b"")]);
        assert_eq!(unpack(&layer, 6).unwrap(), b"module");
        assert_eq!(unpack(&packed(&[("plugin.wasm", b"module")]), 6).unwrap(), b"module");
    }

    #[test]
    fn what_holds_no_plugin_is_refused() {
        let bomb = vec![0; 2 << 20];
        let mut link = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        link.append_link(&mut header, "plugin.wasm", "/etc/passwd").unwrap();
        let whole = packed(&[("plugin.wasm", &[1; 100])]);
        for (layer, reason) in [
            (packed(&[("a.wasm", b"module")]), "holds no plugin.wasm"),
            (packed(&[("plugin.wasm", b"modules")]), "more than 6"),
            (packed(&[("README", &bomb), ("plugin.wasm", b"module")]), "unpacked"),
            (zipped(&link.into_inner().unwrap()), "not a file"),
            (whole[..whole.len() / 2].to_vec(), "unpacked"),
            (b"no archive".to_vec(), "unpacked"),
        ] {
            let error = unpack(&layer, 6).unwrap_err();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_was_damaged_is_unpacked_within_the_limit_or_refused(
            module in prop::collection::vec(any::<u8>(), 0..400),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            limit in 0_usize..500,
            raw in any::<Vec<u8>>(),
        ) {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(module.len() as u64);
            builder.append_data(&mut header, "plugin.wasm", module.as_slice()).unwrap();
            let mut bytes = builder.into_inner().unwrap();
            for (place, byte) in &damage {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            for layer in [zipped(&bytes), bytes, zipped(&raw), raw] {
                if let Ok(found) = unpack(&layer, limit) {
                    prop_assert!(found.len() <= limit);
                }
            }
        }
    }
}
