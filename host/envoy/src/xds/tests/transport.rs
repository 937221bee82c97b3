//! Connections, calls, and what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::WebPkiClientVerifier,
};

use super::server::{Call, Server};
use crate::{
    Schema,
    xds::{
        Address, Backoff, Client, Command, Event, Mode, Node, ResourceType, Settings, Streams, Tls, Update, Verdict,
        messages::{Any, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource},
    },
};

/// A message with only a name in it, which is the first field of each type.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

fn any(kind: ResourceType, name: &str) -> Any {
    let bytes = Named { name: name.to_owned() }.encode_to_vec();
    Any { type_url: kind.type_url(), value: bytes.into() }
}

fn response(kind: ResourceType, version: &str, nonce: &str, names: &[&str]) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: version.to_owned(),
        resources: names.iter().map(|name| any(kind, name)).collect(),
        type_url: kind.type_url(),
        nonce: nonce.to_owned(),
    }
}

fn settings(server: &Server) -> Settings {
    let node = Node {
        id: "me".to_owned(),
        cluster: "edge".to_owned(),
        zone: "eu-1a".to_owned(),
        metadata: [("role".to_owned(), "proxy".into())].into_iter().collect(),
        ..Node::default()
    };
    Settings {
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(5)),
        ..Settings::new(Address::Tcp(server.address.to_string()), node)
    }
}

fn start(settings: Settings) -> Client {
    Client::start(settings, Schema::load().unwrap())
}

async fn event(client: &mut Client) -> Event {
    let next = tokio::time::timeout(Duration::from_secs(60), client.events.recv());
    next.await.expect("something happens").expect("the client runs")
}

/// The next update, with everything in it taken but what is named.
async fn update(client: &mut Client, refused: &[&str]) -> Update {
    loop {
        if let Event::Update(update, reply) = event(client).await {
            let refused = refused.iter().map(|name| ((*name).to_owned(), "does not fit".to_owned())).collect();
            if let Some(reply) = reply {
                reply.send(Verdict { refused, ..Verdict::default() }).unwrap();
            }
            return update;
        }
    }
}

fn names(update: &Update) -> Vec<&str> {
    update.added.iter().map(|resource| resource.name.as_str()).collect()
}

/// Requests of a call until the first of a type.
async fn request(call: &mut Call, kind: ResourceType) -> DiscoveryRequest {
    loop {
        let request: DiscoveryRequest = call.read().await;
        if request.type_url == kind.type_url() {
            return request;
        }
    }
}

#[tokio::test]
async fn resources_come_and_are_answered_one_by_one() {
    let mut server = Server::start(None).await;
    let mut client =
        start(Settings { headers: vec![("authorization".to_owned(), "Bearer t".to_owned())], ..settings(&server) });
    let mut call = server.call().await;
    assert_eq!(call.path, "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources");
    assert_eq!(call.scheme, "http");
    assert_eq!(
        (&call.headers["te"], &call.headers["authorization"]),
        (&"trailers".parse().unwrap(), &"Bearer t".parse().unwrap())
    );
    let first: DiscoveryRequest = call.read().await;
    let node = first.node.unwrap();
    assert_eq!(
        (node.id.as_str(), node.cluster.as_str(), node.locality.unwrap().zone.as_str()),
        ("me", "edge", "eu-1a")
    );
    assert!(node.metadata.unwrap().fields.contains_key("role"));
    assert!(node.client_features.contains(&"xds.config.supports-resource-ttl".to_owned()));
    assert!(matches!(event(&mut client).await, Event::Connected));
    call.write(&response(ResourceType::Cluster, "1", "n1", &["a", "b"])).await;
    let first = update(&mut client, &["b"]).await;
    assert_eq!(names(&first), ["a", "b"]);
    let nack = request(&mut call, ResourceType::Cluster).await;
    assert_eq!((nack.version_info.as_str(), nack.response_nonce.as_str()), ("", "n1"));
    assert_eq!(nack.error_detail.unwrap().message, "cluster \"b\": does not fit");
    assert!(matches!(event(&mut client).await, Event::Refused(ResourceType::Cluster, refused) if refused.len() == 1));
    call.write(&response(ResourceType::Cluster, "2", "n2", &["a"])).await;
    let ack = request(&mut call, ResourceType::Cluster).await;
    assert_eq!((ack.version_info.as_str(), ack.response_nonce.as_str(), ack.error_detail), ("2", "n2", None));
}

#[tokio::test]
async fn whoever_does_not_answer_has_refused() {
    let mut server = Server::start(None).await;
    let mut client = start(settings(&server));
    let mut call = server.call().await;
    let _: DiscoveryRequest = call.read().await;
    call.write(&response(ResourceType::Cluster, "1", "n1", &["a"])).await;
    loop {
        if let Event::Update(_, reply) = event(&mut client).await {
            drop(reply);
            break;
        }
    }
    let nack = request(&mut call, ResourceType::Cluster).await;
    assert_eq!(nack.error_detail.unwrap().message, "cluster \"a\": was not applied");
}

#[tokio::test]
async fn a_call_that_ends_is_made_again_with_what_is_known() {
    let mut server = Server::start(None).await;
    let mut client = start(settings(&server));
    let mut call = server.call().await;
    let _: DiscoveryRequest = call.read().await;
    call.write(&response(ResourceType::Cluster, "5", "n1", &["a"])).await;
    update(&mut client, &[]).await;
    request(&mut call, ResourceType::Cluster).await;
    call.end("14", "going away").await;
    let reason = loop {
        if let Event::Disconnected { reason, .. } = event(&mut client).await {
            break reason;
        }
    };
    assert_eq!(reason, "the control plane ended the call with status 14: going away");
    let mut call = server.call().await;
    let first: DiscoveryRequest = call.read().await;
    assert_eq!((first.version_info.as_str(), first.response_nonce.as_str()), ("5", ""));
    assert!(first.node.is_some());
}

#[tokio::test]
async fn nonsense_ends_the_connection_and_not_the_client() {
    let mut server = Server::start(None).await;
    let mut client = start(Settings { largest_message: 1000, ..settings(&server) });
    let framed = |bytes: &[u8]| {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(bytes.len() as u32);
        frame.put(bytes);
        frame.freeze()
    };
    for (bytes, expected) in [
        (framed(b"\xff\xff\xff"), "malformed"),
        (Bytes::from_static(b"\x01\x00\x00\x00\x01x"), "compressed"),
        (Bytes::from_static(b"\x00\x7f\xff\xff\xff"), "larger"),
    ] {
        let mut call = server.call().await;
        let _: DiscoveryRequest = call.read().await;
        call.raw(bytes).await;
        let reason = loop {
            if let Event::Disconnected { reason, .. } = event(&mut client).await {
                break reason;
            }
        };
        assert!(reason.contains(expected), "{reason}");
    }
    // A resource that is malformed inside of a good response is named.
    let mut call = server.call().await;
    let _: DiscoveryRequest = call.read().await;
    let broken = Any { type_url: ResourceType::Cluster.type_url(), value: Bytes::from_static(b"\x0a\xff") };
    let strange = Any { type_url: "type.googleapis.com/some.Thing".to_owned(), value: Bytes::new() };
    let mut told = response(ResourceType::Cluster, "1", "n1", &["good"]);
    told.resources.extend([broken, strange]);
    call.write(&told).await;
    assert_eq!(names(&update(&mut client, &[]).await), ["good"]);
    let message = request(&mut call, ResourceType::Cluster).await.error_detail.unwrap().message;
    assert!(message.contains("\"resources[1]\": not a message of type envoy.config.cluster.v3.Cluster"), "{message}");
    assert!(message.contains("\"resources[2]\": is a \"some.Thing\""), "{message}");
}

#[tokio::test]
async fn changes_come_over_a_stream_for_each_type() {
    let mut server = Server::start(None).await;
    let types = vec![ResourceType::Cluster, ResourceType::Listener, ResourceType::Endpoints];
    let mut client = start(Settings { mode: Mode::Delta, streams: Streams::Separate, types, ..settings(&server) });
    let mut calls = calls(&mut server, 2).await;
    let paths: Vec<_> = calls.keys().map(String::as_str).collect();
    let expected = [
        "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters",
        "/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners",
    ];
    assert_eq!(paths, expected);
    let call = calls.get_mut(expected[0]).unwrap();
    let first: DeltaDiscoveryRequest = call.read().await;
    assert!(first.node.is_some() && first.resource_names_subscribe.is_empty());
    let resource = |name: &str| Resource {
        version: "v1".to_owned(),
        resource: Some(any(ResourceType::Cluster, name)),
        name: name.to_owned(),
        aliases: Vec::new(),
        ttl: None,
    };
    let told = DeltaDiscoveryResponse {
        system_version_info: "1".to_owned(),
        resources: vec![resource("a"), resource("b")],
        type_url: ResourceType::Cluster.type_url(),
        nonce: "n1".to_owned(),
        removed_resources: Vec::new(),
    };
    call.write(&told).await;
    assert_eq!(names(&update(&mut client, &[]).await), ["a", "b"]);
    let ack: DeltaDiscoveryRequest = call.read().await;
    assert_eq!((ack.response_nonce.as_str(), ack.error_detail), ("n1", None));
    call.write(&DeltaDiscoveryResponse {
        resources: Vec::new(),
        removed_resources: vec!["a".to_owned()],
        nonce: "n2".to_owned(),
        ..told
    })
    .await;
    assert_eq!(update(&mut client, &[]).await.removed, ["a"]);
}

/// So many calls, by path.
async fn calls(server: &mut Server, count: usize) -> std::collections::BTreeMap<String, Call> {
    let mut calls = std::collections::BTreeMap::new();
    for _ in 0..count {
        let call = server.call().await;
        calls.insert(call.path.clone(), call);
    }
    calls
}

/// One with some of the services alone, as a registry that assigns endpoints.
#[tokio::test]
async fn a_service_that_is_not_there_is_asked_when_needed_and_does_not_end_the_others() {
    let mut server = Server::start(None).await;
    let types = vec![ResourceType::Endpoints, ResourceType::Secret, ResourceType::RouteConfiguration];
    let wanted = vec![(ResourceType::Endpoints, vec!["users".to_owned()])];
    let mut client = start(Settings { streams: Streams::Separate, types, wanted, ..settings(&server) });
    let mut endpoints = server.call().await;
    assert_eq!(endpoints.path, "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints");
    let first: DiscoveryRequest = endpoints.read().await;
    assert_eq!(first.resource_names, ["users"]);
    client.commands.send(Command::Subscribe(ResourceType::Secret, vec!["site".to_owned()])).unwrap();
    for _ in 0..2 {
        // It is opened again, and nothing else is.
        let secrets = server.call().await;
        assert_eq!(secrets.path, "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets");
        secrets.end("12", "unknown service").await;
    }
    endpoints.write(&response(ResourceType::Endpoints, "1", "n1", &["users"])).await;
    let mut warnings = 0;
    let names = loop {
        match event(&mut client).await {
            Event::Warning(reason) => {
                assert!(reason.contains("secret") && reason.contains("unknown service"), "{reason}");
                warnings += 1;
            }
            Event::Disconnected { reason, .. } => panic!("{reason}"),
            Event::Update(update, reply) => {
                reply.unwrap().send(Verdict::default()).unwrap();
                break names(&update).join(",");
            }
            _ => {}
        }
    };
    assert_eq!((names.as_str(), warnings), ("users", 1));
    let ack: DiscoveryRequest = endpoints.read().await;
    assert_eq!(ack.response_nonce, "n1");
}

#[tokio::test]
async fn the_last_good_state_serves_without_a_control_plane() {
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path().join("xds"));
    let mut server = Server::start(None).await;
    let mut client = start(Settings { state: state.clone(), ..settings(&server) });
    let mut call = server.call().await;
    let _: DiscoveryRequest = call.read().await;
    call.write(&response(ResourceType::Cluster, "9", "n1", &["a", "b"])).await;
    update(&mut client, &["b"]).await;
    request(&mut call, ResourceType::Cluster).await;
    // Its end is when the channel of events closes: by then the state is on disk.
    drop(client.commands);
    while client.events.recv().await.is_some() {}
    assert!(call.is_over().await);
    drop(server);

    let nowhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nowhere.local_addr().unwrap();
    drop(nowhere);
    let node = Node::default();
    let alone = Settings {
        state: state.clone(),
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(5)),
        ..Settings::new(Address::Tcp(address.to_string()), node)
    };
    let mut client = start(alone.clone());
    let restored = update(&mut client, &[]).await;
    assert!(restored.restored);
    assert_eq!(names(&restored), ["a"]);
    assert!(matches!(event(&mut client).await, Event::Disconnected { .. }));
    // Not only dropped: its last word to the file would come after what is written there next.
    client.close().await;

    // One that is damaged is said to be, and is no reason not to start.
    std::fs::write(state.as_ref().unwrap(), b"fyke-xds-state 1\nnonsense").unwrap();
    let mut client = start(alone);
    assert!(matches!(event(&mut client).await, Event::Warning(reason) if reason.contains("cut short")));
    assert!(matches!(event(&mut client).await, Event::Disconnected { .. }));
}

#[tokio::test]
async fn both_sides_show_certificates() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["control-plane.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key_der = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let roots = Arc::new(roots);
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build().unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], key_der())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut server = Server::start(Some(TlsAcceptor::from(Arc::new(config)))).await;
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::clone(&roots))
    };
    let shown = builder().with_client_auth_cert(vec![certificate.der().clone()], key_der()).unwrap();
    let name = ServerName::try_from("control-plane.test").unwrap();
    let with = |config: ClientConfig| Some(Tls { config: Arc::new(config), name: name.clone() });
    let mut stranger = start(Settings { tls: with(builder().with_no_client_auth()), ..settings(&server) });
    loop {
        match event(&mut stranger).await {
            Event::Connected => {}
            Event::Disconnected { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    drop(stranger);
    let _client = start(Settings { tls: with(shown), ..settings(&server) });
    // Calls of the stranger, if any came through, have no requests that could be read.
    let mut call = server.call().await;
    assert_eq!(call.scheme, "https");
    let first: DiscoveryRequest = call.read().await;
    assert_eq!(first.type_url, ResourceType::Cluster.type_url());
}
