//! Operations that wait or fail on purpose, of clients that share connections.

use std::time::Duration;

use super::*;

const WHILE: Duration = Duration::from_millis(50);

fn faulty(fault: &str) -> TcpHost<Mongo> {
    let host = pool(&format!(r#"{{"pool": {{"cluster": "db"}}, "fault": {fault}}}"#));
    opened(&host, PRIMARY);
    opened(&host, SECONDARY);
    host
}

#[test]
fn an_operation_waits_before_it_borrows() {
    let host = faulty(r#"{"delay": {"duration": "50ms"}}"#);
    let (client, _) = host.connect();
    host.send(Downstream, client, &[find(1), find(2)].concat(), false);
    assert!(host.leases(client).is_empty());
    host.advance(WHILE);
    host.lend(client, PRIMARY);
    assert_eq!(host.take(Downstream, client), find(1));
    host.send(Upstream, client, &found(1, 0), false);
    assert_eq!(states(&host, client), [LeaseState::Released]);
    host.advance(WHILE);
    host.lend(client, PRIMARY);
    assert_eq!(host.take(Downstream, client), find(2));
    host.send(Upstream, client, &found(2, 0), false);
    assert_eq!(count("mongo_delays_injected_total{}"), 2);
    assert_eq!(count("mongo_operations_total{db=shop,cmd=find,collection=users}"), 2);
}

#[test]
fn an_operation_that_fails_borrows_nothing() {
    let host =
        faulty(r#"{"delay": {"duration": "50ms"}, "abort": {"code": 11600, "labels": ["RetryableWriteError"]}}"#);
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    host.advance(WHILE);
    assert_eq!(told(&host, client), (11600, vec!["RetryableWriteError".to_owned()]));
    assert!(host.leases(client).is_empty());
}

#[test]
fn a_client_that_leaves_while_its_operation_waits_borrows_nothing() {
    let host = faulty(r#"{"delay": {"duration": "50ms"}}"#);
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    host.close(Downstream, client);
    host.advance(WHILE);
    assert!(host.leases(client).is_empty());
    host.finish(client);
    assert_eq!(host.connections(), 0);
}
