//! Pausing, continuing, closing and answering HTTP streams.

use crate::{
    journal,
    stage::{Stage, VERSIONS},
    table::Table,
};

pub fn rows(table: &mut Table) {
    table.group("Pausing, continuing, closing");
    pauses(table);
    actions(table);
    closes(table);
    table.group("Local responses");
    replies(table);
}

const TICK: &str = "configure: set_tick_period_milliseconds 20\n";

fn pauses(table: &mut Table) {
    table.row("H17", "`proxy_continue_stream(HTTP_REQUEST)` resumes a paused request, from elsewhere too", || async {
        let stage = Stage::http(format!(
            "{TICK}request_headers: return 1\ntick: set_effective_context 2\ntick: continue_stream 0"
        ))
        .start()
        .await;
        for version in VERSIONS {
            assert_eq!(stage.request(version).await.unwrap().text(), "world");
            let journal = stage.ended(version).await;
            journal::check(
                version,
                &journal,
                &["request_headers **", "tick> continue_stream = 0", "request_body * 5 0", "request_trailers **"],
            );
        }
    });
    table.row("H17.response", "`proxy_continue_stream(HTTP_RESPONSE)` resumes a paused response", || async {
        let stage = Stage::http(format!(
            "{TICK}response_headers: return 1\ntick: set_effective_context 2\ntick: continue_stream 1"
        ))
        .start()
        .await;
        for version in VERSIONS {
            assert_eq!(stage.request(version).await.unwrap().text(), "world");
            let journal = stage.ended(version).await;
            journal::check(
                version,
                &journal,
                &["response_headers **", "tick> continue_stream = 0", "response_body * 5 0"],
            );
        }
    });
    table.row("H17.deferred", "continuing from inside the callback that pauses: it is continued after the callback returned", || async {
        let stage = Stage::http("request_headers: continue_stream 0\nrequest_headers: return 1\nresponse_headers: continue_stream 1\nresponse_headers: return 1").start().await;
        for version in VERSIONS {
            assert_eq!(stage.request(version).await.unwrap().text(), "world", "{version:?}");
        }
    });
    for (id, title, paused, call) in [
        ("H41", "`proxy_continue_request` (0.1.0), linked for all", "request_headers", "continue_request"),
        ("H42", "`proxy_continue_response` (0.1.0), linked for all", "response_headers", "continue_response"),
    ] {
        table.row(id, title, move || async move {
            let stage = Stage::http(format!("{TICK}{paused}: return 1\ntick: set_effective_context 2\ntick: {call}"))
                .start()
                .await;
            for version in VERSIONS {
                assert_eq!(stage.request(version).await.unwrap().text(), "world");
                journal::check(version, &stage.ended(version).await, &[&format!("tick> {call} = 0")]);
            }
        });
    }
    table
        .http("H17.unknown", "continuing or closing a stream of a kind that there is not", 
            "request_headers: continue_stream 2\nrequest_headers: continue_stream 3\nrequest_headers: continue_stream 9\nrequest_headers: close_stream 9",
            &["request_headers> continue_stream = 0", "request_headers> continue_stream = 0", "request_headers> continue_stream = 0", "request_headers> close_stream = 0", "response_headers **"])
        .note("changes nothing; the specification's BAD_ARGUMENT would make guests of the official SDK panic");
    table.row(
        "R5",
        "PAUSE from a headers callback stops everything: no body callback comes until it is continued",
        || async {
            let stage = Stage::http(format!(
                "{TICK}request_headers: return 1\ntick: set_effective_context 2\ntick: continue_stream 0"
            ))
            .start()
            .await;
            for version in VERSIONS {
                stage.request(version).await.unwrap();
                let journal = stage.ended(version).await;
                // Every tick up to the one that continues it comes before the body.
                let expected = ["request_headers **", "tick> continue_stream = 0", "request_body **"];
                journal::check(version, &journal, &expected);
            }
        },
    );
    table.row("R5.headers_only", "with `headers_pause: headers_only` the headers are held and the body flows to the filter", || async {
        let stage = Stage::http("request_headers: return 1\nrequest_body: return 1\nrequest_trailers: replace_header_map_value 0 \"x-late\" \"yes\"\nrequest_trailers: continue_stream 0")
            .settings("headers_pause: headers_only, limits: { call_time: 2s }, ")
            .start()
            .await;
        for version in VERSIONS {
            stage.request(version).await.unwrap();
            let seen = stage.app.last();
            assert_eq!((seen.header("x-late"), seen.text().as_str()), (Some("yes"), "hello"), "{version:?}");
        }
    });
}

/// 0.2.100 and the C++ SDK have more actions than two.
fn actions(table: &mut Table) {
    for (id, title, action) in [
        ("A1", "headers: 1 (StopIteration) stops everything unless `headers_only` is set", 1),
        ("A3", "headers: 3 (StopAllIterationAndBuffer) stops everything", 3),
        ("A4", "headers: 4 (StopAllIterationAndWatermark) stops everything", 4),
        ("A9", "headers: a value that nobody knows is the strictest stop", 9),
    ] {
        table.row(id, title, move || async move {
            let stage = Stage::http(format!(
                "{TICK}request_headers: return {action}\ntick: set_effective_context 2\ntick: continue_stream 0"
            ))
            .start()
            .await;
            for version in VERSIONS {
                assert_eq!(stage.request(version).await.unwrap().status(), 200);
                journal::check(
                    version,
                    &stage.ended(version).await,
                    &["request_headers **", "tick> continue_stream = 0", "request_body * 5 0"],
                );
            }
        });
    }
    table.row("A2", "headers: 2 (ContinueAndEndStream) sends the headers on and ends the message there", || async {
        let stage = Stage::http("request_headers: return 2").start().await;
        for version in VERSIONS {
            assert_eq!(stage.request(version).await.unwrap().status(), 200);
            assert_eq!(stage.app.last().body, b"", "{version:?}");
            journal::check(
                version,
                &stage.ended(version).await,
                &["absent request_body **", "absent request_trailers **"],
            );
        }
    });
    for (id, title, action) in [
        ("A5", "data: 1 (StopIterationAndBuffer) holds what there is", 1),
        ("A6", "data: 2 (StopIterationAndWatermark) holds what there is, and reads no more than fits", 2),
    ] {
        table.row(id, title, move || async move {
            let stage =
                Stage::http(format!("request_body: return {action}\nrequest_trailers: get_buffer_bytes 0 0 100 &b"))
                    .start()
                    .await;
            for version in VERSIONS {
                stage.request(version).await.unwrap();
                assert_eq!(stage.app.last().text(), "hello");
                journal::check(
                    version,
                    &stage.ended(version).await,
                    &["request_trailers> get_buffer_bytes = 0 \"hello\""],
                );
            }
        });
    }
    table.row("A7", "data: 3 (StopIterationNoBuffer) drops what there is and goes on", || async {
        let stage = Stage::http("request_body: return 3").start().await;
        for version in VERSIONS {
            stage.request(version).await.unwrap();
            assert_eq!(stage.app.last().text(), "", "{version:?}");
        }
    });
}

fn closes(table: &mut Table) {
    table.row(
        "H18",
        "`proxy_close_stream(HTTP_REQUEST)` resets the stream: no answer, and the end of its context",
        || async {
            let stage = Stage::http("request_headers: close_stream 0").start().await;
            for version in VERSIONS {
                assert!(stage.request(version).await.is_none(), "{version:?}");
                let journal = stage.ended(version).await;
                journal::check(
                    version,
                    &journal,
                    &["request_headers> close_stream = 0", "log *", "done *", "delete *", "absent response_headers **"],
                );
            }
            assert!(stage.app.seen().is_empty());
        },
    );
    table.row("H18.response", "`proxy_close_stream(HTTP_RESPONSE)` resets the stream", || async {
        let stage = Stage::http("response_headers: close_stream 1").start().await;
        for version in VERSIONS {
            assert!(stage.request(version).await.is_none(), "{version:?}");
            journal::check(version, &stage.ended(version).await, &["response_headers> close_stream = 0", "delete *"]);
        }
    });
}

fn replies(table: &mut Table) {
    table.row("H20", "`proxy_send_local_response` answers instead of the upstream: status, details, headers, body", || async {
        let stage = Stage::http(
            "request_headers: send_local_response 403 \"my_details\" \"no way\" [x-why=because;content-length=999] -1\nrequest_headers: return 0\n\
             log: get_property \"response\\0code_details\" &b\nlog: get_property \"response\\0code\" &b",
        )
        .start()
        .await;
        for version in VERSIONS {
            let answer = stage.request(version).await.unwrap();
            assert_eq!((answer.status(), answer.header("x-why"), answer.text().as_str()), (403, Some("because"), "no way"));
            assert_eq!(answer.all("content-length"), ["6"], "it is counted anew");
            let expected = [
                "request_headers> send_local_response = 0",
                "log> get_property = 0 \"my_details\"",
                "log> get_property = 0 \"\\x93\\x01\\x00\\x00\\x00\\x00\\x00\\x00\"",
                "absent request_body **",
            ];
            journal::check(version, &stage.ended(version).await, &expected);
        }
        assert!(stage.app.seen().is_empty());
    });
    table.row("L1", "after a local response the callback's own result does not matter", || async {
        let stage =
            Stage::http("request_headers: send_local_response 403 \"\" \"no\" \"\" -1\nrequest_headers: return 1")
                .start()
                .await;
        for version in VERSIONS {
            assert_eq!(stage.request(version).await.unwrap().status(), 403);
        }
    });
    table.row("L2", "a second local response on the same stream is ignored", || async {
        let stage = Stage::http("request_headers: send_local_response 403 \"\" \"first\" \"\" -1\nrequest_headers: send_local_response 500 \"\" \"second\" \"\" -1").start().await;
        for version in VERSIONS {
            let answer = stage.request(version).await.unwrap();
            assert_eq!((answer.status(), answer.text().as_str()), (403, "first"));
            journal::check(version, &stage.ended(version).await, &["request_headers> send_local_response = 0"; 2]);
        }
    });
    table
        .row("L3", "a local response passes the filters outside of its author, not the author itself", || async {
            let stage = Stage::http("response_headers: add_header_map_value 2 \"x-outer\" \"saw it\"")
                .inner("in", "request_headers: send_local_response 403 \"\" \"no\" \"\" -1\nresponse_headers: add_header_map_value 2 \"x-inner\" \"saw it\"")
                .start()
                .await;
            for version in VERSIONS {
                let answer = stage.request(version).await.unwrap();
                assert_eq!((answer.status(), answer.header("x-outer"), answer.header("x-inner")), (403, Some("saw it"), None));
            }
        })
        .note("Envoy runs it through its author too; the specification leaves it open (proxy-wasm/spec#73); decision 0001");
    table.row("L4", "a local response instead of a response that the upstream gave", || async {
        let stage = Stage::http("response_headers: send_local_response 502 \"\" \"replaced\" \"\" -1").start().await;
        for version in VERSIONS {
            let answer = stage.request(version).await.unwrap();
            assert_eq!((answer.status(), answer.text().as_str(), answer.header("x-up")), (502, "replaced", None));
        }
    });
    table.row("L5", "local responses in request and response callbacks of one stream end it once", || async {
        let stage = Stage::http("response_headers: send_local_response 502 \"\" \"outer\" \"\" -1")
            .inner("in", "request_headers: send_local_response 403 \"\" \"inner\" \"\" -1\nresponse_headers: send_local_response 500 \"\" \"again\" \"\" -1")
            .start()
            .await;
        for version in VERSIONS {
            let answer = stage.request(version).await.unwrap();
            assert_eq!((answer.status(), answer.text().as_str()), (502, "outer"));
            journal::check(version, &stage.ended(version).await, &["once delete *"]);
        }
    });
    table.row("L6", "a local response from a paused stream, later", || async {
        let stage = Stage::http(format!("{TICK}request_headers: return 1\ntick: set_effective_context 2\ntick: send_local_response 429 \"\" \"later\" \"\" -1")).start().await;
        for version in VERSIONS {
            assert_eq!(stage.request(version).await.unwrap().status(), 429);
        }
    });
    table.row("L7", "a gRPC status: for gRPC requests the answer is 200 with grpc-status", || async {
        let stage = Stage::http("request_headers: send_local_response 403 \"\" \"denied\" \"\" 7").start().await;
        for version in VERSIONS {
            let answer = stage
                .send(
                    version,
                    "POST /s/m HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
                )
                .await
                .unwrap();
            assert_eq!(
                (answer.status(), answer.header("grpc-status"), answer.header("grpc-message")),
                (200, Some("7"), Some("denied"))
            );
        }
    });
    table
        .row("L8", "a status that HTTP does not have", || async {
            let stage = Stage::http("request_headers: send_local_response 0 \"\" \"x\" \"\" -1").start().await;
            for version in VERSIONS {
                assert_eq!(stage.request(version).await.unwrap().status(), 500, "{version:?}");
            }
        })
        .note("becomes 500, so that the client gets an answer");
}
