use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::listener::chain::parse_network;

const PLAIN: Connection<'static> = Connection {
    source: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)), 5000)),
    destination: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 8443)),
    transport: Transport::Plain,
    sni: None,
    alpn: &[],
    application: None,
};

const TLS: Connection<'static> =
    Connection { transport: Transport::Tls, sni: Some("a.internal"), alpn: &[b"h2", b"http/1.1"], ..PLAIN };

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| parse_network(text).unwrap()).collect()
}

fn names(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The match of the configuration's example.
fn example() -> Matcher {
    Matcher {
        sni: names(&["*.internal"]),
        alpn: vec![b"h2".to_vec()],
        source: networks(&["10.0.0.0/8"]),
        ..Matcher::default()
    }
}

#[test]
fn no_condition_matches_everything() {
    assert!(Matcher::default().matches(&PLAIN));
    assert!(Matcher::default().matches(&TLS));
}

#[test]
fn all_conditions_have_to_hold() {
    assert_eq!(example().check(&TLS), Ok(()));
    assert_eq!(example().check(&Connection { sni: Some("internal"), ..TLS }), Err(Mismatch::Sni));
    assert_eq!(example().check(&Connection { alpn: &[b"http/1.1"], ..TLS }), Err(Mismatch::Alpn));
    let outside = Connection { source: "11.0.0.1:1".parse().ok(), ..TLS };
    assert_eq!(example().check(&outside), Err(Mismatch::Source));
}

#[test]
fn of_several_values_one_has_to_hold() {
    let matcher = Matcher {
        sni: names(&["b.internal", "a.internal"]),
        alpn: vec![b"h3".to_vec(), b"http/1.1".to_vec()],
        source: networks(&["172.16.0.0/12", "10.1.2.3"]),
        source_ports: vec![1..=10, 5000..=5000],
        destination: networks(&["::1", "192.0.2.0/24"]),
        destination_port: Some(8443),
        transport: TransportCondition::Only(Transport::Tls),
        application: vec![],
    };
    assert_eq!(matcher.check(&TLS), Ok(()));
}

#[test]
fn what_is_not_known_matches_no_condition() {
    let sni = Matcher { sni: names(&["a.internal"]), ..Matcher::default() };
    assert_eq!(sni.check(&Connection { sni: None, ..TLS }), Err(Mismatch::Sni));
    let alpn = Matcher { alpn: vec![b"h2".to_vec()], ..Matcher::default() };
    assert_eq!(alpn.check(&PLAIN), Err(Mismatch::Alpn));
    let file = Connection { source: None, destination: None, ..PLAIN };
    for (matcher, mismatch) in [
        (Matcher { source: networks(&["0.0.0.0/0", "::/0"]), ..Matcher::default() }, Mismatch::Source),
        (Matcher { source_ports: vec![0..=u16::MAX], ..Matcher::default() }, Mismatch::SourcePort),
        (Matcher { destination: networks(&["0.0.0.0/0"]), ..Matcher::default() }, Mismatch::Destination),
        (Matcher { destination_port: Some(0), ..Matcher::default() }, Mismatch::DestinationPort),
    ] {
        assert_eq!(matcher.check(&file), Err(mismatch));
    }
    assert!(Matcher::default().matches(&file));
    let application = Matcher { application: vec![Application::Other], ..Matcher::default() };
    assert_eq!(application.check(&PLAIN), Err(Mismatch::Application));
    assert!(application.matches(&Connection { application: Some(Application::Other), ..PLAIN }));
}

#[test]
fn ports_and_transport_are_conditions() {
    let ports = Matcher { source_ports: vec![1..=4999, 5001..=65535], ..Matcher::default() };
    assert_eq!(ports.check(&PLAIN), Err(Mismatch::SourcePort));
    let port = Matcher { destination_port: Some(443), ..Matcher::default() };
    assert_eq!(port.check(&PLAIN), Err(Mismatch::DestinationPort));
    let destination = Matcher { destination: networks(&["192.0.3.0/24"]), ..Matcher::default() };
    assert_eq!(destination.check(&PLAIN), Err(Mismatch::Destination));
    let plain = Matcher { transport: TransportCondition::Only(Transport::Plain), ..Matcher::default() };
    assert_eq!(plain.check(&TLS), Err(Mismatch::Transport));
    assert!(plain.matches(&PLAIN));
}

#[test]
fn addresses_of_sockets_for_both_families_count_as_ipv4() {
    let mapped = Connection { source: "[::ffff:10.9.9.9]:1".parse().ok(), ..TLS };
    assert_eq!(example().check(&mapped), Ok(()));
    let every_six = Matcher { source: networks(&["::/0"]), ..Matcher::default() };
    assert_eq!(every_six.check(&mapped), Err(Mismatch::Source));
}

#[test]
fn the_first_match_wins_however_specific_others_are() {
    let wide = Matcher { source: networks(&["10.0.0.0/8"]), ..Matcher::default() };
    let narrow = Matcher { sni: names(&["a.internal"]), ..Matcher::default() };
    let chains = Chains::new(vec![(wide, "wide"), (narrow, "narrow")], Some("own"));
    assert_eq!(chains.choose(&TLS), Choice::Chain(0, &"wide"));
    let elsewhere = Connection { source: "11.0.0.1:1".parse().ok(), ..TLS };
    assert_eq!(chains.choose(&elsewhere), Choice::Chain(1, &"narrow"));
    assert_eq!(chains.choose(&Connection { sni: None, ..elsewhere }), Choice::Default(&"own"));
}

#[test]
fn without_a_chain_of_its_own_a_listener_may_have_nothing() {
    let chains = Chains::new(vec![(example(), 1)], None);
    assert_eq!(chains.choose(&PLAIN), Choice::Nothing);
}

#[test]
fn an_explanation_ends_with_the_chain_that_is_taken() {
    let chains = Chains::new(vec![(example(), 0), (Matcher::default(), 1), (Matcher::default(), 2)], None);
    let said: Vec<_> = chains.explain(&PLAIN).collect();
    assert_eq!(said, [(&0, Err(Mismatch::Sni)), (&1, Ok(()))]);
}

#[test]
fn bytes_are_waited_for_only_when_a_condition_looks_at_them() {
    let source = Matcher { source: networks(&["10.0.0.0/8"]), ..Matcher::default() };
    assert!(!Chains::new(vec![(source, ())], None).needs_bytes());
    assert!(Chains::new(vec![(example(), ())], None).needs_bytes());
}

proptest! {
    #[test]
    fn a_further_condition_never_lets_more_through(
        source in any::<[u8; 4]>(), length in 0..=32_u8, port in any::<u16>(),
        name in prop::option::of("[ab]\\.(internal|com)"),
    ) {
        let connection = Connection { source: Some((source, port).into()), sni: name.as_deref(), ..TLS };
        let base = Matcher {
            source: vec![IpNet::new([10, 0, 0, 0].into(), length).unwrap()],
            ..Matcher::default()
        };
        let more = Matcher { sni: names(&["*.internal"]), source_ports: vec![0..=30000], ..base.clone() };
        prop_assert!(base.matches(&connection) || !more.matches(&connection));
    }

    #[test]
    fn the_choice_is_the_first_that_matches(
        source in any::<[u8; 4]>(), lengths in prop::collection::vec(0..=12_u8, 0..6),
    ) {
        let connection = Connection { source: Some((source, 1).into()), ..PLAIN };
        let network = |length| IpNet::new([10, 0, 0, 0].into(), length).unwrap();
        let matcher = |length| Matcher { source: vec![network(length)], ..Matcher::default() };
        let matchers: Vec<_> = lengths.iter().map(|length| (matcher(*length), ())).collect();
        let expected = matchers.iter().position(|(matcher, ())| matcher.matches(&connection));
        let chosen = match Chains::new(matchers, None).choose(&connection) {
            Choice::Chain(place, ()) => Some(place),
            _ => None,
        };
        prop_assert_eq!(chosen, expected);
    }
}
