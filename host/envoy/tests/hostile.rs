//! Whatever comes, from files and control planes: it is refused by name, or taken, and nothing panics.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail loudly"
)]

use std::fs;
use std::sync::LazyLock;

use fyke_envoy::{Format, Resources, Schema, Severity, Translator, decode, xds::ResourceType};
use proptest::prelude::*;
use serde_json::Value;

static TRANSLATOR: LazyLock<Translator> = LazyLock::new(|| Translator::new(Schema::load().unwrap()));

static BOOTSTRAPS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/convert");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.to_string_lossy().ends_with(".envoy.yaml"));
    files.map(|path| fs::read_to_string(path).unwrap()).collect()
});

/// Bytes that look like messages: fields of a few numbers, some of which have messages in them.
fn wire(depth: u32) -> BoxedStrategy<Vec<u8>> {
    let varint = (1_u8..16, any::<u8>()).prop_map(|(field, value)| vec![field << 3, value & 0x7f]);
    let raw = prop::collection::vec(any::<u8>(), 0..12);
    let inner = if depth == 0 { raw.boxed() } else { prop_oneof![raw, wire(depth - 1)].boxed() };
    let long = (1_u8..16, inner).prop_map(|(field, bytes)| {
        let mut all = vec![field << 3 | 2, bytes.len().min(127) as u8];
        all.extend(bytes.into_iter().take(127));
        all
    });
    prop::collection::vec(prop_oneof![varint, long], 0..6).prop_map(|fields| fields.concat()).boxed()
}

/// Other values for a word of a file.
const WORDS: &[&str] = &[
    "-1",
    "0",
    "70000",
    "4294967296",
    "1e400",
    "null",
    "[]",
    "{}",
    "[{}]",
    "\"\"",
    "x",
    "true",
    "1.5",
    "99999999999999999999",
    "315576000001s",
    "-1s",
    "\"%\"",
    "[[[[[]]]]]",
    "\"@type\"",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_resource_or_none(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), wire(4)]) {
        for kind in ResourceType::ALL {
            let Ok(value) = decode(TRANSLATOR.schema(), &kind.type_url(), &bytes) else { continue };
            let findings = TRANSLATOR.check(kind.kind(), "x", &value);
            for finding in &findings {
                prop_assert!(!finding.reason.is_empty() && !finding.resource.is_empty());
            }
            let mut resources = Resources::default();
            resources.put(kind, "x", value);
            drop(TRANSLATOR.translate(&resources));
        }
    }

    #[test]
    fn any_change_to_a_bootstrap_is_survived(file in any::<prop::sample::Index>(), changes in prop::collection::vec((any::<prop::sample::Index>(), 0..WORDS.len()), 1..4)) {
        let mut text = file.get(&BOOTSTRAPS).clone();
        for (place, word) in changes {
            let values: Vec<(usize, usize)> = text
                .match_indices(": ")
                .map(|(at, _)| {
                    let start = at + 2;
                    let length = text[start..].find([',', '}', ']', '\n']).unwrap_or(text.len() - start);
                    (start, start + length)
                })
                .collect();
            let (start, end) = *place.get(&values);
            text.replace_range(start..end, WORDS[word]);
        }
        if let Ok(conversion) = TRANSLATOR.convert(&text, Format::Yaml) {
            // What is printed is the configuration, whatever is in it.
            let printed = conversion.to_yaml();
            prop_assert!(printed.lines().count() >= conversion.findings.len());
        }
    }
}

#[test]
fn types_and_bytes_that_are_none_are_named() {
    let schema = TRANSLATOR.schema();
    let unknown = decode(schema, "type.googleapis.com/example.Unknown", b"").unwrap_err();
    assert_eq!(unknown.to_string(), "the type \"example.Unknown\" is not known");
    let malformed = decode(schema, &ResourceType::Cluster.type_url(), b"\x0a\xff\xff").unwrap_err();
    assert!(malformed.to_string().starts_with("not a message of type envoy.config.cluster.v3.Cluster"), "{malformed}");
}

#[test]
fn fields_of_a_later_api_are_named_by_number() {
    // Field 1 is the name, and 1000 is none that anybody knows.
    let value = decode(TRANSLATOR.schema(), &ResourceType::Cluster.type_url(), b"\x0a\x01a\xc0\x3e\x01").unwrap();
    let findings = TRANSLATOR.check(ResourceType::Cluster.kind(), "a", &value);
    let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["refused: cluster \"a\": 1000: is no field of envoy.config.cluster.v3.Cluster that this version knows"]
    );
}

/// Files nest messages in messages; protobuf's readers stop at a hundred.
#[test]
fn nesting_has_an_end() {
    let mut value = serde_json::json!({ "@type": "type.googleapis.com/google.protobuf.Any", "value": {} });
    for _ in 0..40 {
        value = serde_json::json!({ "@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url": "xds.type.v3.TypedStruct", "value": { "value": value } });
    }
    let bootstrap =
        serde_json::json!({ "bootstrap_extensions": [{ "name": "deep", "typed_config": value }] }).to_string();
    let conversion = TRANSLATOR.convert(&bootstrap, Format::Json).unwrap();
    assert!(
        conversion.findings.iter().any(|finding| finding.severity == Severity::Refused),
        "{:?}",
        conversion.findings
    );
    assert_eq!(conversion.config, Value::Object(serde_json::Map::new()));
}

#[test]
fn findings_are_bounded() {
    let clusters: Vec<Value> =
        (0..3000).map(|index| serde_json::json!({ "name": format!("c{index}"), "bogus": 1 })).collect();
    let text = serde_json::json!({ "static_resources": { "clusters": clusters } }).to_string();
    let conversion = TRANSLATOR.convert(&text, Format::Json).unwrap();
    assert_eq!(conversion.findings.len(), 1001);
    assert!(conversion.findings.iter().any(|finding| finding.reason == "2000 more are not listed"));
}
