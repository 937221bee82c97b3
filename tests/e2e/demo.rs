//! `fyke demo`: what it promises is what happens.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use crate::support::process::{finish, fyke, run};

#[test]
fn it_prints_addresses_and_five_commands_and_ends_by_itself() {
    let ended = run(["demo", "--port", "0", "--duration", "2s"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for word in ["proxy ", "admin ", "services ", "http://127.0.0.1:"] {
        assert!(ended.stdout.contains(word), "{word:?} is missing in:\n{}", ended.stdout);
    }
    assert_eq!(commands(&ended.stdout).len(), 5, "{}", ended.stdout);
    assert!(!ended.stderr.contains("ERROR") && !ended.stderr.contains("panicked"), "{}", ended.stderr);
}

/// The numbered commands.
fn commands(text: &str) -> Vec<String> {
    let numbered = |line: &str| {
        let (number, command) = line.trim().split_once(". ")?;
        number.parse::<u8>().ok().map(|_| command.to_owned())
    };
    text.lines().filter_map(numbered).collect()
}

struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn shell(command: &str) -> String {
    let mut bash = Command::new("bash");
    // What follows a file for ever is given a moment.
    bash.args(["-c", &command.replace("tail -f", "timeout 3 tail -n +1 -f")]);
    let ended = finish(bash);
    assert!(
        matches!(ended.code, Some(0 | 124)),
        "{command:?} ended with {:?}: {}{}",
        ended.code,
        ended.stdout,
        ended.stderr
    );
    ended.stdout
}

#[test]
fn each_command_shows_what_is_said() {
    let child = Command::new(fyke())
        .args(["demo", "--port", "0"])
        .env_remove("FYKE_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut demo = Demo(child);
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("Ctrl-C") {
        assert!(lines.read_line(&mut text).unwrap() > 0, "the demo ended with:\n{text}");
    }
    let commands = commands(&text);
    let [users, slow, mixed, log, metrics] = commands.as_slice() else { panic!("not five commands in:\n{text}") };
    let users = shell(users);
    assert!(
        users.starts_with("HTTP/1.1 200") && users.contains("users got GET /42") && users.contains("x-request-id:"),
        "{users}"
    );
    assert!(shell(slow).starts_with("HTTP/1.1 504"));
    let mixed = shell(mixed);
    assert_eq!(
        mixed.lines().filter(|line| line.starts_with("shop got") || line.starts_with("users got")).count(),
        10,
        "{mixed}"
    );
    let log = shell(log);
    let record = log
        .lines()
        .find(|line| line.contains("\"slow\""))
        .unwrap_or_else(|| panic!("the slow request is not in the log:\n{log}"));
    let record: serde_json::Value = serde_json::from_str(record).unwrap();
    assert_eq!((record["status"].as_u64(), record["why"].as_str()), (Some(504), Some("upstream_timeout")));
    assert!(
        shell(metrics)
            .lines()
            .any(|line| line.contains("fyke_listener_requests_total{") && line.contains("class=\"5xx\""))
    );
    rustix::process::kill_process(rustix::process::Pid::from_child(&demo.0), rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(demo.0.wait().unwrap().code(), Some(0));
}
