//! The description of the endpoint, and whether what it answers is as described.

use serde_json::{Value, json};

use crate::chain::{chain, official};
use crate::support::{Proxy, Upstream};

/// What a description says of answers with 200: content types, and their schemas.
fn contents(operation: &Value) -> Vec<(String, Value)> {
    let contents = operation["responses"]["200"]["content"].as_object().unwrap();
    contents.iter().map(|(kind, content)| (kind.clone(), content["schema"].clone())).collect()
}

#[tokio::test]
async fn every_page_answers_as_it_is_described() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(chain(upstream.address, &[("f", official("tag a", ""))])).await;
    proxy.get("/").await;
    assert_eq!(proxy.act("/v1/reload", "").await.0, 200);
    let answer = proxy.ask("/v1/openapi.json").await;
    assert_eq!((answer.status(), answer.header("content-type")), (200, Some("application/json")));
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut seen = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let Some(operation) = methods.get("get") else { continue };
        // It needs the token, and lasts.
        if path == "/v1/tap" {
            continue;
        }
        let parameters = operation["parameters"].as_array();
        let formatted = parameters.is_some_and(|all| all.iter().any(|one| one["name"] == "format"));
        let question = match path.as_str() {
            "/v1/explain" => format!("?url=http://{}/", proxy.web()),
            _ if formatted => "?format=json".to_owned(),
            _ => String::new(),
        };
        let asked = path.replace("{name}", "f") + &question;
        let answer = proxy.ask(&asked).await;
        assert_eq!(answer.status(), 200, "{asked}: {}", answer.text());
        let kind = answer.header("content-type").unwrap().split(';').next().unwrap();
        let described = contents(operation).into_iter().find(|(known, _)| known == kind);
        let Some((_, schema)) = described else { panic!("{asked} answers with {kind}, which is not described") };
        if kind == "application/json" {
            let whole = json!({ "$ref": schema["$ref"], "components": document["components"] });
            let validator = jsonschema::validator_for(&whole).unwrap();
            let value: Value = serde_json::from_slice(&answer.body).unwrap();
            let errors: Vec<String> =
                validator.iter_errors(&value).map(|error| format!("{error} at {}", error.instance_path())).collect();
            assert!(errors.is_empty(), "{asked}: {errors:#?}\n{value:#}");
        }
        seen += 1;
    }
    assert!(seen >= 14, "only {seen} pages are described");
}

#[tokio::test]
async fn versions_are_the_same_pages_and_probes_have_none() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    for page in ["/config", "/generations", "/filters", "/ready"] {
        assert_eq!(proxy.ask(page).await.body, proxy.ask(&format!("/v1{page}")).await.body, "{page}");
    }
    assert_eq!(proxy.ask("/live").await.text(), "live\n");
    for (path, status) in [("/v2/config", 404), ("/v1", 404), ("/v1/nothing", 404), ("/events", 404)] {
        assert_eq!(proxy.ask(path).await.status(), status, "{path}");
    }
    let (status, _) = proxy.act("/v1/rollback?to=99", "").await;
    assert_eq!(status, 404);
}
