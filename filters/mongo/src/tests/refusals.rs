//! Mistakes in the configuration, each with its place and what to try.

use super::*;

#[test]
fn what_is_wrong_is_said_where_and_what_to_try() {
    for (configuration, path, message) in [
        ("stat_prefix: ''", "stat_prefix", "must be 1 to 64 bytes without spaces"),
        (
            "commands: [findAndModfy]",
            "commands[0]",
            "there is no command \"findAndModfy\"; did you mean \"findAndModify\"?",
        ),
        ("commands: [insert, find]", "commands[1]", "\"find\" is a query, and counted by collection"),
        ("commands: [nothing_like_it]", "commands[0]", "there is no command \"nothing_like_it\""),
        ("coments: []", "coments", "unknown field `coments`"),
        ("in_flight: 0", "in_flight", "must be at least 1"),
        ("labels: { series: 0 }", "labels.series", "must be at least 1"),
        ("slow: 5", "slow", "invalid type"),
        ("slow: fast", "slow", "expected a whole number and a unit"),
        ("log: { sink: nowhere }", "log.sink", "there is no sink \"nowhere\""),
        ("log: { statement: 1MiB }", "log.statement", "is 4KiB at most"),
        ("inspect: { document: 10B }", "inspect.document", "must be from 1KiB to 1MiB"),
        ("inspect: { inflated: 5MiB }", "inspect.inflated", "must be from 1KiB to 4MiB"),
        ("rules: [{ action: forbid }]", "rules[0].action", "unknown variant `forbid`"),
        (
            "rules: [{ action: deny, commands: [insrt] }]",
            "rules[0].commands[0]",
            "there is no command \"insrt\"; did you mean \"insert\"?",
        ),
        (
            "rules: [{ action: deny, databases: ['a*b'] }]",
            "rules[0].databases[0]",
            "\"a*b\" is neither a name nor the beginning of one",
        ),
        ("rules: [{ action: deny, collections: [''] }]", "rules[0].collections[0]", "\"\" is neither a name"),
        ("limits: [{ name: '', limit: 1/s }]", "limits[0].name", "must be 1 to 64 letters, digits"),
        (
            "limits: [{ name: a, limit: 1/s }, { name: a, limit: 2/s }]",
            "limits[1].name",
            "\"a\" is the name of another limit",
        ),
        ("limits: [{ name: a, limit: fast }]", "limits[0].limit", "expected a rate"),
        ("limits: [{ name: a, limit: { burst: 5 } }]", "limits[0].limit.burst", "belongs to a `rate`"),
        (
            "limits: [{ name: a, limit: { rate: 1/s, delay: 1s } }]",
            "limits[0].limit.delay",
            "operations that are beyond",
        ),
        ("limits: [{ name: a, limit: 1/s, by: [port] }]", "limits[0].by[0]", "unknown variant `port`"),
        (
            "limits: [{ name: a, limit: 1/s, match: { commands: [fnd] } }]",
            "limits[0].match.commands[0]",
            "there is no command \"fnd\"; did you mean \"find\"?",
        ),
        (
            "fault: { delay: { duration: 1s }, match: { commands: [pinng] } }",
            "fault.match.commands[0]",
            "there is no command \"pinng\"; did you mean \"ping\"?",
        ),
        ("fault: {}", "fault", "needs a `delay` or an `abort`"),
        ("fault: { delay: { duration: 0s } }", "fault.delay.duration", "must be above zero and at most 5 minutes"),
        ("fault: { delay: { duration: 6m } }", "fault.delay.duration", "must be above zero and at most 5 minutes"),
        ("fault: { abort: { code: 0 } }", "fault.abort.code", "must be above zero"),
        (
            "fault: { abort: { code: 6, labels: [RetryableError, Retry] } }",
            "fault.abort.labels[1]",
            "\"Retry\" is no label that drivers know: TransientTransactionError,",
        ),
    ] {
        let error = TcpTestHost::<Mongo>::configure(configuration).err().unwrap_or_else(|| panic!("{configuration}"));
        assert_eq!(error.path(), path, "{configuration}: {error}");
        assert!(error.message().starts_with(message), "{configuration}: {error}");
    }
}
