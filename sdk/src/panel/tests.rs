use serde_json::{Value, json};

use super::json::{all_of, check};
use super::*;

fn written(panels: &[Panel]) -> Value {
    let member = all_of(panels);
    let object = format!("{{\"a\":1{member}}}");
    serde_json::from_str::<Value>(&object).unwrap()["panels"].clone()
}

#[test]
fn panels_are_written_as_json_whatever_their_texts_have() {
    let panels = [
        Panel::line("a \"b\" \\ c\n\u{1}\u{1f} ü", "m_total"),
        Panel::table("t", "m").by(&["x", "*"]).only(&[("x", "5*"), ("y", "\"")]).unit(Unit::Milliseconds).percentile(5),
        Panel::stacked("s", "m").percentile(50).describe("Why?"),
    ];
    assert_eq!(
        written(&panels),
        json!([
            { "title": "a \"b\" \\ c\n\u{1}\u{1f} ü", "metric": "m_total", "chart": "line", "unit": "number" },
            {
                "title": "t", "metric": "m", "chart": "table", "unit": "milliseconds", "percentile": 5,
                "labels": ["x", "*"], "only": [["x", "5*"], ["y", "\""]],
            },
            { "title": "s", "metric": "m", "chart": "stacked", "unit": "number", "percentile": 50, "description": "Why?" },
        ])
    );
    assert_eq!(all_of(&[]), "");
}

#[test]
fn panels_are_bounded() {
    let fine = Panel::line("t", "m");
    assert_eq!(check(&[fine; 24]), None);
    let long: &'static str = "x".repeat(257).leak();
    for (wrong, word) in [
        (vec![fine; 25], "24 panels"),
        (vec![fine, Panel::line("", "m")], "title"),
        (vec![Panel::line(&long[..81], "m")], "title"),
        (vec![Panel::line("t", "")], "metric"),
        (vec![Panel::line("t", long)], "metric"),
        (vec![fine.by(&["a"; 9])], "labels"),
        (vec![fine.by(&[""])], "labels"),
        (vec![fine.only(&[("a", "b"); 9])], "only"),
        (vec![fine.only(&[("", "b")])], "only"),
        (vec![fine.percentile(0)], "percentile"),
        (vec![fine.percentile(100)], "percentile"),
        (vec![fine.describe("x".repeat(401).leak())], "description"),
    ] {
        assert!(check(&wrong).is_some_and(|why| why.contains(word)), "{word}");
    }
}

#[test]
fn a_filter_has_no_panels_unless_it_says_so() {
    const PANELS: &[Panel] = &[Panel::line("t", "m")];
    const TEXT: [u8; length(PANELS)] = bytes(PANELS);
    assert_eq!(TEXT.as_slice(), br#","panels":[{"title":"t","metric":"m","chart":"line","unit":"number"}]"#);
}
