//! The disk below `state` is full, read-only, or not as it should be: that costs time at the next start, and no traffic.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use sha2::{Digest as _, Sha256};

use crate::{
    guests,
    support::{Launch, Message, Proxy, Reply, Upstream},
};

fn yaml(state: &Path, app: &Upstream, filter: &str) -> String {
    format!(
        "state: {state:?}\nlisteners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }}\nfilters:\n  f: {{ {filter} }}\nclusters:\n  \
         app: {{ endpoints: ['{}'] }}\n",
        app.address
    )
}

fn module(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn is_there(answer: &Message) -> bool {
    assert_eq!(answer.status(), 200);
    answer.header("x-guest-response") == Some("seen")
}

/// A web server with a module, and how a configuration names it.
async fn served() -> (Upstream, String) {
    let bytes = module(guests::HEADER_FYKE);
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let server = Upstream::http(move |_| Reply::ok(bytes.clone())).await;
    let source = format!("module: 'http://{}/f.wasm', sha256: {digest}", server.address);
    (server, source)
}

/// Starts, reloads to another module, fetches one from a web server, goes back.
async fn goes_on(state: &Path) -> Proxy {
    let app = Upstream::says("hi").await;
    let (_server, source) = served().await;
    let file = module(guests::HEADER_FYKE);
    let mut proxy = Launch::new(yaml(state, &app, "module: f.wasm")).file("f.wasm", file).start().await;
    assert!(is_there(&proxy.get("/").await));
    std::fs::copy(guests::MISBEHAVE, proxy.path("f.wasm")).unwrap();
    assert_eq!(proxy.reload(&yaml(state, &app, "module: f.wasm, environment: { A: b }")).await, 2);
    assert!(!is_there(&proxy.get("/").await));
    assert_eq!(proxy.reload(&yaml(state, &app, &source)).await, 3);
    assert!(is_there(&proxy.get("/").await));
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    assert!(!is_there(&proxy.get("/").await));
    proxy
}

// The proxy asks the web server while the test waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_in_the_place_of_directories_are_told_of_and_nothing_else() {
    let state = tempfile::tempdir().unwrap();
    for name in ["modules", "downloads", "last-good"] {
        std::fs::write(state.path().join(name), "not a directory").unwrap();
    }
    let proxy = goes_on(state.path()).await;
    proxy.logged(&["WARN", "compiled modules are not kept", "modules"]).await;
    proxy.logged(&["WARN", "cannot keep a file in the cache of modules", "downloads"]).await;
    proxy.logged(&["WARN", "the configuration that runs cannot be kept"]).await;
    assert_eq!(std::fs::read(state.path().join("modules")).unwrap(), b"not a directory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_the_place_of_the_whole_state_is_none_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::write(&state, "not a directory").unwrap();
    let proxy = goes_on(&state).await;
    proxy.logged(&["WARN", "compiled modules are not kept"]).await;
    proxy.logged(&["WARN", "no process can take over from this one"]).await;
}

/// A file system in memory with little room, until it is dropped.
struct Small(tempfile::TempDir);

impl Small {
    /// `None`: only root may, and not everywhere.
    fn mounted(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], folder.path()).then_some(Self(folder))
    }

    fn read_only(&self) {
        assert!(mount(&["-o", "remount,ro"], self.0.path()));
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn mount(arguments: &[&str], folder: &Path) -> bool {
    let mut command = Command::new("mount");
    command.args(arguments).arg(folder).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_is_told_of_and_nothing_half_written_stays() {
    let Some(small) = Small::mounted("64k") else {
        println!("skipped: this user cannot mount a small file system");
        return;
    };
    let proxy = goes_on(small.0.path()).await;
    proxy.logged(&["WARN", "cannot keep a compiled module", "No space left"]).await;
    proxy.logged(&["WARN", "cannot keep a file in the cache of modules", "No space left"]).await;
    for folder in ["modules", "downloads", "last-good"] {
        let entries = std::fs::read_dir(small.0.path().join(folder)).into_iter().flatten();
        let temporary: Vec<_> = entries
            .map(|one| one.unwrap().file_name())
            .filter(|name| name.to_string_lossy().ends_with("tmp"))
            .collect();
        assert!(temporary.is_empty(), "{folder}: {temporary:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_becomes_read_only_is_told_of() {
    let Some(small) = Small::mounted("64m") else {
        println!("skipped: this user cannot mount a small file system");
        return;
    };
    drop(goes_on(small.0.path()).await);
    small.read_only();
    // What is kept there is still read, and what is new is not kept.
    let proxy = goes_on(small.0.path()).await;
    proxy.logged(&["WARN", "the configuration that runs cannot be kept", "Read-only"]).await;
}
