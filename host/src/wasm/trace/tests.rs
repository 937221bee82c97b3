use super::*;

fn bytes(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_le_bytes(), text].concat()
}

fn stream(trace: u8, flags: u8, state: &[u8], templates: &[[&[u8]; 3]]) -> Vec<u8> {
    let mut args = vec![trace; 16];
    args.extend([0; 8]);
    args.push(flags);
    args.extend(bytes(state));
    args.extend(templates.iter().flatten().flat_map(|part| bytes(part)));
    args
}

#[test]
fn what_is_no_trace_is_refused() {
    let template: [&[u8]; 3] = [b"traceparent", b"00-", b"-01"];
    assert!(Trace::parse(&stream(1, 1, b"a=b", &[template]), None).is_some());
    for args in [
        stream(0, 1, b"", &[]),
        stream(1, 2, b"", &[]),
        stream(1, 1, &[b'a'; MOST_STATE + 1], &[]),
        stream(1, 1, b"", &[[b"host", b"", b""]]),
        stream(1, 1, b"", &[[b"Content-Length", b"", b""]]),
        stream(1, 1, b"", &[[b":path", b"", b""]]),
        stream(1, 1, b"", &[[b"x", b"a\r\nb: ", b""]]),
        stream(1, 1, b"", &[template; MOST_TEMPLATES + 1]),
        stream(1, 1, b"", &[template]).split_last().unwrap().1.to_vec(),
        Vec::new(),
    ] {
        assert!(Trace::parse(&args, None).is_none(), "{args:?}");
    }
}

#[test]
fn without_anybody_who_takes_spans_nothing_is_kept() {
    let mut trace = Trace::parse(&stream(1, 1, b"", &[]), None).unwrap();
    assert!(trace.sampled && !trace.is_recorded());
    assert_eq!(trace.start("f".to_owned(), b"work"), UNRECORDED);
    trace.enters("f", Direction::Request);
    trace.attempts(1, &mut HeaderMap::new());
    assert!(trace.visits.is_empty() && trace.attempts.is_empty());
}

#[test]
fn every_attempt_is_named_in_its_headers_and_all_are_bounded() {
    let mut trace = Trace::parse(&stream(1, 1, b"", &[[b"x-span", b"<", b">"]]), None).unwrap();
    trace.recorded = true;
    let mut seen = std::collections::BTreeSet::new();
    for number in 1..=1000 {
        let mut fields = HeaderMap::new();
        trace.attempts(number, &mut fields);
        seen.extend(fields.get("x-span").map(|value| value.to_str().unwrap().to_owned()));
        trace.enters("f", Direction::Response);
        trace.start("f".to_owned(), b"s");
        trace.tag(0, format!("k{number}"), Value::Integer(1)).unwrap();
    }
    assert_eq!((seen.len(), trace.attempts.len()), (MOST_RECORDED, MOST_RECORDED));
    assert!(seen.contains(&format!("<{}>", hex(&trace.attempts[7].id))));
    assert_eq!((trace.visits.len(), trace.spans.len(), trace.tags.len()), (MOST_RECORDED, MOST_SPANS, MOST_TAGS));
    assert!(trace.tag(65, String::new(), Value::Integer(1)).is_none(), "there is no such span");
    trace.tag(1, NAME.to_owned(), Value::from("better".to_owned())).unwrap();
    assert_eq!(trace.spans[0].name, "better");
}

#[test]
fn values_have_kinds() {
    let value = |bytes: &[u8]| value(&mut Arguments(bytes));
    assert_eq!(value(b"\0text"), Some(Value::from("text".to_owned())));
    assert_eq!(value(&[&[1][..], &(-5i64).to_le_bytes()].concat()), Some(Value::Integer(-5)));
    assert_eq!(value(&[2, 1]), Some(Value::Boolean(true)));
    assert_eq!(value(&[&[3][..], &1.5f64.to_le_bytes()].concat()), Some(Value::Float(1.5)));
    assert!(value(&[1, 0]).is_none() && value(&[4, 0]).is_none() && value(&[]).is_none());
}
