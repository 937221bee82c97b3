//! How a registry wants to be asked: with a password, or with a token from a service that it names.

use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
use http_auth::ChallengeParser;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{
    answer::Answer,
    client::{Client, Request},
    credentials::{Credentials, secret},
    error::SourceError,
};
use crate::config::module::{Reference, Url};

/// More is no answer with a token.
const LIMIT: usize = 1 << 20;

/// What a 401 asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// What to authorize the next request with, after an answer of 401. `Err` in `credentials`: why there are none.
pub(super) async fn authorize(
    client: &Client,
    reference: &Reference,
    answer: &Answer,
    credentials: &Result<Credentials, String>,
) -> Result<HeaderValue, SourceError> {
    let refused = |reason: String| SourceError::Unauthorized { at: answer.url.to_string(), reason };
    let broken = || refused(format!("the credentials for {} are not fit for a header", reference.registry()));
    match challenge(&answer.headers) {
        None => {
            Err(refused("the registry does not say how to authenticate, or in no way that is supported".to_owned()))
        }
        Some(Challenge::Basic) => match credentials {
            Ok(Credentials::Basic(pair)) => Credentials::basic(pair).ok_or_else(broken),
            Ok(Credentials::Identity(_)) => {
                Err(refused("the registry wants a password, and there is a token only".to_owned()))
            }
            Err(reason) => Err(refused(reason.clone())),
        },
        Some(Challenge::Bearer { realm, service, scope }) => {
            let realm = Url::parse(&realm).map_err(|error| refused(format!("its token service: {error}")))?;
            if answer.url.is_secure() && !realm.is_secure() {
                return Err(refused(format!("its token service {realm} is not https")));
            }
            let scope = scope.unwrap_or_else(|| reference.scope());
            let token = token(client, &realm, service.as_deref(), &scope, credentials).await?;
            secret(&format!("Bearer {token}"))
                .ok_or_else(|| refused(format!("the token of {realm} is not fit for a header")))
        }
    }
}

async fn token(
    client: &Client,
    realm: &Url,
    service: Option<&str>,
    scope: &str,
    credentials: &Result<Credentials, String>,
) -> Result<String, SourceError> {
    let refused = |reason: String| SourceError::Unauthorized { at: realm.to_string(), reason };
    let mut parameters = vec![("scope", scope)];
    parameters.extend(service.map(|service| ("service", service)));
    let mut url = realm.clone();
    let (mut authorization, mut form) = (None, None);
    if let Ok(Credentials::Identity(token)) = credentials {
        // OAuth 2, as Docker's token specification has it.
        parameters.extend([("grant_type", "refresh_token"), ("client_id", "fyke"), ("refresh_token", token)]);
        form = Some(encoded(&parameters));
    } else {
        url = realm.with_query(&encoded(&parameters)).ok_or_else(|| refused("it cannot be asked".to_owned()))?;
        if let Ok(Credentials::Basic(pair)) = credentials {
            authorization = Credentials::basic(pair);
        }
    }
    let request = Request { url: &url, accept: "application/json", authorization, form, limit: LIMIT };
    let body = client.send(&request).await?.ok().map_err(|error| explained(error, credentials))?;
    // Not what the library says, which may show what it has read.
    let tokens: Token =
        serde_json::from_slice(&body).map_err(|_| refused("the answer of the token service is no token".to_owned()))?;
    let token = tokens.token.or(tokens.access_token).filter(|token| !token.is_empty());
    token.ok_or_else(|| refused("the answer of the token service holds no token".to_owned()))
}

/// A refusal, and what there was to show.
pub(super) fn explained(error: SourceError, credentials: &Result<Credentials, String>) -> SourceError {
    match error {
        SourceError::Unauthorized { at, reason } => {
            let shown = match credentials {
                Ok(_) => "with the credentials that `docker login` has kept",
                Err(reason) => reason,
            };
            SourceError::Unauthorized { at, reason: format!("{reason}; {shown}") }
        }
        error => error,
    }
}

/// The challenge to meet: a token rather than a password, where there is a choice.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let challenges: Vec<_> = values.flat_map(ChallengeParser::new).filter_map(Result::ok).collect();
    let bearer = challenges.iter().filter(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer")).find_map(|it| {
        let parameter = |name: &str| {
            it.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_unescaped())
        };
        Some(Challenge::Bearer { realm: parameter("realm")?, service: parameter("service"), scope: parameter("scope") })
    });
    let basic = || challenges.iter().any(|challenge| challenge.scheme.eq_ignore_ascii_case("basic"));
    bearer.or_else(|| basic().then_some(Challenge::Basic))
}

fn encoded(parameters: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::{super::client::Limits, *};

    fn read(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        challenge(&headers)
    }

    #[test]
    fn challenges_are_read_whatever_surrounds_them() {
        let bearer = || Challenge::Bearer {
            realm: "https://a.example/token".to_owned(),
            service: Some("a \"b\"".to_owned()),
            scope: None,
        };
        for values in [
            &[r#"Bearer realm="https://a.example/token",service="a \"b\"""#][..],
            &[r#"Basic realm="x", bearer Realm="https://a.example/token", SERVICE="a \"b\"", error="y""#],
            &["Basic", r#"Bearer realm="https://a.example/token",service="a \"b\"""#],
        ] {
            assert_eq!(read(values), Some(bearer()), "{values:?}");
        }
        assert_eq!(read(&[r#"Basic realm="x""#]), Some(Challenge::Basic));
        for values in [&[][..], &["Bearer"], &["Negotiate"], &[",,\"="], &["Bearer realm=\"x"]] {
            assert_eq!(read(values), None, "{values:?}");
        }
    }

    /// Registries of tests are on the loopback interface, where plain text is allowed; others are not.
    #[test]
    fn a_distant_registry_cannot_send_the_password_in_plain_text() {
        let reference = Reference::parse("oci://a.example/b:1").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, r#"Bearer realm="http://127.0.0.1:9/token""#.parse().unwrap());
        let url = reference.endpoint("manifests", "1").unwrap();
        let answer = Answer { url, status: http::StatusCode::UNAUTHORIZED, headers, body: Vec::new() };
        let credentials = Ok(Credentials::Basic("me:secret".to_owned()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::new(Limits::default(), None);
        let error = runtime.block_on(authorize(&client, &reference, &answer, &credentials)).unwrap_err();
        assert!(error.to_string().contains("is not https"), "{error}");
    }

    #[test]
    fn parameters_cannot_add_others() {
        assert_eq!(encoded(&[("service", "a&b=c d"), ("scope", "x:y")]), "service=a%26b%3Dc%20d&scope=x%3Ay");
    }
}
