//! The SDK's source, which the binary carries until the SDK is published: projects get a copy of their own.

use std::{fs, io, path::Path};

/// Files of the SDK, by path.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk_source.rs"));
/// Where versions of dependencies and what packages have in common are written.
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");

/// Writes the SDK into a folder.
///
/// # Errors
/// Of the file system.
pub(super) fn write(folder: &Path) -> io::Result<()> {
    for (path, contents) in FILES {
        let file = folder.join(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        if path.ends_with("Cargo.toml") {
            fs::write(file, standalone(contents))?;
        } else {
            fs::write(file, contents)?;
        }
    }
    Ok(())
}

/// A manifest without its workspace: what it takes from there is written out.
fn standalone(manifest: &str) -> String {
    let mut out = String::new();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        if section == "[lints]" {
            continue;
        }
        let inherited = line.strip_suffix(".workspace = true").or_else(|| line.strip_suffix(" = { workspace = true }"));
        match inherited {
            // The only crate of ours that the SDK needs.
            Some("fyke-sdk-macros") => out.push_str("fyke-sdk-macros = { path = \"macros\" }"),
            Some(name) => out.push_str(written(name).unwrap_or(line)),
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// The line of the workspace's manifest that gives `name`.
fn written(name: &str) -> Option<&'static str> {
    WORKSPACE.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(" = ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_stand_alone() {
        let manifests: Vec<_> = FILES.iter().filter(|(path, _)| path.ends_with("Cargo.toml")).collect();
        assert_eq!(manifests.len(), 2);
        for (path, contents) in manifests {
            let written = standalone(contents);
            let parsed: toml::Table = written.parse().unwrap();
            assert!(!written.contains("workspace"), "{path}: {written}");
            assert!(parsed["package"]["version"].as_str().is_some(), "{path}");
            assert!(!parsed.contains_key("lints"), "{path}");
        }
    }

    #[test]
    fn the_whole_sdk_is_there() {
        for path in ["src/lib.rs", "src/abi/guest/mod.rs", "macros/src/lib.rs", "README.md"] {
            assert!(FILES.iter().any(|(known, _)| *known == path), "{path}");
        }
    }
}
