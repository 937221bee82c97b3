use proptest::prelude::*;

use super::*;
use crate::admin::dashboard::link::Query;

const FORM_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";
const PARTS_TYPE: &str = "multipart/form-data; boundary=----x7";

fn part(name: &str, file: Option<&str>, content: &[u8]) -> Vec<u8> {
    let file = file.map_or(String::new(), |file| format!("; filename=\"{file}\"\r\nContent-Type: application/wasm"));
    let mut part = format!("------x7\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").into_bytes();
    part.extend_from_slice(content);
    part.extend_from_slice(b"\r\n");
    part
}

fn parts(all: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body: Vec<u8> = all.iter().flat_map(|(name, file, content)| part(name, *file, content)).collect();
    body.extend_from_slice(b"------x7--\r\n");
    body
}

#[test]
fn what_a_form_asks_for_is_what_is_read_of_its_fields() {
    let endpoint = || ("users".to_owned(), "10.0.0.1:80".to_owned());
    let ((cluster, address), (one, two)) = (endpoint(), endpoint());
    let filter = || "rate & limit".to_owned();
    for action in [
        Action::Drain { cluster, address },
        Action::Weight { cluster: one, address: two, weight: 7 },
        Action::Reload,
        Action::Rollback { to: Some(4) },
        Action::Rollback { to: None },
        Action::Promote { filter: filter() },
        Action::Abort { filter: filter() },
        Action::TakeBack { filter: filter() },
    ] {
        let fields = action.fields().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let body = Query::of(fields).with("csrf", "secret");
        let posted = read(FORM_TYPE, body.trim_start_matches('?').as_bytes()).unwrap();
        assert_eq!(posted, Posted { csrf: "secret".into(), is_confirmed: false, action });
    }
}

#[test]
fn a_module_is_named_or_comes_along() {
    let load = |body: &[u8], kind| match read(kind, body)?.action {
        Action::Load { load, .. } => Ok(load),
        other => Err(format!("{other:?}")),
    };
    let named = load(b"action=load&filter=a&module=builtin:a&canary=2.5%25&min_streams=10", FORM_TYPE).unwrap();
    assert_eq!(named.module, Some(Module::Named("builtin:a".into())));
    assert_eq!((named.canary, named.min_streams), (Some(0.025), Some(10)));
    let bytes = b"\0asm\r\n--\r\n----x\r\n----x7no";
    let fields: [(&str, Option<&str>, &[u8]); 4] =
        [("action", None, b"load"), ("filter", None, b"a"), ("module", None, b""), ("file", Some("a;b.wasm"), bytes)];
    // Within a file, what is almost a delimiter is none; what is one ends it.
    let uploaded = load(&parts(&fields), PARTS_TYPE);
    assert!(uploaded.is_err() || uploaded.unwrap().module.is_some());
    let bytes = b"\0asm\r\n--\r\n----x\r\n";
    let fields = [("action", None, &b"load"[..]), ("filter", None, b"a"), ("file", Some("a.wasm"), bytes)];
    assert_eq!(load(&parts(&fields), PARTS_TYPE).unwrap().module, Some(Module::Uploaded(bytes.to_vec())));
    let empty = [("action", None, &b"load"[..]), ("filter", None, b"a"), ("file", Some(""), b"")];
    assert_eq!(load(&parts(&empty), PARTS_TYPE), Err("neither a module nor a configuration is given".into()));
    let elf = [("action", None, &b"load"[..]), ("filter", None, b"a"), ("file", Some("a"), b"\x7fELF")];
    assert!(load(&parts(&elf), PARTS_TYPE).unwrap_err().contains("no WebAssembly module"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (body, why) in [
        ("", "there is no action ``"),
        ("action=explode", "there is no action `explode`"),
        ("action=drain&cluster=a", "`address` is missing"),
        ("action=weight&cluster=a&address=b&weight=65536", "`weight` is a number from 0 to 65535"),
        ("action=weight&cluster=a&address=b&weight=-1", "`weight` is a number from 0 to 65535"),
        ("action=rollback&to=x", "`to` is the number of a generation"),
        ("action=load&filter=a&module=m&canary=100", "a canary gets more than 0% and less than 100%"),
        ("action=load&filter=a&module=m&canary=NaN", "a canary gets more than 0% and less than 100%"),
        ("action=load&filter=a&module=m&min_streams=0", "`min_streams` is a number above 0"),
    ] {
        assert_eq!(read(FORM_TYPE, body.as_bytes()).unwrap_err(), why, "{body}");
    }
    assert!(read("application/json", b"{}").is_err());
    assert!(read("text/plain", b"action=reload").is_err(), "what other pages could send without asking first");
}

proptest! {
    #[test]
    fn no_body_can_panic(body in prop::collection::vec(any::<u8>(), 0..300), kind in ".{0,40}") {
        let _ = read(&kind, &body);
        let _ = read(FORM_TYPE, &body);
        let _ = read(PARTS_TYPE, &body);
        let mut opened = b"------x7\r\n".to_vec();
        opened.extend_from_slice(&body);
        let _ = read(PARTS_TYPE, &opened);
    }

    #[test]
    fn a_broken_upload_is_refused_and_a_whole_one_is_not(content in prop::collection::vec(any::<u8>(), 0..200), cut in 1_usize..100) {
        let mut module = b"\0asm".to_vec();
        module.extend_from_slice(&content);
        prop_assume!(!module.windows(8).any(|window| window == b"------x7"));
        let whole = parts(&[("action", None, b"load"), ("filter", None, b"f"), ("file", Some("m"), &module)]);
        let expected = Load { module: Some(Module::Uploaded(module)), ..Load::default() };
        prop_assert_eq!(read(PARTS_TYPE, &whole).unwrap().action, Action::Load { filter: "f".into(), load: expected });
        let cut = whole.len() - 4 - cut;
        prop_assert!(read(PARTS_TYPE, &whole[..cut]).is_err());
    }
}
