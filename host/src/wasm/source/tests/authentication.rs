//! Registries that want to know who asks.

use std::sync::OnceLock;

use data_encoding::BASE64;

use super::{
    oci::{module, named},
    server::{Reply, Seen, Server, ok, status},
    *,
};

/// A fetcher of somebody who has logged in.
fn known(folder: &TempDir, server: &Server, entry: &str) -> Fetcher {
    let docker = folder.path().join("config.json");
    fs::write(&docker, format!(r#"{{"auths": {{"{}": {entry}}}}}"#, server.address)).unwrap();
    Fetcher { docker: Some(docker), ..fetcher(folder) }
}

fn password() -> String {
    format!(r#"{{"auth": "{}"}}"#, BASE64.encode(b"me:secret"))
}

fn authorization(seen: &Seen) -> Option<&str> {
    seen.headers.get("authorization").map(String::as_str)
}

/// A token service that gives tokens to whom the test says, and a registry that wants them.
fn with_tokens(give: impl Fn(&Seen) -> Option<&'static str> + Send + Sync + 'static) -> (Server, Server) {
    let service = Server::start(move |seen, _| match give(seen) {
        Some(body) => ok(body),
        None => Reply::Answer(401, Vec::new(), br#"{"details":"incorrect password"}"#.to_vec()),
    });
    let challenge =
        format!(r#"Bearer realm="{}",service="a b",scope="repository:team/filter:pull""#, service.url("/token"));
    let image = module();
    let registry = Server::start(move |seen, _| match authorization(seen) {
        Some("Bearer good") => image.reply(seen),
        _ => status(401, &[("www-authenticate", &challenge)]),
    });
    (service, registry)
}

#[test]
fn anybody_may_get_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let (service, registry) = with_tokens(|_| Some(r#"{"token": "good", "expires_in": 300}"#));
    assert_eq!(told(read(&fetcher(&folder), &named(&registry, ":1"), None)).unwrap(), MODULE);
    let [asked] = &service.seen()[..] else { panic!("{:?}", service.seen()) };
    assert_eq!((asked.method.as_str(), authorization(asked)), ("GET", None));
    assert_eq!(asked.path, "/token?scope=repository%3Ateam%2Ffilter%3Apull&service=a%20b");
    assert_eq!(registry.seen().len(), 3, "one of them without");
}

#[test]
fn a_password_is_for_the_token_service() {
    let folder = tempfile::tempdir().unwrap();
    let basic = format!("Basic {}", BASE64.encode(b"me:secret"));
    let (service, registry) = with_tokens({
        let basic = basic.clone();
        move |seen| (authorization(seen) == Some(&basic)).then_some(r#"{"access_token": "good"}"#)
    });
    let known = known(&folder, &registry, &password());
    assert_eq!(told(read(&known, &named(&registry, ":1"), None)).unwrap(), MODULE);
    assert!(registry.seen().iter().all(|seen| authorization(seen) != Some(&basic)));
    // Whoever has none is told what to do.
    let stranger =
        read(&Fetcher { docker: Some("/nonexistent".into()), ..fetcher(&folder) }, &named(&registry, ":2"), None);
    fails(stranger, "unauthorized", &["incorrect password", "docker login", &service.address.to_string()]);
}

#[test]
fn an_identity_token_is_exchanged() {
    let folder = tempfile::tempdir().unwrap();
    let (service, registry) = with_tokens(|seen| (seen.method == "POST").then_some(r#"{"access_token": "good"}"#));
    let known = known(&folder, &registry, r#"{"auth": "MDA6", "identitytoken": "refresh&me"}"#);
    assert_eq!(told(read(&known, &named(&registry, ":1"), None)).unwrap(), MODULE);
    let body = &service.seen()[0].body;
    assert!(body.contains("grant_type=refresh%5Ftoken&") && body.ends_with("refresh_token=refresh%26me"), "{body}");
}

#[test]
fn tokens_that_do_not_do_are_not_tried_twice() {
    let folder = tempfile::tempdir().unwrap();
    for (body, reason) in [
        (r#"{"token": "bad"}"#, "docker login"),
        ("{}", "holds no token"),
        (r#"{"token": ""}"#, "holds no token"),
        (r#"{"token": "a\nb"}"#, "not fit"),
        ("hello", "is no token"),
    ] {
        let (service, registry) = with_tokens(move |_| Some(body));
        let fetcher = Fetcher { docker: Some("/nonexistent".into()), ..fetcher(&folder) };
        fails(read(&fetcher, &named(&registry, ":1"), None), "unauthorized", &[reason]);
        assert!(service.seen().len() == 1 && registry.seen().len() <= 2);
    }
}

#[test]
fn a_token_service_that_is_out_of_order_is_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    let service = Server::start(|_, _| status(503, &[]));
    let challenge = format!(r#"Bearer realm="{}""#, service.url("/token"));
    let registry = Server::start(move |_, _| status(401, &[("www-authenticate", &challenge)]));
    let error = read(&fetcher(&folder), &named(&registry, ":1"), None).unwrap_err();
    assert!(error.is_outage());
    fails(Err(error), "status", &["503", "/token"]);
}

#[test]
fn a_password_is_sent_to_who_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let image = module();
    let registry = Server::start(move |seen, _| match authorization(seen) {
        Some("Basic bWU6c2VjcmV0") => image.reply(seen),
        Some(_) => status(403, &[]),
        None => status(401, &[("www-authenticate", r#"Basic realm="registry""#)]),
    });
    let known = known(&folder, &registry, &password());
    assert_eq!(told(read(&known, &named(&registry, ":1"), None)).unwrap(), MODULE);
    assert_eq!(registry.seen().len(), 3, "and then without being asked");

    let stranger = fetcher(&folder);
    fails(read(&stranger, &named(&registry, ":2"), None), "unauthorized", &["no credentials"]);
    let wrong = known_as(&folder, &registry, "me:wrong");
    fails(read(&wrong, &named(&registry, ":2"), None), "unauthorized", &["403", "with the credentials"]);
    let identity = self::known(&folder, &registry, r#"{"identitytoken": "x"}"#);
    fails(read(&identity, &named(&registry, ":2"), None), "unauthorized", &["wants a password"]);
}

fn known_as(folder: &TempDir, server: &Server, pair: &str) -> Fetcher {
    known(folder, server, &format!(r#"{{"auth": "{}"}}"#, BASE64.encode(pair.as_bytes())))
}

#[test]
fn challenges_of_other_kinds_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for challenge in ["", "Negotiate", r#"Bearer realm="http://a.example/token""#, r#"Bearer realm="token""#] {
        let registry = Server::start(move |_, _| status(401, &[("www-authenticate", challenge)]));
        fails(read(&known(&folder, &registry, &password()), &named(&registry, ":1"), None), "unauthorized", &[]);
        assert!(registry.seen().iter().all(|seen| authorization(seen).is_none()));
    }
}

#[test]
fn credentials_stay_where_they_belong() {
    let folder = tempfile::tempdir().unwrap();
    // Blobs are elsewhere, and who has them asks for a password, too.
    let asking = Arc::new(OnceLock::new());
    let storage = Server::start({
        let asking = Arc::clone(&asking);
        move |_, _| match asking.get() {
            Some(()) => status(401, &[("www-authenticate", r#"Basic realm="storage""#)]),
            None => ok(MODULE),
        }
    });
    let image = module();
    let elsewhere = storage.url("/blob").to_string();
    let registry = Server::start(move |seen, _| match authorization(seen) {
        None => status(401, &[("www-authenticate", "Basic")]),
        Some(_) if seen.path.contains("/blobs/") => status(307, &[("location", &elsewhere)]),
        Some(_) => image.reply(seen),
    });
    let known = known(&folder, &registry, &password());
    assert_eq!(told(read(&known, &named(&registry, ":1"), None)).unwrap(), MODULE);
    let uncached = Fetcher { cache: None, ..known };
    asking.set(()).unwrap();
    fails(read(&uncached, &named(&registry, ":1"), None), "unauthorized", &["/blob"]);
    assert_eq!(storage.seen().len(), 2);
    assert!(storage.seen().iter().all(|seen| authorization(seen).is_none()), "{:?}", storage.seen());
}
