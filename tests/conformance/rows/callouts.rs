//! HTTP and gRPC callouts.

use crate::{
    journal,
    stage::{LATEST, Stage, VERSIONS},
    table::Table,
};

const CALL: &str = "http_call \"callout\" [:method=GET;:path=/ask;:authority=callout.example;x-q=1] \"body\" [x-tr=2]";

pub fn rows(table: &mut Table) {
    table.group("HTTP callouts");
    table.row("H21", "`proxy_http_call`: headers, body and trailers go out; the answer comes on the plugin's context", || async {
        let stage = Stage::http(format!(
            "request_headers: {CALL} 5000 &4=token\nrequest_headers: return 1\n\
             http_call_response: get_header_map_value 6 \":status\" &b\nhttp_call_response: get_header_map_value 6 \"x-up\" &b\n\
             http_call_response: get_buffer_bytes 4 0 100 &b\nhttp_call_response: get_header_map_pairs 7 &p\n\
             http_call_response: get_status &4 &b\nhttp_call_response: set_effective_context 2\nhttp_call_response: continue_stream 0\n\
             response_headers: get_buffer_bytes 4 0 100 &b\nresponse_headers: get_header_map_pairs 6 &p"
        ))
        .start()
        .await;
        for version in VERSIONS {
            assert_eq!(stage.request(version).await.unwrap().text(), "world");
            let asked = stage.callout.last();
            assert_eq!(asked.trailer("x-tr"), Some("2"), "{asked:?}");
            assert_eq!((asked.path(), asked.header("host"), asked.header("x-q"), asked.text().as_str()), ("/ask", Some("callout.example"), Some("1"), "body"));
            let expected = [
                "request_headers> http_call = 0 *",
                "http_call_response 1 * 6 5 1",
                "http_call_response> get_header_map_value = 0 \"200\"",
                "http_call_response> get_header_map_value = 0 \"u\"",
                "http_call_response> get_buffer_bytes = 0 \"world\"",
                "http_call_response> get_header_map_pairs = 0 [x-rt=rt]",
                "http_call_response> get_status = 0 **",
                "http_call_response> set_effective_context = 0",
                // Readable inside of that callback only.
                "response_headers> get_buffer_bytes = 1 untouched",
                "response_headers> get_header_map_pairs = 0 null:0",
            ];
            journal::check(version, &stage.ended(version).await, &expected);
        }
    });
    table.http(
        "H21.bad",
        "`proxy_http_call` without `:method`, `:path` or `:authority`, to a cluster that there is not, or with a negative timeout: BAD_ARGUMENT",
        "request_headers: http_call \"callout\" [:path=/;:authority=a] \"\" \"\" 1000 &4\n\
         request_headers: http_call \"callout\" [:method=GET;:authority=a] \"\" \"\" 1000 &4\n\
         request_headers: http_call \"callout\" [:method=GET;:path=/] \"\" \"\" 1000 &4\n\
         request_headers: http_call \"unheard\" [:method=GET;:path=/;:authority=a] \"\" \"\" 1000 &4\n\
         request_headers: http_call \"callout\" [:method=GET;:path=/;:authority=a] \"\" \"\" -1 &4",
        &[
            "request_headers> http_call = 2 untouched",
            "request_headers> http_call = 2 untouched",
            "request_headers> http_call = 2 untouched",
            "request_headers> http_call = 2 untouched",
            "request_headers> http_call = 2 untouched",
        ],
    );
    table
        .row(
            "H21.granted",
            "a cluster that the configuration does not grant: BAD_ARGUMENT, and the log says what to do",
            || async {
                let stage = Stage::http(
                    "request_headers: http_call \"callout\" [:method=GET;:path=/;:authority=a] \"\" \"\" 1000 &4",
                )
                .ungranted()
                .start()
                .await;
                for version in VERSIONS {
                    stage.request(version).await.unwrap();
                    journal::check(version, &stage.ended(version).await, &["request_headers> http_call = 2 untouched"]);
                    stage
                        .proxy
                        .logged(&["refused: the filter may not use it", "clusters: [callout]", version.listener])
                        .await;
                }
            },
        )
        .note("Envoy lets a filter call every cluster");
    table.http(
        "H19",
        "`proxy_get_status` outside of a callout's answer",
        "request_headers: get_status &4 &b",
        &["request_headers> get_status = 0 0 null:0"],
    );
    table.row("C22", "`proxy_on_http_call_response` once, with the numbers of headers, bytes and trailers", || async {
        let stage = Stage::http(format!("request_headers: {CALL} 5000 &4=token\nrequest_headers: return 1\nhttp_call_response: set_effective_context 2\nhttp_call_response: continue_stream 0")).start().await;
        stage.shows(&["http_call_response 1 * 6 5 1", "once http_call_response **"]).await;
    });
    for (id, title, cluster, path, timeout, expected) in [
        (
            "C22.timeout",
            "a callout that times out comes back with no headers",
            "callout",
            "/slow",
            50,
            "http_call_response 1 * 0 0 0",
        ),
        (
            "C22.refused",
            "a callout whose upstream refuses comes back with no headers",
            "nobody",
            "/",
            5000,
            "http_call_response 1 * 0 0 0",
        ),
    ] {
        table
            .row(id, title, move || async move {
                let stage = Stage::http(format!(
                    "request_headers: http_call \"{cluster}\" [:method=GET;:path={path};:authority=a] \"\" \"\" {timeout} &4\nrequest_headers: return 1\n\
                     http_call_response: get_header_map_pairs 6 &p\nhttp_call_response: set_effective_context 2\nhttp_call_response: continue_stream 0"
                ))
                .start()
                .await;
                for version in VERSIONS {
                    assert_eq!(stage.request(version).await.unwrap().status(), 200);
                    journal::check(version, &stage.ended(version).await, &[expected, "response_headers **"]);
                }
            })
            .note("as the specification has it; Envoy makes up a 503 or 504");
    }
    table.row(
        "C22.gone",
        "the answer to a callout whose stream has ended still reaches the plugin's context",
        || async {
            let stage = Stage::http(
                "request_headers: http_call \"callout\" [:method=GET;:path=/slow;:authority=a] \"\" \"\" 300 &4\n\
             http_call_response: set_effective_context 2",
            )
            .start()
            .await;
            for version in VERSIONS {
                stage.request(version).await.unwrap();
                let journal = stage.said(version.listener, "http_call_response> **").await;
                journal::check(
                    version,
                    &journal,
                    &["delete 2", "http_call_response 1 * 0 0 0", "http_call_response> set_effective_context = 2"],
                );
            }
        },
    );
    table.row("H21.tokens", "tokens are unique while an instance lives", || async {
        let stage = Stage::http(format!(
            "request_headers: {CALL} 5000 &4\nrequest_headers: {CALL} 5000 &4\nlog: {CALL} 5000 &4"
        ))
        .start()
        .await;
        for version in VERSIONS {
            stage.request(version).await.unwrap();
            let journal = stage.ended(version).await;
            let tokens: Vec<_> =
                journal.iter().filter_map(|line| line.split_once("> http_call = 0 ")).map(|(_, token)| token).collect();
            let distinct: std::collections::BTreeSet<_> = tokens.iter().collect();
            assert_eq!((tokens.len(), distinct.len()), (3, 3), "{journal:?}");
        }
    });
    table.row("H21.configure", "a callout from `proxy_on_configure` is answered once the plugin serves", || async {
        let stage = Stage::http(format!("configure: {CALL} 5000 &4")).start().await;
        for version in VERSIONS {
            let journal = stage.said(version.listener, "http_call_response 1 * 6 5 1").await;
            journal::check(version, &journal, &["configure> http_call = 0 *", "http_call_response 1 * 6 5 1"]);
        }
    });
    grpc(table);
}

fn grpc(table: &mut Table) {
    table.group("gRPC callouts");
    asks(
        table,
        "H22",
        "`proxy_grpc_call`: one message there, one back as `proxy_on_grpc_receive`, and no close",
        "request_headers: grpc_call \"grpc\" \"pkg.Service\" \"Echo\" [x-meta=m] \"question\" 5000 &4=token\nrequest_headers: return 1\n\
             grpc_receive_initial_metadata: get_header_map_value 4 \"x-initial\" &b\n\
             grpc_receive: get_buffer_bytes 5 0 100 &b\ngrpc_receive: set_effective_context 2\ngrpc_receive: continue_stream 0",
        &[
            "request_headers> grpc_call = 0 *",
            "grpc_receive 1 * 13",
            "grpc_receive> get_buffer_bytes = 0 \"question of m\"",
            "absent grpc_close **",
            "response_headers **",
        ],
    );
    asks(
        table,
        "C26",
        "`proxy_on_grpc_close` with the status of a call that failed; `proxy_get_status` (H19) has its message",
        "request_headers: grpc_call \"grpc\" \"pkg.Service\" \"Fail\" \"\" \"question\" 5000 &4\nrequest_headers: return 1\n\
             grpc_close: get_status &4 &b\ngrpc_close: set_effective_context 2\ngrpc_close: continue_stream 0",
        &["grpc_close 1 * 5", "grpc_close> get_status = 0 5 \"not here\"", "absent grpc_receive **"],
    );
    asks(
        table,
        "H22.empty",
        "a gRPC call that ends well without a message closes with INTERNAL (13): an empty message would say something",
        "request_headers: grpc_call \"grpc\" \"pkg.Service\" \"Empty\" \"\" \"question\" 5000 &4\nrequest_headers: return 1\n\
             grpc_close: set_effective_context 2\ngrpc_close: continue_stream 0",
        &["grpc_close 1 * 13", "absent grpc_receive **"],
    );
    asks(
        table,
        "H22.deadline",
        "a gRPC call that takes longer than its timeout closes with DEADLINE_EXCEEDED (4)",
        "request_headers: grpc_call \"grpc\" \"pkg.Service\" \"Hang\" \"\" \"question\" 50 &4\nrequest_headers: return 1\n\
             grpc_close: set_effective_context 2\ngrpc_close: continue_stream 0",
        &["grpc_close 1 * 4"],
    );
    table.row("H22.refused", "a gRPC call whose upstream refuses closes with UNAVAILABLE (14)", || async {
        let stage = Stage::http(
            "request_headers: grpc_call \"grpc\" \"pkg.Service\" \"Echo\" \"\" \"question\" 5000 &4\nrequest_headers: return 1\n\
             grpc_close: set_effective_context 2\ngrpc_close: continue_stream 0",
        )
        .start()
        .await;
        for version in VERSIONS {
            assert_eq!(stage.request(version).await.unwrap().status(), 200);
            journal::check(version, &stage.ended(version).await, &["grpc_close 1 * 14"]);
        }
    });
    table.http(
        "H22.unknown",
        "a gRPC call or stream to a cluster that there is not: PARSE_FAILURE",
        "request_headers: grpc_call \"unheard\" \"s\" \"m\" \"\" \"\" 1000 &4\nrequest_headers: grpc_stream \"unheard\" \"s\" \"m\" \"\" &4",
        &["request_headers> grpc_call = 4 untouched", "request_headers> grpc_stream = 4 untouched"],
    );
    chat(table);
    // The close that comes is the other call's.
    asks(
        table,
        "H25",
        "`proxy_grpc_cancel`: no callback comes any more",
        "request_headers: grpc_stream \"grpc\" \"pkg.Service\" \"Chat\" [x-meta=m] &4=token\nrequest_headers: grpc_send $token \"one\" 0\n\
             request_headers: return 1\ngrpc_receive: grpc_cancel $token\ngrpc_receive: grpc_send $token \"x\" 0\n\
             grpc_receive: grpc_call \"grpc\" \"pkg.Service\" \"Fail\" \"\" \"q\" 5000 &4=other\n\
             grpc_close: set_effective_context 2\ngrpc_close: continue_stream 0",
        &[
            "grpc_receive> grpc_cancel = 0",
            "grpc_receive> grpc_send = 1",
            "grpc_receive> grpc_call = 0 *",
            "grpc_close 1 * 5",
            "once grpc_close **",
            "once grpc_receive * * *",
        ],
    );
    table.row("H22.configure", "gRPC calls and streams from `proxy_on_configure` are made once the plugin serves", || async {
        let server = server::start().await;
        let stage = Stage::http(
            "configure: grpc_call \"grpc\" \"pkg.Service\" \"Echo\" [x-meta=m] \"question\" 5000 &4\n\
             configure: grpc_stream \"grpc\" \"pkg.Service\" \"Chat\" [x-meta=n] &4=token\nconfigure: grpc_send $token \"one\" 0\nconfigure: grpc_send $token \"two\" 0\n\
             configure: grpc_close $token\nconfigure: grpc_send $token \"three\" 0\n\
             configure: grpc_stream \"grpc\" \"pkg.Service\" \"Chat\" \"\" &4=other\nconfigure: grpc_cancel $other\nconfigure: grpc_send $other \"x\" 0\n\
             configure: grpc_call \"unheard\" \"s\" \"m\" \"\" \"\" 5000 &4\n\
             grpc_receive: get_buffer_bytes 5 0 100 &b",
        )
        .with_grpc(Some(server))
        .await;
        for version in VERSIONS {
            stage.said(version.listener, "grpc_receive> get_buffer_bytes = 0 \"question of m\"").await;
            let journal = stage.said(version.listener, "grpc_close 1 * 0").await;
            let expected = [
                "configure> grpc_call = 0 1",
                "configure> grpc_stream = 0 2",
                "configure> grpc_send = 0",
                "configure> grpc_send = 0",
                "configure> grpc_close = 0",
                "configure> grpc_send = 2",
                "configure> grpc_stream = 0 3",
                "configure> grpc_cancel = 0",
                "configure> grpc_send = 1",
                "configure> grpc_call = 4 untouched",
                "grpc_receive> get_buffer_bytes = 0 \"one of n\"",
                "grpc_receive> get_buffer_bytes = 0 \"two of n\"",
                "grpc_close 1 2 0",
            ];
            journal::check(version, &journal, &expected);
        }
    });
    table.http(
        "H24.unknown",
        "`proxy_grpc_send`, `proxy_grpc_cancel`, `proxy_grpc_close` with a token that there is not: NOT_FOUND",
        "request_headers: grpc_send 4711 \"x\" 0\nrequest_headers: grpc_cancel 4711\nrequest_headers: grpc_close 4711",
        &["request_headers> grpc_send = 1", "request_headers> grpc_cancel = 1", "request_headers> grpc_close = 1"],
    );
    table.row("H22.service", "a serialized `envoy.config.core.v3.GrpcService` names the cluster too", || async {
        let server = server::start().await;
        // envoy_grpc (1) { cluster_name (1): "grpc" }
        let stage = Stage::http(
            "request_headers: grpc_call \"\\x0a\\x06\\x0a\\x04grpc\" \"pkg.Service\" \"Echo\" [x-meta=m] \"q\" 5000 &4\nrequest_headers: return 1\n\
             grpc_receive: get_buffer_bytes 5 0 100 &b\ngrpc_receive: set_effective_context 2\ngrpc_receive: continue_stream 0",
        )
        .with_grpc(Some(server))
        .await;
        stage.request(LATEST).await.unwrap();
        journal::check(LATEST, &stage.ended(LATEST).await, &["grpc_receive> get_buffer_bytes = 0 \"q of m\""]);
    });
}

/// What the probe says while one request passes, with a gRPC server behind the cluster `grpc`.
fn asks(
    table: &mut Table,
    id: &'static str,
    title: &'static str,
    script: &'static str,
    expected: &'static [&'static str],
) {
    table.row(id, title, move || async move {
        let stage = Stage::http(script).with_grpc(Some(server::start().await)).await;
        for version in VERSIONS {
            assert_eq!(stage.request(version).await.unwrap().status(), 200);
            journal::check(version, &stage.ended(version).await, expected);
        }
    });
}

/// One stream, from its opening to its close, looked at row by row.
fn chat(table: &mut Table) {
    const SCRIPT: &str = "request_headers: grpc_stream \"grpc\" \"pkg.Service\" \"Chat\" [x-meta=m] &4=token\nrequest_headers: grpc_send $token \"one\" 0\n\
        request_headers: return 1\n\
        grpc_receive_initial_metadata: get_header_map_value 4 \"x-initial\" &b\n\
        grpc_receive: get_buffer_bytes 5 0 100 &b\ngrpc_receive@1: grpc_send $token \"two\" 0\ngrpc_receive@2: grpc_close $token\n\
        grpc_receive_trailing_metadata: get_header_map_value 5 \"x-trailing\" &b\n\
        grpc_close: get_status &4 &b\ngrpc_close: set_effective_context 2\ngrpc_close: continue_stream 0";
    let rows: [(&'static str, &'static str, &'static [&'static str]); 6] = [
        (
            "H23",
            "`proxy_grpc_stream` opens a stream with metadata, and ends with exactly one close",
            &["request_headers> grpc_stream = 0 *", "grpc_close 1 * 0", "once grpc_close 1 * 0"],
        ),
        (
            "C23",
            "`proxy_on_grpc_receive_initial_metadata` before the first message, readable as map 4",
            &[
                "once grpc_receive_initial_metadata **",
                "grpc_receive_initial_metadata 1 **",
                "grpc_receive_initial_metadata> get_header_map_value = 0 \"i\"",
                "grpc_receive 1 * 8",
            ],
        ),
        (
            "C24",
            "`proxy_on_grpc_receive` once for each message, readable as buffer 5",
            &[
                "grpc_receive 1 * 8",
                "grpc_receive> get_buffer_bytes = 0 \"one of m\"",
                "grpc_receive 1 * 8",
                "grpc_receive> get_buffer_bytes = 0 \"two of m\"",
            ],
        ),
        (
            "C25",
            "`proxy_on_grpc_receive_trailing_metadata` before the close, readable as map 5",
            &[
                "once grpc_receive_trailing_metadata **",
                "grpc_receive_trailing_metadata 1 **",
                "grpc_receive_trailing_metadata> get_header_map_value = 0 \"t\"",
                "grpc_close 1 * 0",
            ],
        ),
        (
            "H24",
            "`proxy_grpc_send` sends messages, from any callback",
            &[
                "request_headers> grpc_send = 0",
                "grpc_receive> get_buffer_bytes = 0 \"one of m\"",
                "grpc_receive> grpc_send = 0",
                "grpc_receive> get_buffer_bytes = 0 \"two of m\"",
            ],
        ),
        (
            "H26",
            "`proxy_grpc_close` ends our half; what the server still says arrives",
            &[
                "grpc_receive> grpc_close = 0",
                "grpc_receive_trailing_metadata 1 **",
                "grpc_close 1 * 0",
                "grpc_close> get_status = 0 0 **",
            ],
        ),
    ];
    for (id, title, expected) in rows {
        asks(table, id, title, SCRIPT, expected);
    }
}

/// A gRPC server: `Echo` and `Chat` answer each message with itself and the metadata, `Fail` with an error, `Empty` with nothing, `Hang` never.
mod server {
    use std::net::SocketAddr;

    use bytes::{Buf, Bytes, BytesMut};
    use http::{HeaderMap, Response};

    pub async fn start() -> SocketAddr {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(serve(request, respond));
                    }
                });
            }
        });
        address
    }

    async fn serve(request: http::Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
        let head = Response::builder().header("content-type", "application/grpc").header("x-initial", "i");
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        if method == "Fail" {
            let head = head.header("grpc-status", "5").header("grpc-message", "not%20here");
            let _ = respond.send_response(head.body(()).unwrap(), true);
            return;
        }
        if method == "Empty" {
            let _ = respond.send_response(head.header("grpc-status", "0").body(()).unwrap(), true);
            return;
        }
        let meta = request.headers().get("x-meta").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let mut body = request.into_body();
        if method == "Hang" {
            // Until the client gives up.
            while body.data().await.is_some_and(|data| data.is_ok()) {}
            std::future::pending::<()>().await;
        }
        let Ok(mut out) = respond.send_response(head.body(()).unwrap(), false) else { return };
        let mut held = BytesMut::new();
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
            held.extend_from_slice(&data);
            while held.len() >= 5 {
                let length = u32::from_be_bytes(held[1..5].try_into().unwrap()) as usize;
                if held.len() < 5 + length {
                    break;
                }
                held.advance(5);
                let answer = [&held.split_to(length)[..], b" of ", meta.as_bytes()].concat();
                let mut frame = vec![0];
                frame.extend_from_slice(&u32::try_from(answer.len()).unwrap().to_be_bytes());
                frame.extend_from_slice(&answer);
                if out.send_data(frame.into(), false).is_err() {
                    return;
                }
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("x-trailing", "t".parse().unwrap());
        let _ = out.send_trailers(trailers);
    }
}
