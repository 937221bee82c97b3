//! Compiled modules on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fyke_engine::{Callback, Engine, EngineError, EngineOptions};

use crate::guest::module;

fn engine(directory: &Path) -> Result<Engine, EngineError> {
    Engine::new(EngineOptions { cache: Some(directory.to_owned()), ..EngineOptions::default() })
}

fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn guest() -> Vec<u8> {
    wat::parse_str(module("0_2_1", r#"(func (export "proxy_on_log") (param i32))"#)).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn compiled_modules_are_kept_privately_and_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("deep/cache");
    let hash = engine(&cache).unwrap().compile(&guest()).unwrap().hash().to_owned();
    assert_eq!(files(&cache), [cache.join(format!("{hash}.cwasm"))]);
    assert_eq!((mode(&cache), mode(&files(&cache)[0])), (0o700, 0o600));

    // A hit does not write: the file stays as old as it was made.
    let file = files(&cache)[0].clone();
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    let module = engine(&cache).unwrap().compile(&guest()).unwrap();
    assert!(module.callbacks().contains(Callback::Log));
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written);
}

#[test]
fn a_damaged_file_is_ignored_and_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    engine(&cache).unwrap().compile(&guest()).unwrap();
    let file = files(&cache)[0].clone();
    let good = fs::read(&file).unwrap();
    let middle = good.len() / 2;
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    for bad in [
        Vec::new(),
        good[..20].to_vec(),
        good[..middle].to_vec(),
        flipped(0),
        flipped(10),
        flipped(50),
        flipped(middle),
    ] {
        fs::write(&file, &bad).unwrap();
        engine(&cache).unwrap().compile(&guest()).unwrap();
        assert_eq!(fs::read(&file).unwrap().len(), good.len());
        assert_ne!(fs::read(&file).unwrap(), bad);
    }
}

#[test]
fn a_file_of_another_module_under_this_name_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    engine(&cache).unwrap().compile(&guest()).unwrap();
    let first = files(&cache)[0].clone();
    let other = wat::parse_str(module("0_2_1", r#"(func (export "proxy_on_tick") (param i32))"#)).unwrap();
    let hash = engine(&cache).unwrap().compile(&other).unwrap().hash().to_owned();
    fs::copy(&first, cache.join(format!("{hash}.cwasm"))).unwrap();
    let module = engine(&cache).unwrap().compile(&other).unwrap();
    assert!(module.callbacks().contains(Callback::Tick));
    assert_ne!(fs::read(cache.join(format!("{hash}.cwasm"))).unwrap(), fs::read(&first).unwrap());
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for bits in [0o770, 0o707, 0o722] {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(bits)).unwrap();
        let error = engine(directory.path()).unwrap_err();
        assert!(matches!(error, EngineError::CacheNotPrivate { .. }), "{error}");
    }
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    engine(directory.path()).unwrap();
}

#[test]
fn a_file_that_others_can_write_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    engine(&cache).unwrap().compile(&guest()).unwrap();
    let file = files(&cache)[0].clone();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    engine(&cache).unwrap().compile(&guest()).unwrap();
    assert_eq!(mode(&file), 0o600, "it was written anew");
}

#[test]
fn a_path_that_is_no_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(engine(&file), Err(EngineError::CacheDirectory { .. } | EngineError::CacheNotPrivate { .. })));
    let link = directory.path().join("link");
    fs::create_dir(directory.path().join("real")).unwrap();
    std::os::unix::fs::symlink(directory.path().join("real"), &link).unwrap();
    assert!(matches!(engine(&link), Err(EngineError::CacheNotPrivate { .. })), "a link");
}
