use fyke_sdk::testing::TcpHost;

use crate::Redis;

#[test]
fn what_cannot_be_is_refused_at_its_place() {
    for (configuration, path) in [
        (r#"{"in_flight":0}"#, "in_flight"),
        (r#"{"prefix":{"delimiter":""}}"#, "prefix.delimiter"),
        (r#"{"prefix":{"depth":9}}"#, "prefix.depth"),
        (r#"{"prefix":{"maximum_length":0}}"#, "prefix.maximum_length"),
        (r#"{"pool":{"cluster":""}}"#, "pool.cluster"),
        (r#"{"pool":{"cluster":"a","user":"b"}}"#, "pool.password"),
        (r#"{"pool":{"cluster":"a","database":16}}"#, "pool.database"),
        (r#"{"pool":{"cluster":"a","batch":0}}"#, "pool.batch"),
        (r#"{"pool":{"cluster":"a","clients":{"password":""}}}"#, "pool.clients.password"),
        (r#"{"pool":{"cluster":"a","server_version":"a b"}}"#, "pool.server_version"),
    ] {
        let error = TcpHost::<Redis>::configure(configuration).err().unwrap();
        assert_eq!(error.path(), path, "{configuration}: {}", error.message());
    }
    assert!(TcpHost::<Redis>::configure(r#"{"pol":{}}"#).is_err());
    for configuration in ["", r#"{"prefix":{}}"#, r#"{"pool":{"cluster":"a","password":"b","queue_timeout":"1s"}}"#] {
        assert!(TcpHost::<Redis>::configure(configuration).is_ok(), "{configuration}");
    }
}
