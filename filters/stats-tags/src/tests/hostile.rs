//! Values of strangers.

use fyke_sdk::abi::MapKind;
use proptest::prelude::*;

use super::*;

const CONFIGURATION: &str = r#"{"labels":[
    {"label":"who","from":{"request_header":"x-who"}},
    {"label":"path","from":{"path_template":["/{a}/{b=**}"]}},
    {"label":"part","from":{"request_header":"x-who"},"regex":"(.)$","then":["lower_case"]},
    {"label":"namespace","from":{"caller":"namespace"}}],
    "stat_names":["a.%{request.headers.x-who}.b"],
    "stats_tags":[{"tag_name":"who","regex":"^a\\.((.*)\\.)b$"}]}"#;

proptest! {
    #[test]
    fn a_value_of_any_bytes_is_text_of_bounded_length(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let host = Host::<StatsTags>::configure(CONFIGURATION).unwrap();
        stream(&host, |stream| {
            stream.maps[0].push((b"x-who".to_vec(), bytes.clone()));
            stream.maps[0].push((b":path".to_vec(), bytes.clone()));
            stream.set_property("connection.uri_san_peer_certificate", &bytes);
        });
        let text = String::from_utf8_lossy(&bytes);
        for (_, value) in only("stats_requests_total") {
            prop_assert!(value.len() <= 128);
        }
        let who = value(&only("stats_requests_total"), "who");
        prop_assert!(text.starts_with(&who));
        prop_assert!(text.len() <= 128 || who.len() > 124);
        prop_assert_eq!(only("envoy_a_b").len(), 1);
    }
}

#[test]
fn a_value_cannot_make_a_segment_of_a_dotted_name() {
    let host = Host::<StatsTags>::configure(CONFIGURATION).unwrap();
    stream(&host, |stream| stream.set_headers(MapKind::RequestHeaders, &[("x-who", "x.b.\ny")]));
    assert_eq!(only("envoy_a_b"), [("who".to_owned(), "x_b__y".to_owned())]);
}

#[test]
fn a_million_values_leave_nothing_behind() {
    let config: crate::Config =
        serde_json::from_str(r#"{"labels":[{"label":"who","from":{"request_header":"x-who"},"then":["lower_case"]}]}"#)
            .unwrap();
    World::reset();
    let labels = crate::labels::Labels::new(&config, &[], &mut crate::expressions::Expressions::default()).unwrap();
    let mut values = crate::labels::Values::default();
    let mut distinct = 0_u64;
    for number in 0..1_000_000_u64 {
        World::with(|world| {
            world.effective = 2;
            world.stream_mut(2).maps[0] = vec![(b"x-who".to_vec(), format!("Who-{number}").into_bytes())];
        });
        labels.fill(&mut values, crate::source::Kind::Http, &[0], None);
        distinct += u64::from(labels.value(&values, 0) == format!("who-{number}"));
    }
    assert_eq!(distinct, 1_000_000);
    assert!(values.capacity() < 1024, "{}", values.capacity());
}

#[test]
fn on_another_host_the_series_are_bounded() {
    let host =
        Host::<StatsTags>::configure_in(r#"{"labels":[{"label":"who","from":{"request_header":"x-who"}}]}"#, |world| {
            world.knows_fyke = false
        })
        .unwrap();
    for number in 0..5_000 {
        let stream = host.open();
        host.stream(stream, |stream| stream.set_headers(MapKind::RequestHeaders, &[("x-who", &number.to_string())]));
        host.finish(stream);
        World::with(|world| world.streams.remove(&stream));
    }
    // A thousand of each metric that had values, and one for what is beyond (there are no durations here); and those of connections.
    assert_eq!(World::with(|world| world.metrics.len()), 3 * 1001 + 4);
}

#[test]
fn a_long_value_costs_an_expression_no_more_than_its_beginning() {
    let host = Host::<StatsTags>::configure(
        r#"{"labels":[{"label":"a","from":{"request_header":"x-who"},"regex":"(a*)*b|(.{9})$"}]}"#,
    )
    .unwrap();
    let long = "a".repeat(60_000);
    stream(&host, |stream| stream.set_headers(MapKind::RequestHeaders, &[("x-who", &long)]));
    assert_eq!(series("stats_requests_total").len(), 1);
}
