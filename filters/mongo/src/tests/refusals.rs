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
        ("limits: [{ name: '', limit: 1/s }]", "limits[0].name", "must not be empty"),
        (
            "fault: { delay: 1s, commands: [pinng] }",
            "fault.commands[0]",
            "there is no command \"pinng\"; did you mean \"ping\"?",
        ),
    ] {
        let error = TcpTestHost::<Mongo>::configure(configuration).err().unwrap_or_else(|| panic!("{configuration}"));
        assert_eq!(error.path(), path, "{configuration}: {error}");
        assert!(error.message().starts_with(message), "{configuration}: {error}");
    }
}
