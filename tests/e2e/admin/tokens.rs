//! The token of the admin endpoint where nobody says where it is.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Command,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{
    Launch, Proxy, Upstream,
    process::{self, Ended, finish},
    proxy::plain,
};

/// The command line, with folders of its own.
fn fyke(runtime: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(process::fyke());
    command.args(arguments).env("XDG_RUNTIME_DIR", runtime).env("TMPDIR", runtime);
    for name in ["FYKE_LOG", "FYKE_ADMIN", "FYKE_TOKEN_FILE"] {
        command.env_remove(name);
    }
    finish(command)
}

async fn start(runtime: &Path, settings: &str) -> Proxy {
    let upstream = Upstream::says("x").await;
    Launch::new(format!("{settings}{}", plain(upstream.address))).env("XDG_RUNTIME_DIR", runtime).start().await
}

/// Puts a token where it is looked for.
fn keep(folder: &Path, address: &str, token: &str) {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).unwrap();
    let file = folder.join(format!("{address}.token"));
    std::fs::write(&file, token).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn the_command_line_finds_it_and_it_goes_with_the_process() {
    let runtime = tempfile::tempdir().unwrap();
    let mut proxy = start(runtime.path(), "admin: { address: '0.0.0.0:0' }\n").await;
    let admin = proxy.admin();
    let file = runtime.path().join(format!("fyke/{admin}.token"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let ended = fyke(runtime.path(), &["reload", "--admin", &format!("127.0.0.1:{}", admin.port())]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    assert!(!file.exists());
}

#[tokio::test]
async fn the_next_process_has_it_from_the_one_before() {
    let runtime = tempfile::tempdir().unwrap();
    let mut proxy = start(runtime.path(), "state: state\nadmin: { address: '127.0.0.1:0' }\n").await;
    let admin = proxy.admin().to_string();
    let file = runtime.path().join(format!("fyke/{admin}.token"));
    let token = std::fs::read_to_string(&file).unwrap();
    assert_eq!(proxy.take_over(1).code().await, Some(0));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
    let ended = fyke(runtime.path(), &["reload", "--admin", &admin]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    assert!(!file.exists());
}

#[tokio::test]
async fn one_that_somebody_may_have_planted_keeps_the_process_from_starting() {
    let (folder, upstream) = (tempfile::tempdir().unwrap(), Upstream::says("x").await);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = folder.path().join("proxy.yaml");
    let yaml = format!("state: state\nadmin: {{ address: '{free}' }}\n{}", plain(upstream.address));
    std::fs::write(&config, yaml).unwrap();
    let run = |runtime: &Path| fyke(runtime, &["run", config.to_str().unwrap()]);
    let mode = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let name = format!("{free}.token");
    type Plant<'a> = &'a dyn Fn(&Path);
    let plants: [(&str, Plant<'_>); 4] = [
        ("mode 0666", &|folder| mode(&folder.join(&name), 0o666)),
        ("mode 0777", &|folder| mode(folder, 0o777)),
        ("it is a link", &|folder| {
            std::fs::rename(folder.join(&name), folder.join("planted")).unwrap();
            symlink("planted", folder.join(&name)).unwrap();
        }),
        ("it is not a folder", &|folder| {
            std::fs::rename(folder, folder.with_extension("planted")).unwrap();
            symlink("fyke.planted", folder).unwrap();
        }),
    ];
    for (why, plant) in plants {
        let runtime = tempfile::tempdir().unwrap();
        let kept = runtime.path().join("fyke");
        keep(&kept, &free.to_string(), "planted\n");
        plant(&kept);
        let ended = run(runtime.path());
        assert_eq!(ended.code, Some(2), "{why}: {}", ended.stderr);
        assert!(ended.stderr.contains(why) && ended.stderr.contains("remove it"), "{why}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn one_that_was_never_written_is_made_anew() {
    let (runtime, upstream) = (tempfile::tempdir().unwrap(), Upstream::says("x").await);
    let free = unclaimed().local_addr().unwrap().to_string();
    keep(&runtime.path().join("fyke"), &free, "");
    let yaml = format!("admin: {{ address: '{free}' }}\n{}", plain(upstream.address));
    let _proxy = Launch::new(yaml).env("XDG_RUNTIME_DIR", runtime.path()).start().await;
    let ended = fyke(runtime.path(), &["reload", "--admin", &free]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// A socket for whose address no process has left a token behind where those of services are, as one does that is killed.
fn unclaimed() -> TcpListener {
    let mut claimed = Vec::new();
    loop {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let names = ["127.0.0.1", "0.0.0.0", "[::]"].map(|host| format!("/run/fyke/{host}:{port}.token"));
        if !names.iter().any(|name| Path::new(name).exists()) {
            return socket;
        }
        // Held until another one is found.
        claimed.push(socket);
    }
}

/// Something that listens, and is no proxy. Returns where, and what it was asked.
fn listens(answers: &'static [u16]) -> (String, JoinHandle<Vec<String>>) {
    let socket = unclaimed();
    let address = socket.local_addr().unwrap().to_string();
    let asked = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for status in answers {
            // Another test may ask whether its upstream, which had this port before, is back: such a connection says nothing.
            let (mut stream, request) = std::iter::repeat_with(|| socket.accept().unwrap().0)
                .find_map(|mut stream| head(&mut stream).map(|request| (stream, request)))
                .unwrap();
            write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\n{{}}").unwrap();
            asked.push(request);
        }
        asked
    });
    (address, asked)
}

/// What a client of the admin endpoint asks, without its body.
fn head(stream: &mut TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        request.extend(byte);
    }
    let request = String::from_utf8(request).ok()?;
    request.contains(" /").then_some(request)
}

#[test]
fn nobody_is_given_it_without_need() {
    let runtime = tempfile::tempdir().unwrap();
    let ask = |command: &str, answers: &'static [u16], token: Option<&str>| {
        let (address, asked) = listens(answers);
        if let Some(token) = token {
            keep(&runtime.path().join("fyke"), &address, token);
        }
        let ended = fyke(runtime.path(), &[command, "--admin", &address]);
        (ended, asked)
    };
    let (ended, asked) = ask("status", &[200], Some("secret"));
    assert_eq!((ended.code, asked.join().unwrap()[0].contains("secret")), (Some(0), false));
    let (ended, asked) = ask("status", &[401, 200], Some("secret"));
    let asked = asked.join().unwrap();
    let seen: Vec<bool> = asked.iter().map(|request| request.contains("authorization: Bearer secret\r\n")).collect();
    assert_eq!((ended.code, seen), (Some(0), vec![false, true]), "{}", ended.stderr);
    let (ended, asked) = ask("reload", &[200], Some("secret"));
    assert_eq!((ended.code, asked.join().unwrap()[0].contains("Bearer secret")), (Some(0), true));
    // Those of other endpoints are not tried.
    let (ended, _) = ask("reload", &[200], None);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("--token-file"), "{}", ended.stderr);
    // Nor is one offered to another machine.
    keep(&runtime.path().join("fyke"), "192.0.2.1:9900", "secret");
    let ended = fyke(runtime.path(), &["reload", "--admin", "192.0.2.1:9900"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("needs the token of 192.0.2.1:9900; name its file with --token-file"),
        "{}",
        ended.stderr
    );
}

#[test]
fn one_that_was_left_behind_does_not_hide_the_right_one() {
    let runtime = tempfile::tempdir().unwrap();
    let (address, asked) = listens(&[403, 200]);
    keep(&runtime.path().join("fyke"), &address, "stale");
    let own = format!("fyke-{}/fyke", rustix::process::geteuid().as_raw());
    keep(&runtime.path().join(own), &address, "right");
    std::fs::set_permissions(runtime.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let ended = fyke(runtime.path(), &["reload", "--admin", &address]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(asked.join().unwrap()[1].contains("Bearer right"));
}

#[test]
fn nobody_who_answers_is_not_waited_for_long() {
    // A queue that is full lets nobody in, and turns nobody away.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let address = socket.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queue.push(stream);
        assert!(queue.len() < 1000, "the queue has no end");
    }
    let begun = Instant::now();
    let runtime = tempfile::tempdir().unwrap();
    let ended = fyke(runtime.path(), &["status", "--admin", &address.to_string()]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("nobody answers"), "{}", ended.stderr);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
