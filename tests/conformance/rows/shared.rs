//! Shared data, shared queues, metrics.

use crate::{
    journal,
    stage::{LATEST, Stage, VERSIONS},
    table::Table,
};

pub fn rows(table: &mut Table) {
    table.group("Shared data");
    table.http(
        "H27",
        "`proxy_set_shared_data` with the token that was read",
        "request_headers: set_shared_data \"k\" \"one\" 0\nrequest_headers: get_shared_data \"k\" &b &4=cas\n\
         request_headers: set_shared_data \"k\" \"two\" $cas\nrequest_headers: get_shared_data \"k\" &b &4",
        &[
            "request_headers> set_shared_data = 0",
            "request_headers> set_shared_data = 0",
            "request_headers> get_shared_data = 0 \"two\" *",
        ],
    );
    table.http(
        "H28",
        "`proxy_get_shared_data`: NOT_FOUND, or the value with a token that is never zero",
        "request_headers: get_shared_data \"k\" &b &4\nrequest_headers: set_shared_data \"k\" \"one\" 0\nrequest_headers: get_shared_data \"k\" &b &4",
        &[
            "request_headers> get_shared_data = 1 untouched untouched",
            "request_headers> get_shared_data = 0 \"one\" *",
            "absent request_headers> get_shared_data = 0 \"one\" 0",
        ],
    );
    table.http(
        "S1",
        "a stale token: CAS_MISMATCH, and the value stays; token 0 writes unconditionally",
        "request_headers: set_shared_data \"k\" \"one\" 0\nrequest_headers: get_shared_data \"k\" &b &4=cas\nrequest_headers: set_shared_data \"k\" \"two\" 0\n\
         request_headers: set_shared_data \"k\" \"three\" $cas\nrequest_headers: get_shared_data \"k\" &b &4",
        &[
            "request_headers> set_shared_data = 0",
            "request_headers> get_shared_data = 0 \"one\" *",
            "request_headers> set_shared_data = 0",
            "request_headers> set_shared_data = 8",
            "request_headers> get_shared_data = 0 \"two\" *",
        ],
    );
    table.http(
        "S2",
        "writing a key that is missing ignores the token",
        "request_headers: set_shared_data \"new\" \"v\" 77",
        &["request_headers> set_shared_data = 0"],
    );
    table.http(
        "S3",
        "an empty value is there (the official SDK removes by writing one)",
        "request_headers: set_shared_data \"k\" \"\" 0\nrequest_headers: get_shared_data \"k\" &b &4",
        &["request_headers> set_shared_data = 0", "request_headers> get_shared_data = 0 null:0 *"],
    );
    table.row(
        "S4",
        "data belongs to a VM: filters without a common `vm` do not see each other's (R10 has those with one)",
        || async {
            let stage = Stage::http(
                "request_headers: get_shared_data \"k\" &b &4\nrequest_headers: set_shared_data \"k\" \"mine\" 0",
            )
            .inner("other", "request_headers: get_shared_data \"k\" &b &4")
            .start()
            .await;
            stage.request(LATEST).await.unwrap();
            stage.ended(LATEST).await;
            let journal = stage.said(&format!("{}-other", LATEST.listener), "delete *").await;
            journal::check(LATEST, &journal, &["request_headers> get_shared_data = 1 untouched untouched"]);
            for version in VERSIONS {
                // The first request of each version finds nothing, although another version has written.
                if version != LATEST {
                    stage.request(version).await.unwrap();
                    journal::check(
                        version,
                        &stage.ended(version).await,
                        &["request_headers> get_shared_data = 1 untouched untouched"],
                    );
                }
            }
        },
    );
    table
        .row(
            "S5",
            "without `allow: { shared_data: true }` nothing is found, and writing is a trap that the log explains",
            || async {
                let stage = Stage::http(
                    "request_headers: get_shared_data \"k\" &b &4\nresponse_headers: set_shared_data \"k\" \"v\" 0",
                )
                .ungranted()
                .start()
                .await;
                for version in VERSIONS {
                    assert_eq!(stage.request(version).await.unwrap().status(), 503);
                    let journal = stage.said(version.listener, "request_headers> **").await;
                    journal::check(
                        version,
                        &journal,
                        &["request_headers> get_shared_data = 1 untouched untouched", "absent response_headers> **"],
                    );
                    stage.proxy.logged(&["shared data refused", "shared_data: true", version.listener]).await;
                }
            },
        )
        .note("Envoy has no grants; the ABI has no status for it that SDKs survive; decision 0006");
    queues(table);
    metrics(table);
}

fn queues(table: &mut Table) {
    table.group("Shared queues");
    table.http(
        "H29",
        "`proxy_register_shared_queue`: an id that is not zero, the same for the same name",
        "configure: register_shared_queue \"q\" &4=a\nconfigure: register_shared_queue \"q\" &4=b\nconfigure: enqueue_shared_queue $a \"x\"\nconfigure: dequeue_shared_queue $b &b",
        &[
            "configure> register_shared_queue = 0 *",
            "absent configure> register_shared_queue = 0 0",
            "configure> enqueue_shared_queue = 0",
            "configure> dequeue_shared_queue = 0 \"x\"",
        ],
    );
    table.http(
        "H30",
        "`proxy_resolve_shared_queue`: an empty VM id means one's own; an unknown queue is NOT_FOUND",
        "configure: register_shared_queue \"q\" &4=a\nconfigure: enqueue_shared_queue $a \"x\"\nconfigure: resolve_shared_queue \"\" \"q\" &4=c\nconfigure: dequeue_shared_queue $c &b\n\
         configure: resolve_shared_queue \"\" \"other\" &4\nconfigure: resolve_shared_queue \"no-vm\" \"q\" &4",
        &[
            "configure> resolve_shared_queue = 0 *",
            "configure> dequeue_shared_queue = 0 \"x\"",
            "configure> resolve_shared_queue = 1 untouched",
            "configure> resolve_shared_queue = 1 untouched",
        ],
    );
    table.row("H30.vm", "a queue of another VM is resolved by that VM's id, and any VM may fill and empty it", || async {
        let stage = Stage::http("configure: register_shared_queue \"q\" &4=q\nqueue_ready: dequeue_shared_queue $1 &b")
            .inner("in", "request_headers: resolve_shared_queue \"v0-2-1\" \"q\" &4=q\nrequest_headers: enqueue_shared_queue $q \"from elsewhere\"")
            .start()
            .await;
        stage.request(LATEST).await.unwrap();
        stage.said(LATEST.listener, "queue_ready> dequeue_shared_queue = 0 \"from elsewhere\"").await;
    });
    table.http(
        "H31",
        "`proxy_enqueue_shared_queue`; an unknown id is NOT_FOUND",
        "configure: register_shared_queue \"q\" &4=q\nconfigure: enqueue_shared_queue $q \"1\"\nconfigure: enqueue_shared_queue 999999 \"x\"",
        &["configure> enqueue_shared_queue = 0", "configure> enqueue_shared_queue = 1"],
    );
    table.http(
        "H32",
        "`proxy_dequeue_shared_queue`: first in, first out; then EMPTY; an unknown id is NOT_FOUND",
        "configure: register_shared_queue \"q\" &4=q\nconfigure: enqueue_shared_queue $q \"1\"\nconfigure: enqueue_shared_queue $q \"2\"\nconfigure: dequeue_shared_queue $q &b\n\
         configure: dequeue_shared_queue $q &b\nconfigure: dequeue_shared_queue $q &b\nconfigure: dequeue_shared_queue 999999 &b",
        &[
            "configure> dequeue_shared_queue = 0 \"1\"",
            "configure> dequeue_shared_queue = 0 \"2\"",
            "configure> dequeue_shared_queue = 7 untouched",
            "configure> dequeue_shared_queue = 1 untouched",
        ],
    );
    table.row("S6", "one `proxy_on_queue_ready` for each enqueue", || async {
        let stage = Stage::http("configure: register_shared_queue \"q\" &4=q\nrequest_headers: enqueue_shared_queue $q \"1\"\nrequest_headers: enqueue_shared_queue $q \"2\"\nqueue_ready: dequeue_shared_queue $1 &b")
            .start()
            .await;
        for version in VERSIONS {
            stage.request(version).await.unwrap();
            let journal = stage.said(version.listener, "queue_ready> dequeue_shared_queue = 0 \"2\"").await;
            journal::check(version, &journal, &["queue_ready 1 *", "queue_ready> dequeue_shared_queue = 0 \"1\"", "queue_ready 1 *", "queue_ready> dequeue_shared_queue = 0 \"2\""]);
        }
    });
}

fn metrics(table: &mut Table) {
    table.group("Metrics");
    table.http(
        "H33",
        "`proxy_define_metric`: the same kind and name give the same series",
        "configure: define_metric 0 \"conformance_same\" &4=a\nconfigure: define_metric 0 \"conformance_same\" &4=b\nrequest_headers: increment_metric $a 2\nrequest_headers: get_metric $b &8",
        &["configure> define_metric = 0 *", "request_headers> increment_metric = 0", "request_headers> get_metric = 0 *", "absent request_headers> get_metric = 0 0"],
    );
    table.row("H34", "`proxy_record_metric`: a counter is added to, a gauge set, a histogram observes", || async {
        let stage = Stage::http(
            "configure: define_metric 0 \"c\" &4=c\nconfigure: define_metric 1 \"g\" &4=g\nconfigure: define_metric 2 \"h\" &4=h\n\
             request_headers: record_metric $c 5\nrequest_headers: record_metric $c 2\nrequest_headers: get_metric $c &8\n\
             request_headers: record_metric $g 5\nrequest_headers: record_metric $g 2\nrequest_headers: get_metric $g &8\n\
             request_headers: record_metric $h 5\nrequest_headers: get_metric $h &8",
        )
        .start()
        .await;
        stage.request(LATEST).await.unwrap();
        let expected = [
            "request_headers> record_metric = 0",
            "request_headers> record_metric = 0",
            "request_headers> get_metric = 0 7",
            "request_headers> record_metric = 0",
            "request_headers> record_metric = 0",
            "request_headers> get_metric = 0 2",
            "request_headers> record_metric = 0",
            "request_headers> get_metric = 2 untouched",
        ];
        journal::check(LATEST, &stage.ended(LATEST).await, &expected);
        assert_eq!(stage.proxy.metric("c", &[]).await, 7.0);
        assert_eq!(stage.proxy.metric("h_count", &[]).await, 1.0);
    });
    table.row("H35", "`proxy_increment_metric`: a counter by one or more, a gauge by anything, a histogram not at all", || async {
        let stage = Stage::http(
            "configure: define_metric 0 \"c\" &4=c\nconfigure: define_metric 1 \"g\" &4=g\nconfigure: define_metric 2 \"h\" &4=h\n\
             request_headers: increment_metric $c 3\nrequest_headers: increment_metric $c 0\nrequest_headers: increment_metric $c -1\nrequest_headers: get_metric $c &8\n\
             request_headers: increment_metric $g -3\nrequest_headers: get_metric $g &8\nrequest_headers: increment_metric $h 1",
        )
        .start()
        .await;
        stage.request(LATEST).await.unwrap();
        let expected = [
            "request_headers> increment_metric = 0",
            "request_headers> increment_metric = 2",
            "request_headers> increment_metric = 2",
            "request_headers> get_metric = 0 3",
            "request_headers> increment_metric = 0",
            "request_headers> get_metric = 0 18446744073709551613",
            "request_headers> increment_metric = 2",
        ];
        journal::check(LATEST, &stage.ended(LATEST).await, &expected);
    });
    table.http(
        "H36",
        "a metric that there is not: NOT_FOUND",
        "request_headers: record_metric 99999 1\nrequest_headers: increment_metric 99999 1\nrequest_headers: get_metric 99999 &8",
        &["request_headers> record_metric = 1", "request_headers> increment_metric = 1", "request_headers> get_metric = 1 untouched"],
    );
    table
        .http(
            "H33.kind",
            "`proxy_define_metric` of a kind that there is not",
            "configure: define_metric 9 \"odd\" &4",
            &["configure> define_metric = 0 *"],
        )
        .note("gives an id that counts for nothing; BAD_ARGUMENT would make guests of the official SDK panic");
    table.row("S7", "metrics belong to the process: all instances and workers count in one series", || async {
        let stage =
            Stage::http("configure: define_metric 0 \"conformance_all\" &4=c\nrequest_headers: increment_metric $c 1")
                .start()
                .await;
        for version in VERSIONS {
            stage.request(version).await.unwrap();
            stage.ended(version).await;
        }
        assert_eq!(stage.proxy.metric("conformance_all", &[]).await, 5.0);
    });
}
