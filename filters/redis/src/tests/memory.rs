//! What is remembered of many connections together.

use fyke_sdk::Side;

use super::{Guest, POOL, host, metric};

/// Commands of a worker, beyond which each connection has few.
const MANY: usize = 64 << 10;
const FEW: usize = 16;
const GET: &str = "get a\n";

#[test]
fn of_many_that_do_not_wait_for_replies_each_has_fewer_under_way() {
    let host = host("");
    let guests: Vec<Guest> = (0..100).map(|_| Guest::new(&host)).collect();
    let passed = |guest: &Guest| host.take(Side::Downstream, guest.id).len() / GET.len();
    let under_way: Vec<usize> = guests.iter().map(|guest| passed(guest.says(GET.repeat(1000)))).collect();
    let sum: usize = under_way.iter().sum();
    assert!((MANY..MANY + 1000 + FEW * guests.len()).contains(&sum), "{sum}");
    assert_eq!((under_way[0], under_way[99]), (1000, FEW));
    // One goes for each that comes back.
    let last = &guests[99];
    assert_eq!(passed(last.server_says("$-1\r\n$-1\r\n")), 2);
    // The others are done, and one leaves.
    for guest in &guests[..50] {
        guest.server_says("$-1\r\n".repeat(1000));
    }
    host.finish(guests[50].id);
    assert_eq!(passed(last.server_says("$-1\r\n")), 1000 - FEW - 2);
    for guest in &guests[51..] {
        for _ in 0..1000 {
            guest.server_says("$-1\r\n");
        }
    }
    assert_eq!(metric("redis_commands_total", &["get", ""]), 100_000);
    assert_eq!(metric("redis_reply_time_microseconds", &["get", "", "ok"]), 100_000 - 1000);
}

#[test]
fn of_many_that_wait_for_a_connection_each_has_fewer_commands_looked_at() {
    let host = host(POOL);
    let guests: Vec<Guest> = (0..600).map(|_| Guest::new(&host)).collect();
    guests.iter().for_each(|guest| {
        guest.says(GET.repeat(200));
    });
    let goes = |guest: &Guest, count: usize| {
        guest.lend();
        assert_eq!(guest.sent(), GET.repeat(count));
        guest.server_says("$-1\r\n".repeat(count));
    };
    goes(&guests[599], FEW);
    // While they wait, nobody leaves; then there is room again.
    guests.iter().take(20).for_each(|guest| host.finish(guest.id));
    goes(&guests[599], 128);
    goes(&guests[599], 200 - FEW - 128);
}

#[test]
fn of_commands_that_are_answered_here_little_is_kept_before_it_is_their_turn() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    let name = "n".repeat(200);
    guest.says("BLPOP a 0\r\n").says(format!("CLIENT SETNAME {name}\r\n").repeat(100)).says("CLIENT GETNAME\r\n");
    guest.lend().server_says("*-1\r\n");
    assert_eq!(guest.told(), format!("{}$200\r\n{name}\r\n", "+OK\r\n".repeat(100)));
}
