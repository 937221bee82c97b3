use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn places(folder: &Path) -> Places {
    let user = rustix::process::geteuid().as_raw();
    Places { runtime: None, run: folder.join("run"), temporary: folder.to_owned(), user }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn address() -> SocketAddr {
    "127.0.0.1:9900".parse().unwrap()
}

#[test]
fn a_token_is_made_once_and_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let kept = places(folder.path()).own(address());
    let made = kept.read_or_make().unwrap();
    assert_eq!(made.len(), 2 * TOKEN);
    assert_eq!((kept.read_or_make().unwrap(), kept.read().unwrap()), (made.clone(), made));
    let bits = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(bits(kept.path()), 0o600);
    assert!(kept.folders.iter().all(|folder| bits(folder) == 0o700), "{:?}", kept.folders);
    // Nothing stays of what was written aside.
    assert_eq!(fs::read_dir(kept.path().parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn what_somebody_else_may_have_put_there_is_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let kept = places(folder.path()).own(address());
    kept.read_or_make().unwrap();
    let (file, inner, outer) = (kept.path(), &kept.folders[1], &kept.folders[0]);
    let refused = || {
        let error = kept.read_or_make().unwrap_err();
        assert_eq!((error.kind(), kept.read().unwrap_err().kind()), (error.kind(), error.kind()));
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        error.to_string()
    };
    mode(file, 0o622);
    assert!(refused().contains("mode 0622); remove it"), "{}", refused());
    mode(file, 0o600);
    for inside in [inner, outer] {
        mode(inside, 0o720);
        assert!(refused().contains(&format!("{} is not to be trusted", inside.display())), "{}", refused());
        mode(inside, 0o700);
    }
    mode(folder.path(), 0o777);
    assert!(refused().contains("chmod +t"));
    mode(folder.path(), 0o1777);
    assert!(kept.read().is_ok());

    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(file, elsewhere.path().join("planted")).unwrap();
    symlink(elsewhere.path().join("planted"), file).unwrap();
    assert!(refused().contains("it is a link"), "{}", refused());
    fs::remove_file(file).unwrap();
    fs::remove_dir(inner).unwrap();
    symlink(elsewhere.path(), inner).unwrap();
    assert!(refused().contains("it is not a folder"), "{}", refused());
    if kept.user == 0 {
        fs::remove_file(inner).unwrap();
        fs::create_dir(inner).unwrap();
        std::os::unix::fs::chown(inner, Some(1234), None).unwrap();
        assert!(refused().contains("it belongs to user 1234"), "{}", refused());
    }
}

#[test]
fn an_empty_file_is_replaced_where_nobody_has_named_it() {
    let folder = tempfile::tempdir().unwrap();
    let kept = places(folder.path()).own(address());
    kept.read_or_make().unwrap();
    fs::write(kept.path(), "").unwrap();
    assert_eq!(kept.read().unwrap_err().kind(), io::ErrorKind::InvalidData);
    let made = kept.read_or_make().unwrap();
    assert_eq!((made.len(), kept.read().unwrap()), (2 * TOKEN, made));

    let file = folder.path().join("deep/token");
    let made = configured(&file).unwrap();
    assert_eq!(configured(&file).unwrap(), made);
    for wrong in ["\n", "two words", &"x".repeat(5000)] {
        fs::write(&file, wrong).unwrap();
        let error = configured(&file).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("remove it"), "{error}");
    }
}

#[test]
fn a_named_file_may_be_a_link_and_not_everybodys_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let (target, file) = (folder.path().join("..data"), folder.path().join("token"));
    fs::write(&target, "secret\n").unwrap();
    symlink("..data", &file).unwrap();
    mode(&target, 0o664);
    assert_eq!(configured(&file).unwrap(), "secret");
    mode(&target, 0o646);
    let error = configured(&file).unwrap_err();
    assert!(error.to_string().contains("others may write to it (mode 0646); `chown` or `chmod` it"), "{error}");
    // Who asks takes what was named.
    assert_eq!(named(&file).unwrap(), "secret");
    if rustix::process::geteuid().is_root() {
        mode(&target, 0o600);
        std::os::unix::fs::chown(&target, Some(1234), None).unwrap();
        assert!(configured(&file).unwrap_err().to_string().contains("it belongs to user 1234"));
        assert_eq!(named(&file).unwrap(), "secret");
    }
}

#[test]
fn a_pipe_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RWXU).unwrap();
    assert!(configured(&file).unwrap_err().to_string().contains("it is not a regular file"));
}

#[test]
fn who_asks_looks_where_others_keep_theirs() {
    let runtime = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let places = Places { runtime: Some(runtime.path().to_owned()), ..places(folder.path()) };
    assert_eq!(places.own(address()).path(), runtime.path().join("fyke/127.0.0.1:9900.token"));
    let all: Vec<_> = places.candidates(address()).iter().map(|kept| kept.path().to_owned()).collect();
    let user = places.user;
    let of = |name: &str| {
        let (name, below) = (format!("fyke/{name}.token"), format!("fyke-{user}/fyke/{name}.token"));
        [runtime.path().join(&name), folder.path().join("run").join(name), folder.path().join(below)]
    };
    assert_eq!(all, [of("127.0.0.1:9900"), of("0.0.0.0:9900"), of("[::]:9900")].concat());
    // Another machine's endpoint is known by its own address alone.
    assert_eq!(places.candidates("10.1.2.3:9900".parse().unwrap()).len(), 3);
}
