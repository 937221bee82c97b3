//! The protocol, as a client meets it.

use std::time::Duration;

use fyke_ratelimit_service::messages::{
    Code, CurrentLimit, RateLimitDescriptor, RateLimitOverride, RateLimitRequest, RateLimitResponse, ServingStatus,
    Unit,
};
use fyke_ratelimit_service::{OverLimitHits, Serves};

use super::client::{Client, descriptor, metric, request, with_hits};
use super::{Running, Stopped, listener};

const RULES: &str = "
domain: edge
descriptors:
- key: user
  rate_limit: { unit: minute, requests_per_unit: 10, name: per-user }
- key: user
  value: banned
  rate_limit: { unit: second, requests_per_unit: 0 }
- key: user
  value: watched
  shadow_mode: true
  rate_limit: { unit: minute, requests_per_unit: 1 }
- key: free
  rate_limit: { unlimited: true }
- key: path
  rate_limit: { unit: day, requests_per_unit: 3 }
- key: special
  rate_limit: { unit: minute, requests_per_unit: 100, replaces: [{ name: per-user }] }
- key: even
  rate_limit: { unit: second, requests_per_unit: 1, algorithm: gcra, burst: 2 }
";

/// Code, limit, what is left, and seconds until the reset.
fn status(response: &RateLimitResponse, at: usize) -> (Code, u32, u32, i64) {
    let status = &response.statuses[at];
    let limit = status.current_limit.as_ref().map_or(0, |limit| limit.requests_per_unit);
    (status.code(), limit, status.limit_remaining, status.duration_until_reset.map_or(-1, |reset| reset.seconds))
}

#[tokio::test]
async fn each_descriptor_has_a_status_and_one_over_its_limit_is_enough() {
    let clock = Stopped::new();
    let running = Running::with_env(RULES, clock.env(), |_| {}).await;
    let client = Client::connect(running.address()).await;
    // 1700000000 is 20 s into its minute, and 22:13:20 of its day.
    let both = request("edge", &[&[("user", "u")], &[("path", "/")], &[("free", "f")], &[("nothing", "n")]]);
    for left in [2, 1, 0] {
        let response = client.ask(both.clone()).await.unwrap();
        assert_eq!(response.overall_code(), Code::Ok);
        assert_eq!(status(&response, 0), (Code::Ok, 10, 7 + left, 40));
        assert_eq!(status(&response, 1), (Code::Ok, 3, left, 6400));
        assert_eq!(status(&response, 2), (Code::Ok, 0, u32::MAX, -1));
        assert_eq!(status(&response, 3), (Code::Ok, 0, 0, -1));
    }
    let response = client.ask(both).await.unwrap();
    assert_eq!(response.overall_code(), Code::OverLimit);
    assert_eq!(status(&response, 0), (Code::Ok, 10, 6, 40), "each descriptor is counted by itself");
    assert_eq!(status(&response, 1), (Code::OverLimit, 3, 0, 6400));
    let limit = CurrentLimit { requests_per_unit: 10, unit: Unit::Minute.into(), name: "per-user".to_owned() };
    assert_eq!(response.statuses[0].current_limit, Some(limit));
    assert_eq!(response.response_headers_to_add, []);
    clock.advance(Duration::from_secs(40));
    let response = client.ask(request("edge", &[&[("user", "u")]])).await.unwrap();
    assert_eq!(status(&response, 0), (Code::Ok, 10, 9, 60), "a new minute");
}

#[tokio::test]
async fn the_number_of_hits_is_of_the_descriptor_or_else_of_the_request() {
    let running = Running::with_env(RULES, Stopped::new().env(), |_| {}).await;
    let client = Client::connect(running.address()).await;
    let ask = async |hits_addend, descriptor: RateLimitDescriptor| {
        let request = RateLimitRequest { domain: "edge".to_owned(), descriptors: vec![descriptor], hits_addend };
        let response = client.ask(request).await.unwrap();
        (response.overall_code(), response.statuses[0].limit_remaining)
    };
    let user = [("user", "u")];
    assert_eq!(ask(0, descriptor(&user)).await, (Code::Ok, 9), "zero of the request is one");
    assert_eq!(ask(4, descriptor(&user)).await, (Code::Ok, 5));
    assert_eq!(ask(4, with_hits(&user, 2)).await, (Code::Ok, 3));
    assert_eq!(ask(4, with_hits(&user, 0)).await, (Code::Ok, 3), "zero of the descriptor only looks");
    assert_eq!(ask(0, with_hits(&user, 3)).await, (Code::Ok, 0));
    assert_eq!(ask(0, with_hits(&user, 0)).await, (Code::Ok, 0), "nothing more fits, but nothing more comes");
    assert_eq!(ask(0, with_hits(&user, 500)).await, (Code::OverLimit, 0));
    assert_eq!(ask(0, with_hits(&user, 0)).await, (Code::OverLimit, 0), "what was reported counts");
}

#[tokio::test]
async fn shadows_bans_replacements_and_gcra() {
    let clock = Stopped::new();
    let running = Running::with_env(RULES, clock.env(), |_| {}).await;
    let client = Client::connect(running.address()).await;
    assert!(!client.passes("edge", &[("user", "banned")]).await);
    for _ in 0..3 {
        assert!(client.passes("edge", &[("user", "watched")]).await);
    }
    let shadow = "ratelimit_service_rate_limit_shadow_mode{domain=\"edge\",key1=\"user_watched\"}";
    assert_eq!(metric(&running.handle.metrics(), shadow), Some(2.0));

    let replaced = client.ask(request("edge", &[&[("user", "u")], &[("special", "s")]])).await.unwrap();
    assert_eq!(status(&replaced, 0), (Code::Ok, 0, 0, -1), "the limit named per-user does not apply");
    assert_eq!(status(&replaced, 1), (Code::Ok, 100, 99, 40));

    let even = [("even", "e")];
    let passed = [client.passes("edge", &even).await, client.passes("edge", &even).await];
    assert_eq!((passed, client.passes("edge", &even).await), ([true, true], false));
    clock.advance(Duration::from_secs(1));
    assert_eq!([client.passes("edge", &even).await, client.passes("edge", &even).await], [true, false]);
}

#[tokio::test]
async fn a_descriptor_may_bring_its_own_limit() {
    let running = Running::with_env(RULES, Stopped::new().env(), |_| {}).await;
    let client = Client::connect(running.address()).await;
    let ask = async |domain: &str, unit: i32| {
        let limit = Some(RateLimitOverride { requests_per_unit: 2, unit });
        let descriptors = vec![RateLimitDescriptor { limit, ..descriptor(&[("any", "thing")]) }];
        client.ask(RateLimitRequest { domain: domain.to_owned(), descriptors, hits_addend: 0 }).await
    };
    let hour = Unit::Hour.into();
    assert_eq!(status(&ask("edge", hour).await.unwrap(), 0), (Code::Ok, 2, 1, 2800));
    assert_eq!(ask("edge", hour).await.unwrap().overall_code(), Code::Ok);
    assert_eq!(ask("edge", hour).await.unwrap().overall_code(), Code::OverLimit);
    assert_eq!(status(&ask("unknown", hour).await.unwrap(), 0), (Code::Ok, 0, 0, -1), "a domain without rules");
    assert_eq!(ask("edge", 0).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    assert_eq!(ask("edge", 99).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    let over = "ratelimit_service_rate_limit_over_limit{domain=\"edge\",key1=\"any\"}";
    assert_eq!(metric(&running.handle.metrics(), over), Some(1.0), "by keys, not by values");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let running = Running::with(RULES, |settings| settings.limits.descriptors = 3).await;
    let client = Client::connect(running.address()).await;
    let code = async |request| client.ask(request).await.map(|_| ()).unwrap_err().code();
    assert_eq!(code(request("", &[&[("user", "u")]])).await, tonic::Code::InvalidArgument);
    assert_eq!(code(request("edge", &[])).await, tonic::Code::InvalidArgument);
    assert_eq!(code(request("edge", &[&[][..]; 4])).await, tonic::Code::InvalidArgument);
    let entries = [("k", "v"); 33];
    assert_eq!(code(request("edge", &[&entries])).await, tonic::Code::InvalidArgument);
    let long = "x".repeat(70_000);
    assert_eq!(code(request("edge", &[&[("user", &long)]])).await, tonic::Code::ResourceExhausted);
    let unknown =
        client.call::<_, RateLimitResponse>("/envoy.service.ratelimit.v3.RateLimitService/Other", request("edge", &[]));
    assert_eq!(unknown.await.unwrap_err().code(), tonic::Code::Unimplemented);
    assert!(client.passes("edge", &[("user", "u")]).await, "the connection goes on");
    let errors = "ratelimit_service_should_rate_limit_error{err_type=\"service_error\"}";
    assert_eq!(metric(&running.handle.metrics(), errors), Some(5.0));
}

#[tokio::test]
async fn health_and_the_end() {
    let mut running = Running::with(RULES, |_| {}).await;
    let client = Client::connect(running.address()).await;
    for service in ["", "ratelimit", "envoy.service.ratelimit.v3.RateLimitService"] {
        assert_eq!(client.health(service).await.unwrap().status(), ServingStatus::Serving);
    }
    assert_eq!(client.health("other").await.unwrap_err().code(), tonic::Code::NotFound);
    running.stop();
    running.ended().await;
    assert!(!running.handle.health().is_serving);
    let refused = tokio::net::TcpStream::connect(running.address()).await;
    assert!(refused.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn headers_for_the_downstream_are_those_of_what_is_tightest() {
    let change = |settings: &mut fyke_ratelimit_service::Settings| settings.response_headers.enabled = true;
    let running = Running::with_env(RULES, Stopped::new().env(), change).await;
    let client = Client::connect(running.address()).await;
    let headers = async |descriptors: &[&[(&str, &str)]]| {
        let response = client.ask(request("edge", descriptors)).await.unwrap();
        let headers = response.response_headers_to_add.iter();
        headers.map(|header| format!("{}: {}", header.key, header.value)).collect::<Vec<_>>().join(", ")
    };
    let path = headers(&[&[("user", "u")], &[("path", "/")], &[("nothing", "n")]]).await;
    assert_eq!(path, "x-ratelimit-limit: 3, x-ratelimit-remaining: 2, x-ratelimit-reset: 6400");
    let banned = headers(&[&[("user", "banned")], &[("path", "/")]]).await;
    assert_eq!(banned, "x-ratelimit-limit: 0, x-ratelimit-remaining: 0, x-ratelimit-reset: 1");
    assert_eq!(headers(&[&[("nothing", "n")]]).await, "");
}

#[tokio::test]
async fn the_service_may_be_in_shadow_mode_as_a_whole() {
    let running = Running::with(RULES, |settings| settings.shadow_mode = true).await;
    let client = Client::connect(running.address()).await;
    let response = client.ask(request("edge", &[&[("user", "banned")]])).await.unwrap();
    assert_eq!((response.overall_code(), response.statuses[0].code()), (Code::Ok, Code::OverLimit));
    assert_eq!(metric(&running.handle.metrics(), "ratelimit_service_global_shadow_mode"), Some(1.0));
}

#[tokio::test]
async fn hits_that_are_refused_may_leave_all_counters_alone() {
    let change = |settings: &mut fyke_ratelimit_service::Settings| settings.over_limit_hits = OverLimitHits::Ignore;
    let running = Running::with_env(RULES, Stopped::new().env(), change).await;
    let client = Client::connect(running.address()).await;
    let refused = client.ask(request("edge", &[&[("user", "u")], &[("user", "banned")]])).await.unwrap();
    assert_eq!(refused.overall_code(), Code::OverLimit);
    assert_eq!(status(&refused, 0), (Code::Ok, 10, 10, 40), "nothing was counted");
    let alone = client.ask(request("edge", &[&[("user", "u")]])).await.unwrap();
    assert_eq!(status(&alone, 0), (Code::Ok, 10, 9, 40));
}

#[tokio::test]
async fn a_listener_serves_only_what_it_is_to() {
    let running = Running::with(RULES, |settings| {
        let (mut asked, mut admin) = (listener(), listener());
        asked.serves = [Serves::Grpc].into();
        admin.serves = [Serves::Admin].into();
        settings.listeners = vec![asked, admin];
    })
    .await;
    let [asked, admin] = running.addresses[..] else { panic!() };
    assert!(Client::connect(asked).await.passes("edge", &[("user", "u")]).await);
    let refused = Client::connect(admin).await.ask(request("edge", &[&[("user", "u")]])).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented, "{refused}");
    let status = async |address, path| super::client::get(address, path).await.status;
    assert_eq!([status(asked, "/metrics").await, status(admin, "/metrics").await], [404, 200]);
    assert_eq!([status(asked, "/healthcheck").await, status(admin, "/healthcheck").await], [200, 200]);
    let health = async |address| super::client::get(address, "/healthcheck").await.body;
    assert_eq!((health(asked).await.as_str(), health(admin).await.lines().count()), ("OK\n", 3));
    assert_eq!([status(asked, "/rlconfig").await, status(admin, "/json").await], [404, 404]);
}
