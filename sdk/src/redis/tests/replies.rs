//! Replies, as they come over the wire.

use crate::redis::resp::{push_command, push_value, replies};
use crate::redis::{RedisError, ServerError, Value};

fn one(bytes: &[u8]) -> Option<Value> {
    replies(bytes, 1).map(|values| values.into_iter().next().unwrap())
}

/// The examples of the specification.
#[test]
fn replies_of_both_protocols_are_read() {
    let text = |text: &str| Value::from(text);
    for (bytes, value) in [
        (&b"+OK\r\n"[..], Value::ok()),
        (b"-WRONGTYPE no\r\n", Value::error("WRONGTYPE no")),
        (b":-1000\r\n", Value::Integer(-1000)),
        (b":+7\r\n", Value::Integer(7)),
        (b"$5\r\nhello\r\n", text("hello")),
        (b"$4\r\n\r\n\r\n\r\n", text("\r\n\r\n")),
        (b"$0\r\n\r\n", text("")),
        (b"$-1\r\n", Value::Null),
        (b"*-1\r\n", Value::Null),
        (b"*0\r\n", Value::Array(vec![])),
        (
            b"*3\r\n:1\r\n$-1\r\n*1\r\n+a\r\n",
            Value::Array(vec![Value::Integer(1), Value::Null, Value::Array(vec![Value::Status("a".to_owned())])]),
        ),
        (b"_\r\n", Value::Null),
        (b"#t\r\n", Value::Boolean(true)),
        (b"#f\r\n", Value::Boolean(false)),
        (b",1.5\r\n", Value::Double(1.5)),
        (b",-inf\r\n", Value::Double(f64::NEG_INFINITY)),
        (
            b"(-3492890328409238509324850943850943825024385\r\n",
            Value::BigNumber("-3492890328409238509324850943850943825024385".to_owned()),
        ),
        (b"!10\r\nERR a\r\nbcd\r\n", Value::error("ERR a\r\nbcd")),
        (b"=8\r\ntxt:some\r\n", text("some")),
        (b"%1\r\n+k\r\n:1\r\n", Value::Map(vec![(Value::Status("k".to_owned()), Value::Integer(1))])),
        (b"~1\r\n:1\r\n", Value::Set(vec![Value::Integer(1)])),
        (b"|1\r\n+ttl\r\n:3\r\n:5\r\n", Value::Integer(5)),
        (b">2\r\n+message\r\n+x\r\n:5\r\n", Value::Integer(5)),
    ] {
        assert_eq!(one(bytes), Some(value), "{}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(replies(b":1\r\n:2\r\n", 2), Some(vec![Value::Integer(1), Value::Integer(2)]));
}

#[test]
fn what_is_no_reply_is_none() {
    for bytes in [
        &b""[..],
        b"+OK",
        b"+OK\n",
        b":x\r\n",
        b":\r\n",
        b"$3\r\nab\r\n",
        b"$3\r\nabcd\r\n",
        b"$-2\r\n",
        b"$?\r\n",
        b"*2\r\n:1\r\n",
        b"#x\r\n",
        b",a\r\n",
        b"(1a\r\n",
        b"=2\r\nab\r\n",
        b"?\r\n",
        b":1\r\n:2\r\n",
        b"%1\r\n:1\r\n",
        b"_x\r\n",
        b"*99999999999999999999\r\n",
        b"*9223372036854775807\r\n:1\r\n",
        b"%9223372036854775807\r\n",
        b"|9223372036854775807\r\n",
    ] {
        assert_eq!(one(bytes), None, "{}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(replies(b":1\r\n", 2), None);
}

#[test]
fn depth_and_number_have_bounds() {
    let nested = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
    assert!(one(&nested(32)).is_some());
    assert!(one(&nested(33)).is_none());
    assert!(one(&nested(100_000)).is_none());
    let many = |count: usize| [format!("*{count}\r\n").into_bytes(), b"_\r\n".repeat(count)].concat();
    assert!(one(&many((1 << 20) - 1)).is_some());
    assert!(one(&many(1 << 20)).is_none());
}

#[test]
fn what_is_cut_short_anywhere_is_none() {
    let whole = b"*4\r\n$3\r\nabc\r\n%1\r\n+k\r\n,1.5\r\n=5\r\ntxt:a\r\n|1\r\n+a\r\n:1\r\n#t\r\n";
    assert!(one(whole).is_some());
    for end in 0..whole.len() {
        assert_eq!(one(&whole[..end]), None, "{end}");
    }
}

#[test]
fn what_is_written_is_read() {
    let value = Value::Array(vec![
        Value::Null,
        Value::Integer(-5),
        Value::Double(0.25),
        Value::Boolean(true),
        Value::ok(),
        Value::from("a\r\nb"),
        Value::BigNumber("123".to_owned()),
        Value::Map(vec![(Value::from("k"), Value::Set(vec![Value::Integer(1)]))]),
        Value::Push(vec![]),
        Value::error("ERR some\r\nthing"),
    ]);
    let mut bytes = Vec::new();
    push_value(&mut bytes, &value);
    assert_eq!(one(&bytes), Some(value));
    let mut command = Vec::new();
    push_command(&mut command, &[&b"SET"[..], b"k", b"\r\n"]);
    assert_eq!(command, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n");
}

#[test]
fn values_are_looked_at_as_what_they_could_be() {
    assert_eq!(Value::from("12").as_integer(), Some(12));
    assert_eq!((Value::Boolean(true).as_integer(), Value::from("x").as_integer()), (Some(1), None));
    assert_eq!((Value::Integer(2).as_double(), Value::from("1.5").as_double()), (Some(2.0), Some(1.5)));
    assert_eq!((Value::ok().as_str(), Value::from(vec![0xff]).as_str()), (Some("OK"), None));
    let pairs = [Value::from("a"), Value::Integer(1)];
    let [key, value] = &pairs;
    assert_eq!(Value::Array(pairs.to_vec()).as_map(), Some(vec![(key, value)]));
    assert_eq!(Value::Map(vec![(key.clone(), value.clone())]).as_map(), Some(vec![(key, value)]));
    assert_eq!(Value::Array(vec![Value::Null]).as_map(), None);
    assert_eq!(Value::from(None::<i64>), Value::Null);
    let error = ServerError::new("NOSCRIPT No matching script");
    assert_eq!((error.code(), error.to_string().as_str()), ("NOSCRIPT", "NOSCRIPT No matching script"));
    assert_eq!(Value::Error(error.clone()).into_result(), Err(RedisError::Server(error)));
    assert!(RedisError::Timeout.may_be_executed() && !RedisError::Overloaded.may_be_executed());
}

/// Whatever comes, it is a reply or none.
#[test]
fn bytes_that_were_changed_anywhere_are_read_or_refused() {
    let whole = b"*5\r\n$3\r\nabc\r\n%1\r\n+k\r\n,1.5\r\n=5\r\ntxt:a\r\n|1\r\n+a\r\n:1\r\n#t\r\n!5\r\nERR a\r\n";
    assert!(one(whole).is_some());
    let (mut read, mut refused) = (0, 0);
    for at in 0..whole.len() {
        for byte in 0..=u8::MAX {
            let mut bytes = whole.to_vec();
            bytes[at] = byte;
            match one(&bytes) {
                Some(value) => {
                    assert_eq!(value.as_array().map(<[Value]>::len), Some(5), "{value:?}");
                    read += 1;
                }
                None => refused += 1,
            }
        }
    }
    assert!(read > 1_000 && refused > 1_000, "{read} {refused}");
}
