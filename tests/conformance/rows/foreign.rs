//! Foreign functions: Fyke's own and Envoy's (`host/docs/extensions.md`).

use crate::{
    journal,
    stage::{LATEST, Stage, VERSIONS},
    table::Table,
};

pub fn rows(table: &mut Table) {
    table.group("Foreign functions");
    table.http(
        "H39",
        "`proxy_call_foreign_function` that nobody knows: NOT_FOUND",
        "request_headers: call_foreign_function \"no.such\" \"x\" &b\nconfigure: call_foreign_function \"\" \"\" &b",
        &["configure> call_foreign_function = 1 untouched", "request_headers> call_foreign_function = 1 untouched"],
    );
    table.http(
        "F.features",
        "`fyke.features.v1` lists the functions that there are",
        "configure: call_foreign_function \"fyke.features.v1\" \"\" &b",
        &["configure> call_foreign_function = 0 \"**fyke.features.v1**\""],
    );
    table.http(
        "F.values",
        "`fyke.headers.values.v1`: all values of a header",
        "request_headers: call_foreign_function \"fyke.headers.values.v1\" \"\\x00\\0\\0\\0X-A\" &b\nrequest_headers: call_foreign_function \"fyke.headers.values.v1\" \"\\x09\\0\\0\\0x\" &b",
        &[
            "request_headers> call_foreign_function = 0 \"\\x02\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x01\\x00\\x00\\x0012\"",
            "request_headers> call_foreign_function = 2 untouched",
        ],
    );
    table.http(
        "F.read",
        "`fyke.values.read.v1`: properties and headers with one call",
        "request_headers: call_foreign_function \"fyke.values.read.v1\" \"\\x00\\x03\\0\\0\\0X-A\\xff\\x0c\\0\\0\\0request\\0path\\xff\\x04\\0\\0\\0none\\x02\\x01\\0\\0\\0a\" &b\n\
         request_headers: call_foreign_function \"fyke.values.read.v1\" \"\" &b\n\
         request_headers: call_foreign_function \"fyke.values.read.v1\" \"\\x09\\x01\\0\\0\\0a\" &b\n\
         request_headers: call_foreign_function \"fyke.values.read.v1\" \"\\x00\\x09\\0\\0\\0a\" &b\n\
         configure: call_foreign_function \"fyke.values.read.v1\" \"\" &b",
        &[
            "configure> call_foreign_function = 2 untouched",
            "request_headers> call_foreign_function = 0 \"\\x01\\x00\\x00\\x001\\t\\x00\\x00\\x00/path?q=1\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\"",
            "request_headers> call_foreign_function = 0 null:0",
            "request_headers> call_foreign_function = 2 untouched",
            "request_headers> call_foreign_function = 2 untouched",
        ],
    );
    table.row("F.route", "`fyke.route.define.v1` and `fyke.route.select.v1`: a route by handle, its name and metadata as properties", || async {
        let stage = Stage::http(
            "configure: call_foreign_function \"fyke.route.define.v1\" \"{\\\"name\\\":\\\"r1\\\",\\\"virtual_host\\\":\\\"vh\\\",\\\"cluster\\\":\\\"callout\\\",\\\"metadata\\\":{\\\"k\\\":\\\"m\\\"}}\" &b\n\
             configure: call_foreign_function \"fyke.route.define.v1\" \"{\\\"cluster\\\":\\\"unheard\\\"}\" &b\n\
             configure: call_foreign_function \"fyke.route.define.v1\" \"{\\\"sorts\\\":1}\" &b\n\
             configure: call_foreign_function \"fyke.route.define.v1\" \"no JSON\" &b\n\
             request_headers: call_foreign_function \"fyke.route.select.v1\" \"\\x09\\0\\0\\0\\0\\0\\0\\0\" &b\n\
             request_headers: call_foreign_function \"fyke.route.select.v1\" \"\\x00\\0\" &b\n\
             request_headers: call_foreign_function \"fyke.route.select.v1\" \"\\x00\\0\\0\\0\\0\\0\\0\\0\" &b\n\
             log: get_property \"route_name\" &b\nlog: get_property \"xds\\0virtual_host_name\" &b\nlog: get_property \"route_metadata\\0k\" &b\nlog: get_property \"cluster_name\" &b",
        )
        .start()
        .await;
        let expected = [
                "configure> call_foreign_function = 0 \"\\x00\\x00\\x00\\x00\"",
                "configure> call_foreign_function = 2 untouched",
                "configure> call_foreign_function = 2 untouched",
                "configure> call_foreign_function = 2 untouched",
                "request_headers> call_foreign_function = 2 untouched",
                "request_headers> call_foreign_function = 2 untouched",
                "request_headers> call_foreign_function = 0 null:0",
                "log> get_property = 0 \"r1\"",
                "log> get_property = 0 \"vh\"",
                "log> get_property = 0 \"m\"",
                "log> get_property = 0 \"callout\"",
            ];
        stage.shows(&expected).await;
        assert_eq!((stage.app.seen().len(), stage.callout.seen().len()), (0, VERSIONS.len()));
    });
    table.http(
        "F.shared",
        "`fyke.shared.{delete,list,add,expire}.v1`",
        "request_headers: call_foreign_function \"fyke.shared.add.v1\" \"\\x05\\0\\0\\0\\0\\0\\0\\0n\" &b\n\
         request_headers: call_foreign_function \"fyke.shared.list.v1\" \"n\" &b\n\
         request_headers: call_foreign_function \"fyke.shared.expire.v1\" \"\\x00\\0\\0\\0\\0\\0\\0\\0n\" &b\n\
         request_headers: call_foreign_function \"fyke.shared.delete.v1\" \"n\" &b\n\
         request_headers: call_foreign_function \"fyke.shared.delete.v1\" \"n\" &b\n\
         request_headers: call_foreign_function \"fyke.shared.add.v1\" \"\\x05\" &b",
        &[
            "request_headers> call_foreign_function = 0 \"\\x05\\x00\\x00\\x00\\x00\\x00\\x00\\x00\"",
            "request_headers> call_foreign_function = 0 \"\\x01\\x00\\x00\\x00\\x01\\x00\\x00\\x00n\"",
            "request_headers> call_foreign_function = 0 null:0",
            "request_headers> call_foreign_function = 0 null:0",
            "request_headers> call_foreign_function = 1 untouched",
            "request_headers> call_foreign_function = 2 untouched",
        ],
    );
    table.http(
        "F.skip",
        "`fyke.callbacks.skip.v1`: the callbacks that a configuration has no use for are not called",
        "configure: call_foreign_function \"fyke.callbacks.skip.v1\" \"request_body,response_headers,log\" &b\nconfigure: call_foreign_function \"fyke.callbacks.skip.v1\" \"delete\" &b",
        &[
            "configure> call_foreign_function = 0 null:0",
            "configure> call_foreign_function = 2 untouched",
            "request_headers **",
            "response_body **",
            "absent request_body **",
            "absent response_headers **",
            "absent log *",
        ],
    );
    table.http(
        "F.filter_state",
        "`set_envoy_filter_state`: a property, readable at its path and under `filter_state`",
        "request_headers: call_foreign_function \"set_envoy_filter_state\" \"\\x0a\\x01k\\x12\\x01v\" &b\nrequest_headers: get_property \"k\" &b\nrequest_headers: get_property \"filter_state\\0k\" &b\n\
         request_headers: call_foreign_function \"set_envoy_filter_state\" \"\\x0a\\x7f\" &b",
        &[
            "request_headers> call_foreign_function = 0 null:0",
            "request_headers> get_property = 0 \"v\"",
            "request_headers> get_property = 0 \"v\"",
            "request_headers> call_foreign_function = 2 untouched",
        ],
    );
    table.http(
        "H43",
        "`proxy_clear_route_cache` (0.1.0) and the foreign function of that name",
        "request_headers: clear_route_cache\nrequest_headers: call_foreign_function \"clear_route_cache\" \"\" &b",
        &[
            "request_headers> clear_route_cache = 0",
            "request_headers> call_foreign_function = 0 null:0",
            "response_headers **",
        ],
    );
    metrics(table);
    table.http(
        "F.declare",
        "`declare_property` is accepted, wherever it is called",
        "configure: call_foreign_function \"declare_property\" \"\\x0a\\x01k\\x10\\x01\\x18\\x02\" &b\nrequest_headers: call_foreign_function \"declare_property\" \"\\x0a\\x7f\" &b",
        &["configure> call_foreign_function = 0 null:0", "request_headers> call_foreign_function = 2 untouched"],
    );
    table.http(
        "F.compress",
        "`compress` and `uncompress`: zlib",
        "request_headers: call_foreign_function \"uncompress\" \"\\x78\\x9c\\xcb\\x48\\xcd\\xc9\\xc9\\x07\\x00\\x06\\x2c\\x02\\x15\" &b\n\
         request_headers: call_foreign_function \"uncompress\" \"no zlib\" &b\n\
         configure: call_foreign_function \"compress\" \"hello\" &b",
        &[
            "configure> call_foreign_function = 0 \"x**",
            "request_headers> call_foreign_function = 0 \"hello\"",
            "request_headers> call_foreign_function = 3 untouched",
        ],
    );
    table.row("F.refuse", "`fyke.configure.refuse.v1`: the load is refused with the filter's own message at its own place", || async {
        let ended = Stage::http(
            "configure: call_foreign_function \"fyke.configure.refuse.v1\" \"{\\\"path\\\":\\\"limit\\\",\\\"message\\\":\\\"too small by half\\\"}\" &b\nconfigure: return 0",
        )
        .refused();
        assert_ne!(ended.code, Some(0));
        assert!(ended.stderr.contains("too small by half"), "{ended:?}");
    });
    table.http(
        "F.require",
        "`fyke.cluster.require.v1`: whether a cluster may be called, before the first call",
        "configure: call_foreign_function \"fyke.cluster.require.v1\" \"callout\" &b\n\
         configure: call_foreign_function \"fyke.cluster.require.v1\" \"unheard\" &b\nrequest_headers: call_foreign_function \"fyke.cluster.require.v1\" \"callout\" &b",
        &[
            "configure> call_foreign_function = 0 null:0",
            "configure> call_foreign_function = 2 untouched",
            "request_headers> call_foreign_function = 2 untouched",
        ],
    );
    table.row("F.log", "`fyke.log.open.v1` and `fyke.log.write.v1`: records to a sink", || async {
        let stage = Stage::http(
            "configure: call_foreign_function \"fyke.log.open.v1\" \"\" &b\nconfigure: call_foreign_function \"fyke.log.open.v1\" \"unheard\" &b\n\
             log: call_foreign_function \"fyke.log.write.v1\" \"\\x00\\0\\0\\0a record\" &b\nlog: call_foreign_function \"fyke.log.write.v1\" \"\\x09\\0\\0\\0x\" &b",
        )
        .start()
        .await;
        stage.request(LATEST).await.unwrap();
        let expected = [
            "configure> call_foreign_function = 0 \"\\x00\\x00\\x00\\x00\"",
            "configure> call_foreign_function = 2 untouched",
            "log> call_foreign_function = 0 null:0",
            "log> call_foreign_function = 2 untouched",
        ];
        journal::check(LATEST, &stage.ended(LATEST).await, &expected);
        stage.proxy.printed(&["a record"]).await;
    });
    explain(table);
}

fn explain(table: &mut Table) {
    table.http(
        "F.explain.unasked",
        "`fyke.explain.v1` where nobody has asked: BAD_ARGUMENT, and `proxy_on_foreign_function` is not called",
        "request_headers: call_foreign_function \"fyke.explain.v1\" \"x\" &b\nforeign_function: get_buffer_bytes 8 0 100 &b",
        &["request_headers> call_foreign_function = 2 untouched"],
    );
    table
        .row(
            "F.explain",
            "`fyke.explain.v1`, asked for by function 2: what a filter says is told line by line, the last call counts",
            || async {
                let stage = Stage::http(
                    "foreign_function: call_foreign_function \"fyke.explain.v1\" \"too early\" &b\n\
                 foreign_function: call_foreign_function \"fyke.explain.v1\" \"it goes on\\x0aand why\" &b",
                )
                .start()
                .await;
                for version in VERSIONS {
                    let path = format!("/explain?url=http%3A%2F%2Fa.example%2Fx&listener={}", version.listener);
                    let told = stage.proxy.page(&path).await;
                    let says = &told["filters"][0]["says"];
                    assert_eq!(
                        (&says[0], &says[1], says.as_array().map(Vec::len)),
                        (&"it goes on".into(), &"and why".into(), Some(2)),
                        "{told}"
                    );
                    assert_eq!(told["cluster"]["name"], "app", "{told}");
                }
                // Nobody who runs was asked, and nobody was sent anything.
                assert_eq!(stage.app.seen().len(), 0);
            },
        )
        .note("Envoy has no such function; a module that is not asked never meets it");
}

fn metrics(table: &mut Table) {
    table.row("F.metric", "`fyke.metric.define.v1` and `fyke.metric.record.v1`: metrics with labels, on the metrics page", || async {
        let stage = Stage::http(
            "configure: call_foreign_function \"fyke.metric.define.v1\" \"{\\\"kind\\\":\\\"counter\\\",\\\"name\\\":\\\"hits\\\",\\\"labels\\\":[\\\"who\\\"]}\" &b\n\
             configure: call_foreign_function \"fyke.metric.define.v1\" \"{\\\"kind\\\":\\\"histogram\\\",\\\"name\\\":\\\"sizes\\\",\\\"buckets\\\":[10,20]}\" &b\n\
             configure: call_foreign_function \"fyke.metric.define.v1\" \"{\\\"kind\\\":\\\"gauge\\\",\\\"name\\\":\\\"hits\\\"}\" &b\n\
             configure: call_foreign_function \"fyke.metric.define.v1\" \"{\\\"kind\\\":\\\"guess\\\"}\" &b\n\
             request_headers: call_foreign_function \"fyke.metric.record.v1\" \"\\0\\0\\0\\0\\x02\\0\\0\\0\\0\\0\\0\\0\\x03\\0\\0\\0a\\x22b\" &b\n\
             request_headers: call_foreign_function \"fyke.metric.record.v1\" \"\\x01\\0\\0\\0\\x0b\\0\\0\\0\\0\\0\\0\\0\" &b\n\
             request_headers: call_foreign_function \"fyke.metric.record.v1\" \"\\0\\0\\0\\0\\x02\\0\\0\\0\\0\\0\\0\\0\" &b\n\
             request_headers: call_foreign_function \"fyke.metric.record.v1\" \"\\x09\\0\\0\\0\\x02\\0\\0\\0\\0\\0\\0\\0\" &b\n\
             request_headers: call_foreign_function \"fyke.metric.define.v1\" \"{}\" &b",
        )
        .start()
        .await;
        let expected = [
                "configure> call_foreign_function = 0 \"\\x00\\x00\\x00\\x00\"",
                "configure> call_foreign_function = 0 \"\\x01\\x00\\x00\\x00\"",
                "configure> call_foreign_function = 2 untouched",
                "configure> call_foreign_function = 2 untouched",
                "request_headers> call_foreign_function = 0 null:0",
                "request_headers> call_foreign_function = 0 null:0",
                "request_headers> call_foreign_function = 2 untouched",
                "request_headers> call_foreign_function = 2 untouched",
                "request_headers> call_foreign_function = 2 untouched",
            ];
        stage.shows(&expected).await;
        let page = stage.proxy.ask("/metrics").await.text();
        for line in [
            "# TYPE hits counter",
            "hits{who=\"a\\\"b\"} 10",
            "sizes_bucket{le=\"10\"} 0",
            "sizes_bucket{le=\"20\"} 5",
            "sizes_bucket{le=\"+Inf\"} 5",
            "sizes_sum 55",
            "sizes_count 5",
        ] {
            assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
        }
    });
}
