//! What an author of filters does, from nothing to a filter that runs: `fyke filter new`, `test`, `dev`, and the size of what comes out.
//!
//! A program of its own, which cargo runs when no other test does: it builds projects with cargo.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]
#![forbid(unsafe_code)]

#[path = "support/process.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod process;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use process::{finish, fyke, root, scratch};

const DEADLINE: Duration = Duration::from_secs(120);

/// Builds take the whole machine: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `fyke filter ...` is, in a folder.
fn filter(folder: &Path) -> Command {
    let mut command = Command::new(fyke());
    // One target directory for all projects: the SDK is built once.
    command
        .arg("filter")
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", scratch().join("projects"))
        .env_remove("FYKE_LOG");
    command
}

fn begin(folder: &Path, name: &str, template: &str) -> PathBuf {
    let mut command = filter(folder);
    command.args(["new", name, "--template", template]);
    let ended = finish(command);
    assert_eq!(ended.code, Some(0), "{template}: {}", ended.stderr);
    assert!(ended.stdout.starts_with(&format!("{name} is a filter.")), "{}", ended.stdout);
    folder.join(name)
}

/// Builds a project, and says what `fyke filter check` says of the module.
fn built(project: &Path, name: &str) -> serde_json::Value {
    let target = scratch().join("projects");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--release", "--target", "wasm32-wasip1"]).current_dir(project);
    command.env("CARGO_TARGET_DIR", &target);
    let ended = finish(command);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let module = target.join("wasm32-wasip1/release").join(format!("{}.wasm", name.replace('-', "_")));
    let mut command = Command::new(fyke());
    command.args(["--output", "json", "filter", "check"]).arg(module);
    serde_json::from_str(&finish(command).stdout).unwrap()
}

#[test]
fn every_template_passes_its_tests_natively_and_in_the_engine() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    for template in ["header", "auth", "body", "tcp", "metrics"] {
        let project = begin(folder.path(), &format!("author-{template}"), template);
        let mut command = filter(&project);
        command.args(["test", "--wasm"]);
        let ended = finish(command);
        assert_eq!(ended.code, Some(0), "{template}: {}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.stdout.matches("test result: ok").count(), 2, "{template}: {}", ended.stdout);
        let mut command = Command::new(fyke());
        command.args(["validate", "proxy.yaml"]).current_dir(&project);
        let valid = finish(command);
        // Its module is below the project's own target directory, which is not where this test builds.
        assert!(valid.stderr.contains("target/wasm32-wasip1/release"), "{template}: {}", valid.stderr);
        assert_eq!(valid.stderr.matches("error:").count(), 1, "{template}: {}", valid.stderr);
    }
}

#[test]
fn the_guide_leads_where_it_says() {
    let _alone = alone();
    let guide = fs::read_to_string(root().join("sdk/docs/guide.md")).unwrap();
    let blocks: Vec<&str> =
        guide.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix('\n')).collect();
    let [filter_source, tests] = blocks[..] else { panic!("the guide has {} blocks of Rust", blocks.len()) };
    let folder = tempfile::tempdir().unwrap();
    let project = begin(folder.path(), "redact", "body");
    fs::write(project.join("src/lib.rs"), format!("{filter_source}\n{tests}")).unwrap();
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    fs::write(project.join("Cargo.toml"), manifest.replace("\nserde = ", "\nserde_json = \"1\"\nserde = ")).unwrap();
    let mut command = filter(&project);
    command.args(["test", "--wasm"]);
    let ended = finish(command);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.stdout.matches("2 passed").count(), 2, "{}", ended.stdout);
    // Its proxy, with what step 5 expects of it.
    let (_, expectations) = guide.split_once("```yaml\n").unwrap();
    let (expectations, _) = expectations.split_once("```").unwrap();
    let module = scratch().join("projects/wasm32-wasip1/release/redact.wasm");
    let proxy = fs::read_to_string(project.join("proxy.yaml")).unwrap();
    let proxy = proxy.replace("{ word: darn }", "{ fields: [password] }");
    let proxy = proxy.replace("target/wasm32-wasip1/release/redact.wasm", module.to_str().unwrap());
    fs::write(project.join("proxy.yaml"), format!("{proxy}{expectations}")).unwrap();
    let mut command = Command::new(fyke());
    command.args(["test", "proxy.yaml"]).current_dir(&project);
    let ended = finish(command);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("1 passed"), "{}", ended.stdout);
}

#[test]
fn names_that_cannot_be_are_refused() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("there")).unwrap();
    for (name, words) in [("Bad", "cannot be a filter's name"), ("there", "is there already")] {
        let mut command = filter(folder.path());
        command.args(["new", name]);
        let ended = finish(command);
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    let mut command = filter(folder.path());
    command.arg("test");
    let ended = finish(command);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("has no Cargo.toml"), "{}", ended.stderr);
}

#[test]
fn hello_is_short_and_small_and_a_typed_configuration_costs_little() {
    let _alone = alone();
    let source = root().join("tests/guests/hello/src/lib.rs");
    let hello = fs::read_to_string(source).unwrap();
    assert!(hello.lines().filter(|line| !line.trim().is_empty()).count() <= 14);
    let folder = tempfile::tempdir().unwrap();
    let project = begin(folder.path(), "author-hello", "header");
    let typed = built(&project, "author-hello");
    fs::write(project.join("src/lib.rs"), hello).unwrap();
    let plain = built(&project, "author-hello");
    let exports = |facts: &serde_json::Value| facts["exports"].as_array().unwrap().len();
    println!("hello: {} bytes, {} exports; typed: {} bytes", plain["bytes"], exports(&plain), typed["bytes"]);
    assert!(plain["bytes"].as_u64().unwrap() <= 80_000, "{plain}");
    assert!(exports(&plain) <= 9, "{plain}");
    assert!(typed["bytes"].as_u64().unwrap() <= 150_000, "{typed}");
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    ask(address, "GET / HTTP/1.1\r\n", "")
}

fn ask(address: SocketAddr, head: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    write!(stream, "{head}host: localhost\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Until it is so; what is tried meanwhile is up to `look`.
fn until(what: &str, mut look: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !look() {
        assert!(began.elapsed() < DEADLINE, "{what} never came");
        thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

/// `dev` of a project, with its output in `dev.log`, and where its proxy listens: for clients, and its admin endpoint.
fn develop(project: &Path) -> (Running, SocketAddr, SocketAddr) {
    let (listener, app, admin) = (free(), free(), free());
    let proxy = fs::read_to_string(project.join("proxy.yaml")).unwrap();
    let proxy = proxy.replace("127.0.0.1:8080", &listener.to_string()).replace("127.0.0.1:3000", &app.to_string());
    let proxy = proxy.lines().filter(|line| !line.starts_with("admin:")).collect::<Vec<_>>().join("\n");
    fs::write(project.join("proxy.yaml"), format!("admin: {{ address: '{admin}' }}\n{proxy}\n")).unwrap();
    let log = fs::File::create(project.join("dev.log")).unwrap();
    let mut command = filter(project);
    command.arg("dev").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    (Running(command.spawn().unwrap()), listener, admin)
}

#[test]
fn dev_shows_what_became_of_bodies_and_metrics() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let project = begin(folder.path(), "author-bodies", "body");
    let (dev, listener, admin) = develop(&project);
    until("the first answer", || get(listener).is_ok());
    let answer = ask(listener, "POST / HTTP/1.1\r\ncontent-type: text/plain\r\n", "a darn day").unwrap();
    assert!(answer.ends_with("a *** day"), "{answer}");
    let said = || fs::read_to_string(project.join("dev.log")).unwrap();
    until("the report", || said().contains("  author-bodies: response   body changed, -1 B"));
    assert!(said().contains(" 10 B in, 9 B out"), "{}", said());
    assert!(said().contains(&format!("admin endpoint and dashboard on {admin}")), "{}", said());
    let metrics = ask(admin, "GET /metrics HTTP/1.1\r\n", "").unwrap();
    assert!(metrics.contains("fyke_listener_requests_total"), "{metrics}");
    drop(dev);
}

#[test]
fn a_changed_filter_is_live_in_dev_and_no_request_is_lost() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let project = begin(folder.path(), "author-dev", "header");
    let (dev, listener, _) = develop(&project);
    until("the first answer", || get(listener).is_ok_and(|answer| answer.contains("x-signed-by: me")));
    let source = fs::read_to_string(project.join("src/lib.rs")).unwrap();
    fs::write(project.join("src/lib.rs"), source.replacen("\"x-signed-by\", &", "\"x-changed\", &", 1)).unwrap();
    let took = until("the changed filter", || get(listener).unwrap().contains("x-changed: me"));
    println!("live after {:.1} s", took.as_secs_f64());
    // What does not build leaves the old filter.
    fs::write(project.join("src/lib.rs"), "nonsense").unwrap();
    let said = || fs::read_to_string(project.join("dev.log")).unwrap();
    until("the refusal", || {
        assert!(get(listener).unwrap().contains("x-changed: me"));
        said().contains("not swapped; what ran before still does")
    });
    drop(dev);
    let said = said();
    for words in [
        "an echo does now",
        "GET / 200 in ",
        "  author-dev: request + x-came-from: 127.0.0.1:",
        "  author-dev: response + x-signed-by: me",
    ] {
        assert!(said.contains(words), "{words:?} is missing in:\n{said}");
    }
}

#[test]
fn envoy_is_told_what_it_needs() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let envoy_config = |name: &str, template: &str, configuration: &str, more: &[&str]| {
        let project = begin(folder.path(), name, template);
        let facts = built(&project, name);
        fs::write(project.join("config.yaml"), configuration).unwrap();
        let mut command = filter(&project);
        command.arg("envoy-config").arg(facts["module"].as_str().unwrap()).args(["--config", "config.yaml"]).args(more);
        finish(command)
    };
    let metrics = envoy_config("envoy-metrics", "metrics", "paths: [/api]\n", &[]);
    assert_eq!(metrics.code, Some(0), "{}", metrics.stderr);
    for words in ["name: \"envoy.filters.http.wasm\"", "tag_name: \"part\"", "tag_name: \"status\"", "/api"] {
        assert!(metrics.stdout.contains(words), "{words:?} is missing in:\n{}", metrics.stdout);
    }
    let auth = envoy_config("envoy-auth", "auth", "cluster: authority\n", &["--cluster", "authority=127.0.0.1:9000"]);
    assert_eq!(auth.code, Some(0), "{}", auth.stderr);
    assert!(auth.stdout.contains("port_value: 9000"), "{}", auth.stdout);
    let tcp = envoy_config("envoy-tcp", "tcp", "greeting: hello\n", &[]);
    assert!(tcp.stdout.contains("name: \"envoy.filters.network.wasm\""), "{}{}", tcp.stdout, tcp.stderr);
    let body = envoy_config("envoy-body", "body", "word: darn\n", &[]);
    assert!(body.stdout.contains("allow_on_headers_stop_iteration: true"), "{}{}", body.stdout, body.stderr);
    let refused = envoy_config("envoy-refused", "auth", "cluster: authority\n", &[]);
    assert_eq!(refused.code, Some(2));
    for words in ["there is no cluster \"authority\"", "--cluster authz=127.0.0.1:9000"] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    let project = folder.path().join("envoy-auth");
    let facts = built(&project, "envoy-auth");
    let mut command = filter(&project);
    command.arg("envoy-config").arg(facts["module"].as_str().unwrap()).args(["--proxy", "proxy.yaml"]);
    let from_proxy = finish(command);
    assert!(from_proxy.stdout.contains("port_value: 3001"), "{}{}", from_proxy.stdout, from_proxy.stderr);
}
