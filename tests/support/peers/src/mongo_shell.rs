//! `mongosh.js`

use std::{
    process::{Command, Stdio},
    sync::mpsc,
};

use crate::script::{LONG, node_folder};

/// Has the shell of MongoDB run its script: what it printed. `None`: there is no shell.
///
/// # Panics
/// If it does not end, or not well.
#[must_use]
pub fn mongosh(uri: &str) -> Option<String> {
    let folder = node_folder()?;
    let home = std::env::temp_dir().join(format!("fyke-mongosh-{}", std::process::id()));
    std::fs::create_dir_all(&home).unwrap();
    let mut child = Command::new("node")
        .arg(folder.join("node_modules/mongosh/bin/mongosh.js"))
        .args([uri, "--quiet", "--norc", "--file"])
        .arg(folder.join("mongosh.js"))
        // It keeps a log and a history at home, and asks nobody for a newer version.
        .env("HOME", &home)
        .env("CI", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let id = rustix::process::Pid::from_child(&child);
    let (sender, ended) = mpsc::channel();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    std::thread::spawn(move || {
        let errors = std::thread::spawn(move || std::io::read_to_string(stderr));
        let printed = std::io::read_to_string(stdout).unwrap();
        let _ = sender.send((child.wait().unwrap(), printed, errors.join().unwrap().unwrap()));
    });
    let Ok((status, printed, errors)) = ended.recv_timeout(LONG) else {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        panic!("the shell does not end");
    };
    let _ = std::fs::remove_dir_all(&home);
    assert!(status.success(), "{status}: {printed}{errors}");
    Some(printed)
}
