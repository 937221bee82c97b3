//! Tests in all rings.

use bson::doc;

use super::*;

#[test]
fn an_operation_is_counted_and_passes_as_it_is_in_whatever_pieces_it_comes() {
    let find = command(1, &doc! { "find": "users", "filter": { "name": "alice" }, "$db": "shop" });
    let answer =
        reply(1, &doc! { "cursor": { "firstBatch": [{ "a": 1 }], "id": 0_i64, "ns": "shop.users" }, "ok": 1.0 });
    for piece in [1, 7, 16, 1000] {
        let mut host = host("{}");
        let connection = host.connect();
        for bytes in find.chunks(piece) {
            host.client_sends(&connection, bytes);
        }
        assert_eq!(host.upstream_got(&connection).bytes(), find, "{piece}");
        for bytes in answer.chunks(piece) {
            host.upstream_sends(&connection, bytes);
        }
        assert_eq!(host.client_got(&connection).bytes(), answer, "{piece}");
        host.close(connection);
        let labels = [
            ("mongo_prefix", "mongo"),
            ("mongo_db", "shop"),
            ("mongo_cmd", "find"),
            ("mongo_collection", "users"),
            ("mongo_callsite", ""),
            ("app", ""),
        ];
        assert_eq!(host.counter("mongo_operations_total", labels), 1, "{piece}");
    }
}

#[test]
fn what_is_denied_is_answered_here() {
    let mut host = host("{ rules: [{ action: deny, commands: [drop] }] }");
    let connection = host.connect();
    host.client_sends(&connection, command(1, &doc! { "drop": "users", "$db": "shop" }));
    assert!(host.upstream_got(&connection).bytes().is_empty());
    let told = host.client_got(&connection).bytes().to_vec();
    let document = bson::Document::from_reader(crate::wire::document(&told).unwrap()).unwrap();
    assert_eq!((document.get_f64("ok").unwrap(), document.get_i32("code").unwrap()), (0.0, 13), "{document}");
    host.close(connection);
}
