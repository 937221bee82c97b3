//! Hostcalls that belong to the plugin rather than to a stream: log, time, ticks, contexts, configuration.

use crate::{
    journal,
    stage::{Stage, VERSIONS},
    table::Table,
};

pub fn rows(table: &mut Table) {
    table.group("Log, time, contexts, configuration");
    table.row("H1", "`proxy_log` at every level, in the proxy's log at that level", || async {
        let stage = Stage::http(
            "configure: log 0 \"say trace\"\nconfigure: log 1 \"say debug\"\nconfigure: log 2 \"say info\"\nconfigure: log 3 \"say warn\"\n\
             configure: log 4 \"say error\"\nconfigure: log 5 \"say critical\"",
        )
        .start()
        .await;
        for version in VERSIONS {
            for (text, level) in [("debug", "DEBUG"), ("info", "INFO"), ("warn", "WARN"), ("error", "ERROR"), ("critical", "ERROR")] {
                let words = [&*format!("\"say {text}\""), &*format!("\"{level}\""), &*format!("\"{}\"", version.listener)];
                stage.proxy.logged(&words).await;
            }
            assert!(!stage.proxy.has_logged(&["say trace"]), "below the level that was asked for");
            let journal = stage.journal(version.listener);
            journal::check(version, &journal, &["configure> log = 0"; 6]);
        }
    });
    table
        .row("H1.level", "`proxy_log` with a level that there is not: a line at INFO", || async {
            let stage =
                Stage::http("request_headers: log 6 \"say six\"\nrequest_headers: log -1 \"say minus\"").start().await;
            for version in VERSIONS {
                stage.request(version).await.unwrap();
                journal::check(version, &stage.ended(version).await, &["request_headers> log = 0"; 2]);
                for text in ["\"say six\"", "\"say minus\""] {
                    stage.proxy.logged(&[text, "\"INFO\"", &format!("{:?}", version.listener)]).await;
                }
            }
        })
        .note("the specification's BAD_ARGUMENT would make guests of the official SDK panic");
    table.http(
        "H2",
        "`proxy_get_log_level`: the level below which nothing is written",
        "request_headers: get_log_level &4",
        &["request_headers> get_log_level = 0 1"],
    );
    table.row("H3", "`proxy_get_current_time_nanoseconds` since 1970", || async {
        let stage = Stage::http("request_headers: get_current_time_nanoseconds &8").start().await;
        for version in VERSIONS {
            let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
            let before = now();
            stage.request(version).await.unwrap();
            let journal = stage.ended(version).await;
            let said =
                journal.iter().find_map(|line| line.strip_prefix("request_headers> get_current_time_nanoseconds = 0 "));
            let said: u128 = said.unwrap().parse().unwrap();
            // The proxy may read its clock once for several calls.
            assert!(said + 1_000_000_000 > before && said <= now(), "{said} is not about {before}");
        }
    });
    table.http(
        "H4",
        "`proxy_set_tick_period_milliseconds`, from a stream too",
        "request_headers: set_tick_period_milliseconds 3600000",
        &["request_headers> set_tick_period_milliseconds = 0"],
    );
    effective(table);
    table
        .http(
            "H6",
            "`proxy_done` for a context that does not wait for it",
            "request_headers: done",
            &["request_headers> done = 0"],
        )
        .note("the specification's NOT_FOUND would make guests of the official SDK panic");
    table.row(
        "H6.pending",
        "`proxy_on_done` of a plugin returns false: its context lives until `proxy_done`, then log and delete",
        || async {
            let mut stage =
                Stage::http("done: set_tick_period_milliseconds 20\ndone: return 0\ntick@3: done").start().await;
            stage.proxy.signal(rustix::process::Signal::TERM);
            assert_eq!(stage.proxy.ended().await, Some(0));
            for version in VERSIONS {
                let journal = stage.said(version.listener, "delete 1").await;
                journal::check(
                    version,
                    &journal,
                    &["done 1", "tick 1", "tick 1", "tick 1", "tick> done = 0", "delete 1", "once delete 1"],
                );
            }
        },
    );
    table.http(
        "H40",
        "`proxy_get_configuration` (0.1.0): the configuration that belongs to the callback",
        "configure: get_configuration &b\nvm_start: get_configuration &b\nrequest_headers: get_configuration &b",
        &[
            "vm_start> get_configuration = 0 null:0",
            "configure> get_configuration = 0 \"the configuration\"",
            "request_headers> get_configuration = 0 null:0",
        ],
    );
    table.row("B6", "buffers 6 and 7: the configuration of the VM and of the plugin, clipped and from any start", || async {
        let stage = Stage::http(
            "configure: get_buffer_bytes 7 4 6 &b\nconfigure: get_buffer_bytes 7 4 0xffffffff &b\nconfigure: get_buffer_bytes 7 17 1 &b\n\
             configure: get_buffer_status 7 &4 &4\nconfigure: get_buffer_bytes 6 0 10 &b\nconfigure: set_buffer_bytes 7 0 100 \"other\"\n\
             configure: get_buffer_bytes 7 0 100 &b",
        )
        .start()
        .await;
        for version in VERSIONS {
            let expected = [
                "configure> get_buffer_bytes = 0 \"config\"",
                "configure> get_buffer_bytes = 0 \"configuration\"",
                "configure> get_buffer_bytes = 0 null:0",
                "configure> get_buffer_status = 0 17 0",
                "configure> get_buffer_bytes = 0 null:0",
                "configure> set_buffer_bytes = 0",
                "configure> get_buffer_bytes = 0 \"the configuration\"",
            ];
            journal::check(version, &stage.journal(version.listener), &expected);
        }
    });
}

fn effective(table: &mut Table) {
    table.row("H5", "`proxy_set_effective_context`: the hostcalls after it mean another context, until the callback ends", || async {
        // The first stream is held; the plugin's tick reaches into it.
        let stage = Stage::http(
            "request_headers: set_tick_period_milliseconds 20\nrequest_headers: set_effective_context 1\nrequest_headers: set_effective_context $ctx\n\
             request_headers: return 1\n\
             tick@1: get_header_map_value 0 \"x-a\" &b\ntick@1: set_effective_context 2\ntick@1: get_header_map_value 0 \"x-a\" &b\n\
             tick@1: continue_stream 0\ntick@2: get_header_map_value 0 \"x-a\" &b\ntick@2: set_tick_period_milliseconds 0",
        )
        .start()
        .await;
        for version in VERSIONS {
            stage.request(version).await.unwrap();
            stage.ended(version).await;
            let journal = stage.said(version.listener, "tick> set_tick_period_milliseconds = 0").await;
            let expected = [
                "request_headers> set_effective_context = 0",
                "request_headers> set_effective_context = 0",
                "@old tick> get_header_map_value = 0 null:0",
                "@new tick> get_header_map_value = 1 untouched",
                "tick> set_effective_context = 0",
                "tick> get_header_map_value = 0 \"1\"",
                "tick> continue_stream = 0",
                "@old tick> get_header_map_value = 0 null:0",
                "@new tick> get_header_map_value = 1 untouched",
            ];
            journal::check(version, &journal, &expected);
        }
    });
    table.http(
        "H5.unknown",
        "`proxy_set_effective_context` with a context that there is not: BAD_ARGUMENT, and nothing changes",
        "request_headers: set_effective_context 4711\nrequest_headers: set_effective_context 0\nrequest_headers: get_header_map_value 0 \"x-a\" &b",
        &[
            "request_headers> set_effective_context = 2",
            "request_headers> set_effective_context = 2",
            "request_headers> get_header_map_value = 0 \"1\"",
        ],
    );
}
