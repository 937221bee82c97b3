//! Tests in all rings.

use fyke_sdk::testing::TcpTestHost;

use super::pipeline;
use crate::Redis;

#[test]
fn commands_are_counted_and_pass_as_they_are_in_whatever_pieces_they_come() {
    let said = pipeline(&["GET user:1", "get user:2", "HSET cart:9 a b"]);
    let replies = b"$1\r\n1\r\n$-1\r\n-WRONGTYPE no\r\n";
    for piece in [1, 7, 1000] {
        let mut host = TcpTestHost::<Redis>::configure(r#"{"prefix":{}}"#).unwrap();
        let connection = host.connect();
        for bytes in said.chunks(piece) {
            host.client_sends(&connection, bytes);
        }
        assert_eq!(host.upstream_got(&connection).bytes(), said, "{piece}");
        for bytes in replies.chunks(piece) {
            host.upstream_sends(&connection, bytes);
        }
        assert_eq!(host.client_got(&connection).bytes(), replies, "{piece}");
        host.close(connection);
        for (command, prefix, count) in [("get", "user", 2), ("hset", "cart", 1)] {
            let labels = [("command", command), ("prefix", prefix)];
            assert_eq!(host.counter("redis_commands_total", labels), count, "{command} {piece}");
        }
    }
}
