//! The rules of the house (PROXY-WASM.md, 0): ids, order, sharing, limits.

use std::collections::BTreeSet;

use crate::{
    journal,
    stage::{LATEST, REQUEST, Stage, VERSIONS, shared_vm},
    support::{Conn, Launch, Upstream},
    table::Table,
};

pub fn rows(table: &mut Table) {
    table.group("Rules of the house");
    table.http(
        "R3",
        "the whole order of an HTTP stream",
        "",
        &[
            "context_create 1 0",
            "vm_start 1 0",
            "configure 1 17",
            "context_create 2 1",
            "request_headers 2 **",
            "request_body 2 5 *",
            "request_trailers 2 1",
            "response_headers 2 **",
            "response_body 2 5 *",
            "response_trailers 2 1",
            "log 2",
            "done 2",
            "delete 2",
        ],
    )
    .note("log, done, delete, as Envoy has it and filters in the wild expect it; the specification says done, log, delete");
    table.row("R3.ids", "context ids are never used twice in an instance", || async {
        let stage = Stage::http("").start().await;
        for version in VERSIONS {
            let mut conn = Conn::to(stage.proxy.listener(version.listener)).await;
            for _ in 0..20 {
                conn.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            }
            let journal = stage.said(version.listener, "delete 21").await;
            let created: Vec<_> = journal.iter().filter(|line| line.starts_with("context_create ")).collect();
            let distinct: BTreeSet<_> = created.iter().collect();
            assert_eq!((created.len(), distinct.len()), (21, 21), "{journal:?}");
        }
    });
    table.row(
        "R3.end",
        "at the end of the process a plugin's context gets done and delete, after its streams",
        || async {
            let mut stage = Stage::http("").start().await;
            for version in VERSIONS {
                stage.request(version).await.unwrap();
            }
            stage.proxy.signal(rustix::process::Signal::TERM);
            assert_eq!(stage.proxy.ended().await, Some(0));
            for version in VERSIONS {
                let journal = stage.said(version.listener, "delete 1").await;
                journal::check(version, &journal, &["delete 2", "done 1", "delete 1", "once done 1", "once delete 1"]);
                assert_eq!(journal.last().map(String::as_str), Some("delete 1"), "{journal:?}");
            }
        },
    );
    table.row(
        "R7",
        "a trap costs the instance, which is never entered again: no log, done or delete for its streams",
        || async {
            let stage = Stage::http("request_headers: trap").start().await;
            for version in VERSIONS {
                assert_eq!(stage.request(version).await.unwrap().status(), 503);
                stage.proxy.metric_reaches("fyke_filter_traps_total", &[("filter", version.listener)], 1.0).await;
                journal::check(
                    version,
                    &stage.said(version.listener, "request_headers 2 **").await,
                    &["request_headers 2 **", "absent log 2", "absent done 2", "absent delete 2"],
                );
            }
        },
    );
    table.row("R7.open", "`on_failure: open` goes on without the filter", || async {
        let stage = Stage::http("request_headers: trap")
            .settings("on_failure: open, limits: { call_time: 2s }, ")
            .start()
            .await;
        for version in VERSIONS {
            assert_eq!(stage.request(version).await.unwrap().text(), "world");
        }
    });
    table.row("R9", "an unknown setting of a filter is refused by name, at load", || async {
        let ended = Stage::http("").settings("colour: blue, ").refused();
        assert_ne!(ended.code, Some(0));
        assert!(ended.stderr.contains("colour"), "{ended:?}");
    });
    sharing(table);
    table.row("R11.narrowed", "`callbacks: [...]` calls only these", || async {
        let stage =
            Stage::http("").settings("callbacks: [request_headers, delete], limits: { call_time: 2s }, ").start().await;
        let expected =
            ["request_headers **", "delete *", "absent request_body **", "absent response_headers **", "absent log *"];
        stage.shows(&expected).await;
    });
    limits(table);
}

fn sharing(table: &mut Table) {
    table.row("R10", "filters that name the same `vm` share an instance: one VM start, a plugin's context each, data in common", || async {
        let script = "configure: get_buffer_bytes 7 0 100 &b\nrequest_headers: get_shared_data \"k\" &b &4\nrequest_headers: set_shared_data \"k\" \"v\" 0";
        let (proxy, _upstream) = shared_vm(["one", "two"], script).await;
        assert_eq!(proxy.get("/").await.status(), 200);
        proxy.logged(&["probe: request_headers> set_shared_data = 0", "\"two\""]).await;
        assert_eq!(proxy.log_lines(&["probe: vm_start"]).len(), 1);
        for (words, count) in [("configure> get_buffer_bytes = 0 \\\"one\\\"", 1), ("configure> get_buffer_bytes = 0 \\\"two\\\"", 1), ("context_create 1 0", 1), ("context_create 2 0", 1)] {
            assert_eq!(proxy.log_lines(&["probe: ", words]).len(), count, "{words}");
        }
        // The second filter of the stream finds what the first has written.
        assert_eq!(proxy.log_lines(&["request_headers> get_shared_data = 0 \\\"v\\\"", "\"two\""]).len(), 1);
    });
    table.row(
        "R10.apart",
        "filters of one module without a common `vm` share nothing, failure least of all",
        || async {
            let stage = Stage::http("")
                .settings("on_failure: open, limits: { call_time: 2s }, ")
                .inner("in", "request_headers: trap")
                .start()
                .await;
            for version in VERSIONS {
                assert_eq!(stage.request(version).await.unwrap().status(), 200);
                let expected =
                    ["context_create 1 0", "request_headers 2 **", "log 2", "done 2", "delete 2", "once vm_start **"];
                journal::check(version, &stage.ended(version).await, &expected);
            }
        },
    );
    table.row("R10.thousand", "1,000 route configurations of one filter share its instance, and cost less than 64 KiB each", || async {
        let upstream = Upstream::says("up").await;
        let script = "quiet\nconfigure: define_metric 0 \"contexts\" &4=contexts\nconfigure: increment_metric $contexts 1";
        let yaml = |carried: bool| {
            let routes: String = (0..1_000)
                .map(|number| {
                    let filters = if carried { format!(", filters: {{ it: 'configuration {number}' }}") } else { String::new() };
                    format!("{{ match: {{ path: /{number} }}, cluster: app{filters} }}, ")
                })
                .collect();
            format!(
                "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [router, it] }}\nfilters:\n  router: {{ module: builtin:router, config: {{ routes: [{routes}] }} }}\n  \
                 it: {{ module: {:?}, environment: {{ SCRIPT: {script:?} }} }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
                crate::guests::V0_2_1,
                upstream.address
            )
        };
        let few = Launch::new(yaml(false)).start().await;
        let many = Launch::new(yaml(true)).workers(1).start().await;
        for proxy in [&few, &many] {
            assert_eq!(proxy.get("/999").await.status(), 200);
            assert_eq!(proxy.metric("fyke_filter_instances", &[("filter", "it")]).await, 1.0);
        }
        // The filter is configured alone first, and then with what the routes carry.
        assert_eq!((few.metric("contexts", &[]).await, many.metric("contexts", &[]).await), (1.0, 1_002.0));
        let each = many.resident().saturating_sub(few.resident()) / 1_000;
        assert!(each < 64 << 10, "{each} bytes a configuration");
        println!("1,000 route configurations: {each} bytes each");
    });
}

fn limits(table: &mut Table) {
    table.group("Limits");
    table.row("K1", "serialized pairs: 1,024 entries are taken, 1,025 are an empty list", || async {
        let pairs = |count: usize| (4..count).map(|index| format!(";x-{index}=1")).collect::<String>();
        let base = ":method=POST;:path=/many;:authority=a;:scheme=http";
        let stage =
            Stage::http(format!("request_headers: set_header_map_pairs 0 [{base}{}]", pairs(200))).start().await;
        stage.request(LATEST).await.unwrap();
        assert!(stage.app.last().headers.len() >= 196, "{:?}", stage.app.last());
        let stage = Stage::http(format!(
            "request_headers: set_header_map_pairs 0 [{base}{}]\nrequest_headers: get_header_map_pairs 0 &p",
            pairs(1025)
        ))
        .start()
        .await;
        stage.request(LATEST).await;
        let journal = stage.ended(LATEST).await;
        journal::check(
            LATEST,
            &journal,
            &[
                "request_headers> set_header_map_pairs = 0",
                "absent request_headers> get_header_map_pairs = 0 [**x-4=1**",
            ],
        );
    });
    table.row("K2", "`limits.memory` bounds an instance", || async {
        let stage =
            Stage::http("request_headers: grow").settings("limits: { memory: 8MiB, call_time: 5s }, ").start().await;
        for version in VERSIONS {
            assert_eq!(stage.request(version).await.unwrap().status(), 503);
            stage
                .proxy
                .metric_reaches("fyke_filter_traps_total", &[("filter", version.listener), ("reason", "memory")], 1.0)
                .await;
        }
    });
    table.row("K3", "a log line is cut at 64 KiB", || async {
        let stage = Stage::http(format!("configure: log 2 \"long {}\"", "x".repeat(70_000))).start().await;
        let lines = stage.proxy.log_lines(&["\"long x", LATEST.listener]);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["message"].as_str().unwrap().len(), 64 << 10);
    });
    table.row("K4", "properties of a stream are bounded by `limits.buffer`, and what is beyond is not set", || async {
        let stage = Stage::http(format!(
            "request_headers: set_property \"small\" \"v\"\nrequest_headers: set_property \"big\" \"{}\"\nrequest_headers: get_property \"big\" &b\nrequest_headers: get_property \"small\" &b",
            "x".repeat(9_000)
        ))
        .listener("limits: { buffer: 8KiB }, ")
        .start()
        .await;
        stage.shows(&["request_headers> set_property = 0", "request_headers> set_property = 0", "request_headers> get_property = 1 untouched", "request_headers> get_property = 0 \"v\""]).await;
    });
    table.row(
        "K5",
        "a filter that logs without end does not fill the log: 1,000 lines a second, and one that counts the rest",
        || async {
            let script: String = (0..400).map(|_| "request_headers: log 2 \"flood\"\n").collect();
            let stage = Stage::http(script + "quiet").start().await;
            for _ in 0..10 {
                stage.send(LATEST, REQUEST).await.unwrap();
            }
            assert!(stage.proxy.log_lines(&["\"flood\"", LATEST.listener]).len() < 4_000);
            stage.proxy.logged(&["suppressed", LATEST.listener]).await;
        },
    );
}
