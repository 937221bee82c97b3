use proptest::prelude::*;

use super::*;
use crate::pool::fleet::ServerFacts;

fn service_id(answer: &[u8]) -> Option<[u8; 12]> {
    find(answer, "serviceId")?;
    let name = b"\x07serviceId\0";
    let at = answer.windows(name.len()).position(|window| window == name)? + name.len();
    answer.get(at..)?.first_chunk().copied()
}

fn request(write: impl FnOnce(&mut Document)) -> Vec<u8> {
    let mut document = Document::new();
    write(&mut document);
    document.finish()
}

fn config(persona: Persona) -> HelloConfig {
    HelloConfig { persona, service_id: [5; 12], mechanisms: Vec::new() }
}

fn context() -> HelloContext<'static> {
    HelloContext { limits: Limits::default(), now: 1, connection_id: 3, first: true, speculative: None }
}

fn answer(persona: Persona, document: &[u8]) -> Result<Vec<u8>, ErrorReply> {
    config(persona).answer(&HelloRequest::read(document).unwrap(), &context())
}

#[test]
fn a_load_balanced_client_gets_the_service() {
    let balanced = request(|d| _ = d.int32("hello", 1).bool("loadBalanced", true));
    for persona in [Persona::Auto, Persona::LoadBalanced] {
        assert_eq!(service_id(&answer(persona, &balanced).unwrap()), Some([5; 12]));
    }
    // The driver complains by itself.
    assert_eq!(service_id(&answer(Persona::Mongos, &balanced).unwrap()), None);
}

#[test]
fn a_plain_client_gets_a_mongos_or_the_servers_own_error() {
    let plain = request(|d| _ = d.int32("hello", 1).string("future", "field"));
    for persona in [Persona::Auto, Persona::Mongos] {
        let document = answer(persona, &plain).unwrap();
        assert_eq!(service_id(&document), None);
        assert_eq!(find(&document, "msg"), Some(Value::Text(b"isdbgrid")));
        for absent in ["compression", "topologyVersion", "setName", "hosts", "saslSupportedMechs"] {
            assert_eq!(find(&document, absent), None, "{absent}");
        }
    }
    assert_eq!(answer(Persona::LoadBalanced, &plain).unwrap_err().code, Code::LOAD_BALANCER_MISMATCH);
    let later = HelloContext { first: false, ..context() };
    let later = config(Persona::LoadBalanced).answer(&HelloRequest::read(&plain).unwrap(), &later).unwrap();
    assert_eq!(service_id(&later), Some([5; 12]));
}

#[test]
fn answers_in_the_dialect_of_the_request() {
    let hello = answer(Persona::Auto, &request(|d| _ = d.int32("hello", 1))).unwrap();
    assert_eq!(find(&hello, "isWritablePrimary"), Some(Value::Boolean(true)));
    assert_eq!((find(&hello, "ismaster"), find(&hello, "helloOk")), (None, None));
    for name in ["isMaster", "ismaster"] {
        let legacy = answer(Persona::Auto, &request(|d| _ = d.int32(name, 1).bool("helloOk", true))).unwrap();
        assert_eq!(find(&legacy, "ismaster"), Some(Value::Boolean(true)));
        assert_eq!(find(&legacy, "helloOk"), Some(Value::Boolean(true)));
    }
    let wrapped = request(|d| {
        d.document("$query", |d| {
            d.int32("ismaster", 1);
        });
    });
    assert!(answer(Persona::Auto, &wrapped).is_ok());
    assert_eq!(HelloRequest::read(&request(|d| _ = d.int32("HELLO", 1))), Err(Broken::End));
}

#[test]
fn tells_the_limits_of_the_servers() {
    let limits = Limits { max_wire_version: 21, max_batch: 7, session_minutes: None, ..Limits::default() };
    let request = request(|d| _ = d.int32("hello", 1));
    let context = HelloContext { limits, ..context() };
    let document = config(Persona::Auto).answer(&HelloRequest::read(&request).unwrap(), &context).unwrap();
    assert_eq!(ServerFacts::read(&document).unwrap().limits, limits);
}

#[test]
fn lists_mechanisms_when_asked_and_clients_authenticate() {
    let request = request(|d| _ = d.int32("hello", 1).string("saslSupportedMechs", "admin.u"));
    let config = HelloConfig { mechanisms: vec![Hash::Sha256], ..config(Persona::Auto) };
    let document = config.answer(&HelloRequest::read(&request).unwrap(), &context()).unwrap();
    let Some(Value::Array(names)) = find(&document, "saslSupportedMechs") else { panic!("no mechanisms") };
    assert_eq!(find(names, "0"), Some(Value::Text(b"SCRAM-SHA-256")));
}

#[test]
fn reads_who_the_client_is() {
    let document = request(|d| {
        d.int32("hello", 1).document("client", |d| {
            d.document("application", |d| _ = d.string("name", "shop"));
            d.document("driver", |d| _ = d.string("name", "PyMongo"));
        });
    });
    let hello = HelloRequest::read(&document).unwrap();
    assert_eq!((hello.application, hello.driver), (Some("shop"), Some("PyMongo")));
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = (HelloRequest::read(&bytes), ServerFacts::read(&bytes));
    }
}
