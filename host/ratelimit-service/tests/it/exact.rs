//! However many ask, a limit of L lets exactly L pass.

use std::time::Duration;

use fyke_ratelimit_service::messages::{Code, RateLimitRequest};

use super::client::{Client, request, with_hits};
use super::{Running, Stopped};

const RULES: &str = "
domain: d
descriptors:
- key: k
  rate_limit: { unit: minute, requests_per_unit: 500 }
- key: even
  rate_limit: { unit: minute, requests_per_unit: 500, algorithm: gcra, burst: 200 }
";

/// Asks `requests` times over several connections, and says how many passed.
pub async fn passed(clients: &[Client], requests: usize, request: &RateLimitRequest) -> usize {
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..requests {
        let (client, request) = (clients[at % clients.len()].clone(), request.clone());
        tasks.spawn(async move { client.ask(request).await.unwrap().overall_code() == Code::Ok });
    }
    tasks.join_all().await.into_iter().filter(|passed| *passed).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_the_limit_passes_in_each_window() {
    let clock = Stopped::new();
    let running = Running::with_env(RULES, clock.env(), |_| {}).await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        clients.push(Client::connect(running.address()).await);
    }
    let ask = request("d", &[&[("k", "v")]]);
    assert_eq!(passed(&clients, 1_200, &ask).await, 500);
    assert_eq!(passed(&clients, 100, &ask).await, 0);
    clock.advance(Duration::from_secs(60));
    assert_eq!(passed(&clients, 1_200, &ask).await, 500);

    let three = RateLimitRequest { descriptors: vec![with_hits(&[("k", "other")], 3)], ..ask };
    assert_eq!(passed(&clients, 400, &three).await, 166, "and no part of what does not fit");

    let even = request("d", &[&[("even", "v")]]);
    assert_eq!(passed(&clients, 600, &even).await, 200);
    clock.advance(Duration::from_secs(6));
    assert_eq!(passed(&clients, 600, &even).await, 50);
}
