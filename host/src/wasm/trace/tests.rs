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

#[test]
fn what_filters_say_is_cut_and_bounded_in_all() {
    let mut trace = Trace::parse(&stream(1, 1, b"", &[[b"x", b"<", b">"]]), None).unwrap();
    trace.recorded = true;
    assert_eq!(text(&[b'a'; MOST_TEXT + 1]), "a".repeat(MOST_TEXT));
    // Never within a character.
    let long = format!("a{}", "\u{e9}".repeat(MOST_TEXT));
    assert_eq!(text(long.as_bytes()).len(), MOST_TEXT - 1);
    assert!(text(&[0xff; MOST_TEXT]).len() <= MOST_TEXT);
    let sum = |trace: &Trace| {
        let tags = |tags: &Attributes| tags.iter().map(|(key, value)| key.len() + size(value)).sum::<usize>();
        let span = |span: &FilterSpan| {
            span.name.len() + tags(&span.tags) + span.ended.as_ref().map_or(0, |(_, error)| error.len())
        };
        trace.name.len() + tags(&trace.tags) + trace.spans.iter().map(span).sum::<usize>()
    };
    for round in 0..3_usize {
        for handle in 0..=u32::try_from(MOST_SPANS).unwrap() {
            trace.start("f".to_owned(), &[b'n'; MOST_TEXT]);
            for tag in 0..MOST_TAGS {
                let value = Value::from("v".repeat(MOST_TEXT / (round + 1)));
                let _ = trace.tag(handle, format!("{tag}"), value);
            }
            let _ = trace.tag(handle, NAME.to_owned(), Value::from("m".repeat(MOST_TEXT)));
        }
        assert!(sum(&trace) <= MOST_BYTES && trace.held <= MOST_BYTES, "round {round}: {}", sum(&trace));
        assert!(sum(&trace) > MOST_BYTES / 2);
    }
    // That there was an error is kept in any case.
    let spans = u32::try_from(trace.spans.len()).unwrap();
    for handle in 1..=spans {
        trace.end(handle, &[b'e'; MOST_TEXT]).unwrap();
    }
    assert!(trace.spans.iter().all(|span| span.ended.as_ref().is_some_and(|(_, error)| error.len() >= LEAST_ERROR)));
    assert!(sum(&trace) <= MOST_BYTES + MOST_SPANS * LEAST_ERROR);
    assert!(trace.end(spans + 1, b"").is_none() && trace.end(0, b"").is_none());
    let long = [b'a'; MOST_TEXT + 1];
    assert!(Trace::parse(&stream(1, 1, b"", &[[b"x", &long, b""]]), None).is_none());
}

#[test]
fn behind_a_redirect_an_attempt_is_that_of_its_own_hop() {
    let mut trace = Trace::parse(&stream(1, 1, b"", &[]), None).unwrap();
    trace.recorded = true;
    let failed = |port| -> Result<Answered, UpstreamError> {
        Err(UpstreamError::PerTryTimeout { address: Some(([127, 0, 0, 1], port).into()), timeout: Duration::ZERO })
    };
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    trace.attempts(1, &mut HeaderMap::new());
    trace.reached(1, address(1));
    trace.redirected();
    trace.attempts(1, &mut HeaderMap::new());
    trace.attempted(1, &failed(2));
    trace.attempts(2, &mut HeaderMap::new());
    trace.reached(2, address(3));
    let told: Vec<_> = trace.attempts.iter().map(|attempt| (attempt.address, &attempt.outcome)).collect();
    let timeout = Outcome::Failed("upstream_per_try_timeout");
    assert_eq!(
        told,
        [(Some(address(1)), &Outcome::Unknown), (Some(address(2)), &timeout), (Some(address(3)), &Outcome::Unknown),]
    );
    trace.discarded(1);
    assert_eq!(trace.attempts.iter().map(|attempt| attempt.ended.is_some()).collect::<Vec<_>>(), [true, true, false]);
    // An attempt that is dropped has an endpoint and an error.
    trace.gave_up(CANCELLED);
    let last = trace.attempts.last().unwrap();
    assert!(last.ended.is_some() && last.outcome == Outcome::Failed(CANCELLED) && last.address == Some(address(3)));
}

#[test]
fn a_reply_ends_what_filters_hold() {
    let mut trace = Trace::parse(&stream(1, 1, b"", &[]), None).unwrap();
    trace.recorded = true;
    trace.enters("a", Direction::Request);
    trace.leaves("a", Direction::Request);
    let left = trace.visits[0].ended;
    trace.enters("b", Direction::Request);
    trace.replied();
    assert_eq!(trace.visits[0].ended, left);
    assert!(trace.visits[1].ended.is_some());
    trace.enters("a", Direction::Response);
    assert!(trace.visits[2].ended.is_none());
}
