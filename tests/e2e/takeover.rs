//! Another process takes the listening sockets over, and no client is turned away.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    Conn, Launch, Proxy, Upstream,
    load::{Load, Turn},
    process::run,
};

/// Clients that connect for every request, and clients that stay for as long as they are let.
fn load(proxy: &Proxy) -> Load {
    let address = proxy.web();
    let mut load = Load::default();
    for kind in 0..4 {
        load.client(async move |turn: Turn| {
            while turn.goes_on() {
                let mut conn = Conn::to(address).await;
                loop {
                    let answer = conn.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
                    assert_eq!((answer.status(), answer.body.as_slice()), (200, &b"hi"[..]));
                    turn.answered();
                    let told_to_go =
                        answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                    if kind % 2 == 0 || told_to_go || !turn.goes_on() {
                        break;
                    }
                }
            }
        });
    }
    load
}

/// `FYKE_LONG=1`: a hundred processes; else five.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_after_the_other_and_no_request_fails() {
    let count = if std::env::var_os("FYKE_LONG").is_some() { 100 } else { 5 };
    let upstream = Upstream::says("hi").await;
    let yaml = format!("state: state\n{}", crate::support::proxy::plain(upstream.address));
    let mut proxy = Launch::new(yaml).workers(2).start().await;
    let (web, admin) = (proxy.web(), proxy.admin());
    let load = load(&proxy);
    for number in 0..count {
        // The sockets of all workers go on, whether there are fewer workers or more.
        let old = proxy.take_over([1, 3, 2][number % 3]);
        assert_eq!(old.code().await, Some(0));
        assert_eq!(proxy.admin(), admin);
    }
    let answers = load.end().await;
    println!("{count} processes, {answers} answers");
    assert_eq!(proxy.page("/status").await["listeners"]["web"], web.to_string());
    assert_eq!(proxy.page("/status").await["pid"], proxy.pid());
}

#[tokio::test]
async fn a_process_that_cannot_start_leaves_the_old_one_alone() {
    let upstream = Upstream::says("hi").await;
    let yaml = format!("state: state\n{}", crate::support::proxy::plain(upstream.address));
    let mut proxy = Launch::new(yaml.clone()).start().await;
    proxy.rewrite(&yaml.replace("cluster: app", "cluster: gone"));
    let file = proxy.path("proxy.yaml");
    let ended = run(["run", "--take-over", &file.display().to_string()]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert_eq!(proxy.get("/").await.status(), 200);
    // And the next one can.
    proxy.rewrite(&yaml);
    assert_eq!(proxy.take_over(1).code().await, Some(0));
    assert_eq!(proxy.get("/").await.status(), 200);
}

/// Whatever goes wrong with a successor, and whenever: the old process is asked where it always was, and its clients do not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_take_over_that_fails_takes_neither_the_admin_socket_nor_a_client() {
    let upstream = Upstream::says("hi").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = |more: &str| {
        format!(
            "state: state\nadmin: {{ address: 'unix:admin.sock' }}\nlisteners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app \
             }}\n{more}filters:\n  f: {}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
            crate::chain::misbehave("a b", ""),
            upstream.address
        )
    };
    let mut proxy = Launch::new(yaml("")).workers(2).start().await;
    let load = load(&proxy);
    let other = format!("  other: {{ address: '{}', cluster: app }}\n", taken.local_addr().unwrap());
    let failures = [
        // Before it has been given anything.
        (yaml("").replace("cluster: app", "cluster: ap"), "did you mean"),
        (yaml("").replace("a b", "refuse x"), "configur"),
        // When it has the sockets already, those of listeners and that of the admin endpoint.
        (yaml(&other), "cannot listen"),
        (yaml(&other).replace("admin.sock", "missing/admin.sock"), "admin endpoint cannot listen"),
    ];
    for (broken, why) in failures {
        // It would have more workers, and so more sockets at the same address.
        proxy.rewrite(&format!("workers: 4\n{broken}"));
        let file = proxy.path("proxy.yaml").display().to_string();
        let ended = tokio::task::spawn_blocking(move || run(["run", "--take-over", &file])).await.unwrap();
        assert!(ended.code == Some(2) && ended.stderr.contains(why), "{why}: {ended:?}");
        still_the_same(&proxy).await;
    }
    // One that dies, and one that talks nonsense, when they have been given everything.
    for says in [&b""[..], b"x"] {
        let mut stream = tokio::net::UnixStream::connect(proxy.path("state/upgrade.sock")).await.unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).await.unwrap();
        stream.write_all(says).await.unwrap();
        drop(stream);
        still_the_same(&proxy).await;
    }
    proxy.logged(&["a process that was to take over has not"]).await;
    // And one that is as it should be.
    proxy.rewrite(&yaml(""));
    let old = proxy.take_over(3);
    assert_eq!(old.code().await, Some(0));
    still_the_same(&proxy).await;
    println!("{} answers", load.end().await);
}

/// It answers at its socket, changes what it is told to, and serves.
async fn still_the_same(proxy: &Proxy) {
    assert_eq!(proxy.page("/status").await["pid"], proxy.pid());
    let ended = proxy.command(&["status"]);
    assert!(ended.code == Some(0) && ended.stdout.starts_with("generation 1,"), "{ended:?}");
    assert_eq!(proxy.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_service_managers_sockets_are_used() {
    let upstream = Upstream::says("hi").await;
    let folder = tempfile::tempdir().unwrap();
    let manager = tokio::net::UnixDatagram::bind(folder.path().join("notify")).unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let file = folder.path().join("proxy.yaml");
    let yaml = format!(
        "workers: 2\nlisteners:\n  web: {{ address: '{address}', cluster: app }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    );
    std::fs::write(&file, yaml).unwrap();
    // A shell puts the socket where a service manager does, and says whose it is.
    let mut child = {
        use std::os::fd::AsFd as _;
        std::process::Command::new("sh")
            .args(["-c", "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run \"$1\""])
            .arg(crate::support::process::fyke())
            .arg(&file)
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .stdin(std::process::Stdio::from(socket.as_fd().try_clone_to_owned().unwrap()))
            .spawn()
            .unwrap()
    };
    drop(socket);
    let mut said = [0; 256];
    let length = crate::support::soon("readiness", manager.recv(&mut said)).await.unwrap();
    let said_ready = String::from_utf8_lossy(&said[..length]).into_owned();
    let answer = crate::support::proxy::get(address, "/", "").await;
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let length = crate::support::soon("its end", manager.recv(&mut said)).await.unwrap();
    let said_stopping = String::from_utf8_lossy(&said[..length]).into_owned();
    let code = child.wait().unwrap().code();
    assert_eq!((answer.status(), code), (200, Some(0)));
    assert!(said_ready.contains("READY=1") && said_stopping.contains("STOPPING=1"), "{said_ready} {said_stopping}");
}
