use std::{fs, path::Path};

use super::*;
use crate::telemetry::registry::Reading;

const PATIENCE: Duration = Duration::from_secs(10);

fn file(path: &Path) -> (Sinks, Registry) {
    let registry = Registry::new();
    let target = SinkTarget::File(path.to_owned());
    (Sinks::open([("log".to_owned(), target)], &registry).unwrap(), registry)
}

fn read(registry: &Registry, metric: &super::super::Metric, labels: &[(&str, &str)]) -> u64 {
    match registry.read(metric, labels) {
        Some(Reading::Counter(value)) => value,
        other => panic!("{other:?}"),
    }
}

fn dropped(registry: &Registry, reason: &str) -> u64 {
    read(registry, &names::SINK_DROPPED, &[("sink", "log"), ("reason", reason)])
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn records_are_written_in_order_with_a_newline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    fs::write(&path, "before\n").unwrap();
    let (sinks, registry) = file(&path);
    let handle = sinks.handle("log").unwrap();
    for record in ["one", "two", "three"] {
        handle.write(record.as_bytes());
    }
    assert_eq!(sinks.close(PATIENCE), Flush::Complete);
    assert_eq!(fs::read_to_string(&path).unwrap(), "before\none\ntwo\nthree\n");
    assert_eq!(read(&registry, &names::SINK_RECORDS, &[("sink", "log")]), 3);
    assert_eq!(read(&registry, &names::SINK_BYTES, &[("sink", "log")]), 14);
    handle.write(b"late");
    assert_eq!(dropped(&registry, "closed"), 1);
}

#[test]
fn records_arrive_without_anybody_asking() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (sinks, _) = file(&path);
    sinks.handle("log").unwrap().write(b"record of a handle that is gone");
    wait_until(|| fs::read_to_string(&path).is_ok_and(|text| text.ends_with("gone\n")));
    wait_until(|| lock(&sinks.by_name["log"].shared.queues).is_empty());
}

#[test]
fn a_handle_keeps_its_sink_open_and_the_last_one_flushes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (sinks, _) = file(&path);
    let handle = sinks.handle("log").unwrap();
    drop(sinks);
    handle.write(b"after its sinks");
    drop(handle);
    wait_until(|| fs::read_to_string(&path).is_ok_and(|text| text == "after its sinks\n"));
}

#[test]
fn a_moved_file_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (sinks, _) = file(&path);
    let handle = sinks.handle("log").unwrap();
    handle.write(b"old");
    wait_until(|| fs::read_to_string(&path).is_ok_and(|text| text == "old\n"));
    fs::rename(&path, folder.path().join("access.log.1")).unwrap();
    wait_until(|| path.exists());
    handle.write(b"new");
    assert_eq!(sinks.close(PATIENCE), Flush::Complete);
    assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
}

#[test]
fn a_file_is_opened_anew_at_once_when_somebody_asks() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let (sinks, registry) = file(&path);
    let handle = sinks.handle("log").unwrap();
    handle.write(b"old");
    fs::rename(&path, &moved).unwrap();
    let asked = Instant::now();
    sinks.reopen();
    wait_until(|| path.exists());
    assert!(asked.elapsed() < Duration::from_millis(900), "that was not at once: {:?}", asked.elapsed());
    // What was queued when somebody asked is in the old one.
    assert_eq!(fs::read_to_string(&moved).unwrap(), "old\n");
    handle.write(b"new");
    assert_eq!(sinks.close(PATIENCE), Flush::Complete);
    assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
    assert_eq!(read(&registry, &names::SINK_RECORDS, &[("sink", "log")]), 2);
}

#[test]
fn a_file_that_cannot_be_opened_anew_goes_on_in_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("logs");
    fs::create_dir(&inside).unwrap();
    let (sinks, _) = file(&inside.join("access.log"));
    let moved = folder.path().join("moved");
    fs::rename(&inside, &moved).unwrap();
    sinks.reopen();
    sinks.handle("log").unwrap().write(b"kept");
    assert_eq!(sinks.close(PATIENCE), Flush::Complete);
    assert_eq!(fs::read_to_string(moved.join("access.log")).unwrap(), "kept\n");
}

#[test]
fn a_full_sink_drops_and_counts_and_never_waits() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody reads the pipe: once its 64 KiB are full, its writer blocks.
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let (sinks, registry) = file(&path);
    let (one, two) = (sinks.handle("log").unwrap(), sinks.handle("log").unwrap());
    let record = vec![b'x'; 64 * 1024 - 1];
    let started = Instant::now();
    for _ in 0..200 {
        one.write(&record);
        two.write(&record);
    }
    assert!(started.elapsed() < PATIENCE);
    assert!(sinks.by_name["log"].shared.queued.load(Ordering::Relaxed) <= QUEUE_BYTES);
    // 128 records fit the queue; the pipe may have swallowed one more.
    assert!((270..=272).contains(&dropped(&registry, "full")), "{}", dropped(&registry, "full"));
    assert_eq!(sinks.close(Duration::from_millis(50)), Flush::TimedOut);
    drop(reader);
}

#[test]
fn a_sink_that_cannot_be_opened_is_named_with_its_path() {
    let target = SinkTarget::File("/nonexistent/access.log".into());
    let error = Sinks::open([("requests".to_owned(), target)], &Registry::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sink `requests`: cannot open /nonexistent/access.log for appending: No such file or directory (os error 2)"
    );
}

#[test]
fn failing_writes_are_counted() {
    let (sinks, registry) = file(Path::new("/dev/full"));
    sinks.handle("log").unwrap().write(b"lost");
    assert_eq!(sinks.close(PATIENCE), Flush::Complete);
    assert_eq!(dropped(&registry, "error"), 1);
    assert_eq!(read(&registry, &names::SINK_RECORDS, &[("sink", "log")]), 0);
}

#[test]
fn handles_of_many_threads_never_mix_within_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (sinks, registry) = file(&path);
    thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let handle = sinks.handle("log").unwrap();
            scope.spawn(move || (0..2_000).for_each(|_| handle.write(name.repeat(100).as_bytes())));
        }
    });
    assert_eq!(sinks.close(PATIENCE), Flush::Complete);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 6_000);
    assert!(text.lines().all(|line| line.len() == 100 && line.bytes().all(|byte| byte == line.as_bytes()[0])));
    assert_eq!(dropped(&registry, "full"), 0);
}
