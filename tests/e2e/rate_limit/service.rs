//! Limits that a service decides which is not ours: what it is told, and what becomes of what it says.

mod outages;

use fyke_peers::RateLimitService;
use http::HeaderValue;
use serde_json::{Value, json};

use crate::support::{
    Conn, Launch, Message, Proxy, Upstream, eventually,
    h2::{Client, request, whole},
};

/// A machine that has much to do is no outage.
const PATIENT: &str = "timeout: 10s, failure_mode: closed";
const TENANT: &str = "{ name: tenant, global: true, key: [{ from: { request_header: x-tenant } }] }";

/// Everything that comes to `web` goes to `app`, behind rules that the service decides, and what comes to `free` without them. `global` and `filter` are
/// what else is said of the service and of the filter.
fn yaml(upstream: &Upstream, service: &RateLimitService, global: &str, filter: &str, rules: &str) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [rate-limit], cluster: app }}\n  free: {{ address: '127.0.0.1:0', cluster: app }}\n\
         filters:\n  rate-limit:\n    module: builtin:rate-limit\n    allow: {{ shared_data: true, clusters: [limits] }}\n    config:\n      \
         domain: shop\n      global: {{ cluster: limits, {global} }}\n      rules: [{rules}]\n{filter}\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n  limits: {{ protocol: http2, endpoints: ['127.0.0.1:{}'] }}\n",
        upstream.address, service.port
    )
}

/// Waits until it has been asked so often since it was last looked at.
async fn asked(service: &mut RateLimitService, count: usize) -> Vec<Value> {
    let mut asked = Vec::new();
    eventually(format!("{count} questions"), async || {
        asked.extend(service.asked());
        (asked.len() >= count).then_some(())
    })
    .await;
    assert_eq!(asked.len(), count, "{asked:#?}");
    asked
}

/// What a rule has counted, and how often.
async fn outcome(proxy: &Proxy, rule: &str, outcome: &str) -> f64 {
    proxy.metric("rate_limit_total", &[("rule", rule), ("outcome", outcome)]).await
}

/// Names and values of fields, of which each must be there once.
#[track_caller]
fn has(message: &Message, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        assert_eq!(message.all(name), [*value], "{name} of {message:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_arrive_as_they_are_configured() {
    let Some(mut service) = RateLimitService::start(json!({})) else { return };
    let upstream = Upstream::says("ok").await;
    let rules = "{ name: z, global: true, key: [{ from: { request_header: X-Tenant }, as: tenant }, { from: path, as: where }, { from: method }] }, \
                 { name: posts, global: true, when: [{ from: method, is: POST }], key: [{ from: method }] }, \
                 { name: all, global: true, key: [{ from: { value: everybody } }] }, \
                 { name: b, global: true, key: [{ from: { cookie: session } }, { from: { query: key } }, { from: { masked_address: { ipv4: 8 } } }] }, \
                 { name: local, key: [{ from: path }], limit: 1000/s }, \
                 { name: a, global: true, key: [{ from: { request_header: x-plan }, default: none, as: plan }, \
                 { from: { request_header: user-agent }, regex: '^([A-Za-z]+)/', lower_case: true, as: agent }] }, \
                 { name: absent, global: true, key: [{ from: { value: v } }, { from: { request_header: x-absent } }] }";
    let proxy = Launch::new(yaml(&upstream, &service, &format!("domain: edge, {PATIENT}"), "", rules)).start().await;
    let headers = "x-tenant: blue\r\ncookie: a=b; session=s1\r\nuser-agent: Curl/8.5\r\n";
    assert_eq!(proxy.get_with("/things?x=y&key=a%20b", headers).await.status(), 200);
    let questions = asked(&mut service, 1).await;
    assert_eq!((&questions[0]["domain"], &questions[0]["hits_addend"]), (&json!("edge"), &json!(1)));
    let entries: Vec<&Value> =
        questions[0]["descriptors"].as_array().unwrap().iter().map(|one| &one["entries"]).collect();
    let expected = [
        json!([["tenant", "blue"], ["where", "/things"], ["method", "GET"]]),
        json!([["generic_key", "everybody"]]),
        json!([["session", "s1"], ["key", "a b"], ["masked_remote_address", "127.0.0.0/8"]]),
        json!([["plan", "none"], ["agent", "curl"]]),
    ];
    assert_eq!(entries, expected.iter().collect::<Vec<_>>());
    for descriptor in questions[0]["descriptors"].as_array().unwrap() {
        assert_eq!((&descriptor["limit"], &descriptor["hits_addend"]), (&Value::Null, &Value::Null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_told_the_beginning_of_long_values_and_text_only() {
    let Some(mut service) = RateLimitService::start(json!({})) else { return };
    let upstream = Upstream::says("ok").await;
    let proxy = Launch::new(yaml(&upstream, &service, PATIENT, "", TENANT)).start().await;
    // The cut goes through a letter of two bytes.
    let long = format!("a{}", "\u{e9}".repeat(4096));
    assert_eq!(proxy.get_with("/", &format!("x-tenant: {long}\r\n")).await.status(), 200);
    let mut conn = proxy.connect().await;
    conn.send(b"GET / HTTP/1.1\r\nhost: test.example\r\nx-tenant: b\xff\xfe\r\n\r\n").await;
    assert_eq!(conn.response("GET").await.status(), 200);
    let questions = asked(&mut service, 2).await;
    let value = |at: usize| questions[at]["descriptors"][0]["entries"][0][1].as_str().unwrap().to_owned();
    assert_eq!(value(0), format!("a{}\u{fffd}", "\u{e9}".repeat(511)));
    assert_eq!(value(1), "b\u{fffd}\u{fffd}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_costs_is_what_it_is_charged() {
    let limits = json!({ "limits": { "one": [10, "DAY"], "two": [5, "DAY"] } });
    let Some(mut service) = RateLimitService::start(limits) else { return };
    let upstream = Upstream::says("ok").await;
    let rules = "{ name: one, global: true, key: [{ from: { value: v }, as: one }], cost: { from: { request_header: x-cost }, maximum: 6 } }, \
                 { name: two, global: true, when: [{ from: path, is: /two }], key: [{ from: { value: v }, as: two }], cost: 3 }";
    let proxy =
        Launch::new(yaml(&upstream, &service, PATIENT, "      answer: { x_ratelimit: always }\n", rules)).start().await;
    // The path, the header, what is answered, and what remains of the limit that leaves less.
    let requests = [
        ("/", "x-cost: 4\r\n", 200, "6"),
        // At most six, of which there are six.
        ("/", "x-cost: 7000000000\r\n", 200, "0"),
        ("/", "", 429, "0"),
        ("/", "x-cost: many\r\n", 429, "0"),
    ];
    for (path, header, status, left) in requests {
        let answer = proxy.get_with(path, header).await;
        assert_eq!((answer.status(), answer.header("x-ratelimit-remaining")), (status, Some(left)), "{header}");
    }
    let questions = asked(&mut service, requests.len()).await;
    assert_eq!(questions.iter().map(|one| one["hits_addend"].clone()).collect::<Vec<_>>(), [4, 6, 1, 1]);
    assert!(questions.iter().all(|one| one["descriptors"][0]["hits_addend"].is_null()), "{questions:#?}");

    // Each rule has a cost of its own: so has each descriptor.
    service.say(&json!({ "limits": { "two": [5, "DAY"] } }));
    for (header, status, left) in [("x-cost: 2\r\n", 200, "2"), ("", 429, "2")] {
        let answer = proxy.get_with("/two", header).await;
        assert_eq!((answer.status(), answer.header("x-ratelimit-remaining")), (status, Some(left)), "{header}");
    }
    let questions = asked(&mut service, 2).await;
    for (question, costs) in questions.iter().zip([[2, 3], [1, 3]]) {
        let told: Vec<&Value> =
            question["descriptors"].as_array().unwrap().iter().map(|one| &one["hits_addend"]).collect();
        assert_eq!((told, question["hits_addend"].as_u64()), (vec![&json!(costs[0]), &json!(costs[1])], Some(0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_s_limit_goes_along_and_takes_the_place_of_the_service_s() {
    let limits = json!({ "limits": { "d": [1, "SECOND"], "x": [50, "HOUR"] } });
    let Some(mut service) = RateLimitService::start(limits) else { return };
    let upstream = Upstream::says("ok").await;
    // The last is of a span that the protocol has no word for.
    let rates = [("s", "7/s"), ("m", "8/m"), ("h", "9/h"), ("d", "3/d"), ("x", "2/10m")];
    let rules: Vec<String> = rates
        .iter()
        .map(|(name, rate)| {
            format!("{{ name: {name}, global: true, when: [{{ from: path, is: /{name} }}], key: [{{ from: {{ value: v }}, as: {name} }}], limit: {rate} }}")
        })
        .collect();
    let proxy = Launch::new(yaml(&upstream, &service, PATIENT, "", &rules.join(", "))).start().await;
    let policies = ["\"s\";q=7;w=1", "\"m\";q=8;w=60", "\"h\";q=9;w=3600", "\"d\";q=3;w=86400", "\"x\";q=50;w=3600"];
    for ((name, _), policy) in rates.iter().zip(policies) {
        let answer = proxy.get(&format!("/{name}")).await;
        assert_eq!(answer.status(), 200);
        has(&answer, &[("ratelimit-policy", policy)]);
    }
    let told: Vec<Value> =
        asked(&mut service, 5).await.iter().map(|one| one["descriptors"][0]["limit"].clone()).collect();
    assert_eq!(told, [json!([7, "SECOND"]), json!([8, "MINUTE"]), json!([9, "HOUR"]), json!([3, "DAY"]), Value::Null]);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(proxy.get("/d").await.status());
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_says_reaches_upstream_and_client() {
    let settings = json!({
        "limits": { "x-tenant": [2, "HOUR"], "path": [100, "MINUTE"] },
        "request_headers": { "x-class": "gold", "x-tenant": "blue-1" },
        "response_headers": { "x-served-by": "limits", "x-hint": "later" },
        "body": "{\"slower\":true}",
        "reset": [29, 1],
    });
    let Some(mut service) = RateLimitService::start(settings) else { return };
    let upstream = Upstream::says("ok").await;
    let rules = format!("{{ name: paths, global: true, key: [{{ from: path }}] }}, {TENANT}");
    let answer = "      answer: { x_ratelimit: always, content_type: application/json, headers: { x-own: a } }\n";
    let proxy = Launch::new(yaml(&upstream, &service, PATIENT, answer, &rules)).start().await;
    let tenant = "x-tenant: blue\r\nx-class: none\r\n";
    for left in ["1", "0"] {
        let answer = proxy.get_with("/", tenant).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
        // Of the two limits it is told of the one that leaves less.
        let ratelimit = format!("\"tenant\";r={left};t=30");
        has(
            &answer,
            &[
                ("x-served-by", "limits"),
                ("x-hint", "later"),
                ("x-ratelimit-limit", "2"),
                ("x-ratelimit-remaining", left),
                ("x-ratelimit-reset", "30"),
                ("ratelimit-policy", "\"tenant\";q=2;w=3600"),
                ("ratelimit", &ratelimit),
            ],
        );
        assert_eq!((answer.header("retry-after"), answer.header("x-own")), (None, None));
        has(&upstream.last(), &[("x-class", "gold"), ("x-tenant", "blue-1")]);
    }
    let refused = proxy.get_with("/", tenant).await;
    assert_eq!((refused.status(), refused.text().as_str()), (429, "{\"slower\":true}"));
    has(
        &refused,
        &[
            ("content-type", "application/json"),
            ("x-own", "a"),
            ("x-served-by", "limits"),
            ("x-hint", "later"),
            ("x-ratelimit-limit", "2"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "30"),
            ("ratelimit", "\"tenant\";r=0;t=30"),
            ("retry-after", "30"),
        ],
    );
    assert_eq!(upstream.seen().len(), 2);
    assert_eq!(outcome(&proxy, "tenant", "over").await, 1.0);
    // Without a body of its own there is the filter's.
    service.say(&json!({ "body": "", "response_headers": {} }));
    let refused = proxy.get_with("/", tenant).await;
    assert_eq!((refused.status(), refused.text().as_str()), (429, "rate limited"));
    assert_eq!(refused.header("x-served-by"), None);
    // Others have a limit of their own.
    assert_eq!(proxy.get_with("/", "x-tenant: red\r\n").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_grpc_are_told_that_it_is_exhausted() {
    let settings = json!({ "limits": { "x-tenant": [0, "HOUR"] }, "response_headers": { "x-served-by": "limits" } });
    let Some(service) = RateLimitService::start(settings) else { return };
    let upstream = Upstream::says("ok").await;
    for (filter, code) in [("", "8"), ("      answer: { grpc_resource_exhausted: false }\n", "14")] {
        let proxy = Launch::new(yaml(&upstream, &service, PATIENT, filter, TENANT)).start().await;
        let mut client = Client::to(proxy.web()).await;
        let mut call = request("POST", "/pkg.Service/Method");
        call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        call.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        call.headers_mut().insert("x-tenant", HeaderValue::from_static("blue"));
        let (response, _) = client.begin(call, true).await;
        let answer = whole(response).await.unwrap();
        assert_eq!((answer.status, &answer.headers["grpc-status"]), (200, &HeaderValue::from_static(code)));
        assert_eq!(
            (&answer.headers["x-served-by"], &answer.headers["retry-after"]),
            (&HeaderValue::from_static("limits"), &HeaderValue::from_static("60"))
        );
        assert!(answer.body.is_empty());
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_that_mean_nothing_let_through() {
    let Some(mut service) = RateLimitService::start(json!({ "limits": { "x-tenant": [0, "HOUR"] } })) else { return };
    let upstream = Upstream::says("ok").await;
    let proxy = Launch::new(yaml(&upstream, &service, PATIENT, "", TENANT)).start().await;
    assert_eq!(proxy.get_with("/", "x-tenant: a\r\n").await.status(), 429);
    // UNKNOWN, and what there is not, of the whole and of the descriptor.
    for (overall, code) in [(0, 0), (3, 3), (99, -1), (-2, i32::MAX)] {
        service.say(&json!({ "overall": overall, "codes": [code] }));
        assert_eq!(proxy.get_with("/", "x-tenant: a\r\n").await.status(), 200, "{overall}, {code}");
    }
    assert_eq!(outcome(&proxy, "tenant", "error").await, 0.0);
    assert_eq!(outcome(&proxy, "tenant", "over").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overall_code_counts_where_there_is_none_for_each_descriptor() {
    let Some(mut service) = RateLimitService::start(json!({})) else { return };
    let upstream = Upstream::says("ok").await;
    let rules = format!("{{ name: paths, global: true, key: [{{ from: path }}] }}, {TENANT}");
    let proxy = Launch::new(yaml(&upstream, &service, PATIENT, "", &rules)).start().await;
    for codes in [json!([]), json!([1])] {
        for (overall, status) in [(2, 429), (1, 200), (0, 200)] {
            service.say(&json!({ "overall": overall, "codes": codes }));
            assert_eq!(
                proxy.get_with("/", "x-tenant: a\r\n").await.status(),
                status,
                "{overall} with the statuses {codes}"
            );
        }
    }
    assert_eq!(outcome(&proxy, "tenant", "error").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overall_code_is_what_counts_as_it_does_in_envoy() {
    let Some(mut service) = RateLimitService::start(json!({})) else { return };
    let upstream = Upstream::says("ok").await;
    let proxy = Launch::new(yaml(&upstream, &service, PATIENT, "", TENANT)).start().await;
    let mut statuses = Vec::new();
    // A service that is a shadow as a whole says OK, and of each descriptor what it is; another may refuse what no descriptor of its own is about.
    for (overall, code) in [(1, 2), (2, 1)] {
        service.say(&json!({ "overall": overall, "codes": [code] }));
        statuses.push((overall, code, proxy.get_with("/", "x-tenant: a\r\n").await.status()));
    }
    assert_eq!(statuses, [(1, 2, 200), (2, 1, 429)], "overall, of the descriptor, and what was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_asked_about_and_refuses_nobody() {
    let limits = json!({ "limits": { "path": [1, "DAY"], "x-tenant": [3, "DAY"] } });
    let Some(mut service) = RateLimitService::start(limits) else { return };
    let upstream = Upstream::says("ok").await;
    let rules = format!("{{ name: paths, global: true, shadow: true, key: [{{ from: path }}] }}, {TENANT}");
    let proxy = Launch::new(yaml(&upstream, &service, PATIENT, "", &rules)).start().await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(proxy.get_with("/", "x-tenant: a\r\n").await.status());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    for question in asked(&mut service, 5).await {
        let entries: Vec<&Value> =
            question["descriptors"].as_array().unwrap().iter().map(|one| &one["entries"][0][0]).collect();
        assert_eq!(entries, ["path", "x-tenant"]);
    }
    assert_eq!((outcome(&proxy, "paths", "shadow").await, outcome(&proxy, "paths", "over").await), (4.0, 0.0));
    assert_eq!(outcome(&proxy, "tenant", "over").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_what_it_counts_to_the_last_request() {
    let Some(service) = RateLimitService::start(json!({ "limits": { "x-tenant": [20, "DAY"] } })) else { return };
    let upstream = Upstream::says("ok").await;
    let (one, other) = super::two(&yaml(&upstream, &service, PATIENT, "", TENANT)).await;
    let tenant = "x-tenant: a\r\n";
    let both = tokio::join!(super::admitted(&one, 4, 10, tenant), super::admitted(&other, 4, 10, tenant));
    assert_eq!(both.0 + both.1, 20, "{both:?}");
    assert_eq!(upstream.seen().len(), 20);
    assert_eq!(outcome(&one, "tenant", "error").await + outcome(&other, "tenant", "error").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_tcp_are_closed_when_it_says_so() {
    let Some(mut service) = RateLimitService::start(json!({ "limits": { "remote_address": [2, "DAY"] } })) else {
        return;
    };
    let upstream = Upstream::says("ok").await;
    let rule = "{ name: clients, global: true, key: [{ from: remote_address }] }";
    let yaml = yaml(&upstream, &service, PATIENT, "", rule)
        .replace("filters: [rate-limit], cluster", "protocol: tcp, filters: [rate-limit], cluster");
    let proxy = Launch::new(yaml).start().await;
    for _ in 0..2 {
        assert_eq!(proxy.get("/").await.text(), "ok");
    }
    let mut conn = Conn::to(proxy.web()).await;
    assert!(conn.closed().await);
    for question in asked(&mut service, 3).await {
        assert_eq!(question["descriptors"][0]["entries"], json!([["remote_address", "127.0.0.1"]]));
    }
    assert_eq!(upstream.seen().len(), 2);
}
