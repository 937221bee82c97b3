//! Which traces are recorded, where nobody has decided yet.
//!
//! The decision compares 56 random bits with a threshold, as OpenTelemetry's consistent probability sampling does. The bits are the last seven bytes of
//! the trace's id, or what `ot=rv:` in `tracestate` says instead; so the same trace is decided on alike by every proxy and
//! every service that works this way, and who records more records all that who records less does.

use std::cell::Cell;
use std::time::Duration;

use fyke_sdk::trace::TraceId;
use xxhash_rust::xxh64::xxh64;

/// How many numbers 56 bits make.
const ALL: u64 = 1 << 56;
/// The longest request id that counts.
const LONGEST: usize = 128;

/// Traces whose 56 bits are below this are not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold(u64);

impl Threshold {
    /// For a share of all traces, 0 to 1.
    pub fn of(ratio: f64) -> Self {
        // Not a number is no traces.
        let ratio = if ratio.is_nan() { 0.0 } else { ratio.clamp(0.0, 1.0) };
        // The share is scaled, not its complement, which would lose its last digits.
        Self(ALL.saturating_sub((ratio * ALL as f64).round() as u64))
    }

    pub fn takes(self, randomness: u64) -> bool {
        randomness >= self.0
    }

    /// As OpenTelemetry writes it: hexadecimal digits, without the zeros at the end.
    pub fn digits(self) -> String {
        let digits = format!("{:014x}", self.0);
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() { "0".to_owned() } else { digits.to_owned() }
    }
}

/// The 56 bits of a trace's id.
pub fn of_trace(trace_id: TraceId) -> u64 {
    u128::from_be_bytes(trace_id.bytes()) as u64 & (ALL - 1)
}

/// The same trace, with these 56 bits.
pub fn with_bits(trace_id: TraceId, bits: u64) -> TraceId {
    let all = u128::from_be_bytes(trace_id.bytes());
    let new = all & !u128::from(ALL - 1) | u128::from(bits & (ALL - 1));
    TraceId::new(new.to_be_bytes()).unwrap_or(trace_id)
}

/// The 56 bits of a request id: the last 14 digits of a UUID, which are random in versions 4 and 7; of anything else its xxHash64. Whether they are known to be random.
/// `None`: it is not an id.
pub fn of_request(id: &[u8]) -> Option<(u64, bool)> {
    if !(1..=LONGEST).contains(&id.len()) || !id.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    Some(match of_uuid(id) {
        Some((bits, version)) => (bits, matches!(version, b'4' | b'7')),
        None => (xxh64(id, 0) & (ALL - 1), false),
    })
}

/// `xxxxxxxx-xxxx-Vxxx-xxxx-xxxxxxxxxxxx`.
fn of_uuid(id: &[u8]) -> Option<(u64, u8)> {
    let text = std::str::from_utf8(id).ok()?;
    let mut lengths =
        text.split('-').map(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(part.len()));
    let is_uuid =
        [8, 4, 4, 4, 12].iter().all(|length| lengths.next() == Some(Some(*length))) && lengths.next().is_none();
    let digits = text.get(21..23).zip(text.get(24..)).filter(|_| is_uuid)?;
    Some((u64::from_str_radix(&format!("{}{}", digits.0, digits.1), 16).ok()?, *id.get(14)?))
}

/// At most so many in a second: a bucket that holds those of one second.
#[derive(Debug)]
pub struct Limit {
    per_second: u32,
    state: Cell<(f64, Duration)>,
}

impl Limit {
    pub fn new(per_second: u32) -> Self {
        Self { per_second, state: Cell::new((f64::from(per_second), Duration::ZERO)) }
    }

    /// Whether there is one more; `now` is since the epoch. A clock that goes back gives nothing, and takes nothing.
    pub fn take(&self, now: Duration) -> bool {
        let (left, last) = self.state.get();
        let most = f64::from(self.per_second);
        let left = (left + now.saturating_sub(last).as_secs_f64() * most).min(most);
        let takes = left >= 1.0;
        self.state.set((if takes { left - 1.0 } else { left }, now));
        takes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thresholds_are_written_as_open_telemetry_has_them() {
        for (ratio, digits) in [(1.0, "0"), (0.5, "8"), (0.25, "c"), (0.1, "e6666666666666"), (0.01, "fd70a3d70a3d71")]
        {
            assert_eq!(Threshold::of(ratio).digits(), digits, "{ratio}");
        }
        assert!(!Threshold::of(0.0).takes(ALL - 1) && !Threshold::of(f64::NAN).takes(ALL - 1));
        assert!(Threshold::of(1.0).takes(0) && Threshold::of(7.0).takes(0));
    }

    #[test]
    fn a_request_id_has_the_bits_of_its_end() {
        assert_eq!(of_request(b"5f0c7a41-3a1b-4c5d-9e8f-0123456789ab"), Some((0x008f_0123_4567_89ab, true)));
        assert_eq!(of_request(b"5F0C7A41-3A1B-1C5D-9E8F-0123456789AB"), Some((0x008f_0123_4567_89ab, false)));
        assert_eq!(of_request(b"order-7"), Some((xxh64(b"order-7", 0) & (ALL - 1), false)));
        for bad in [&b""[..], b"a b", b"\xc3\xa9", &[b'a'; 129]] {
            assert_eq!(of_request(bad), None);
        }
    }

    #[test]
    fn a_limit_holds_a_second_and_no_more() {
        let limit = Limit::new(2);
        let at = Duration::from_secs(1_700_000_000);
        let taken = |at: Duration| (0..5).filter(|_| limit.take(at)).count();
        assert_eq!(taken(at), 2);
        assert_eq!(taken(at + Duration::from_millis(500)), 1);
        assert_eq!(taken(at + Duration::from_secs(3600)), 2);
        assert_eq!(taken(at), 0, "the clock went back");
        assert_eq!(taken(at + Duration::from_secs(1)), 2);
    }

    proptest! {
        #[test]
        fn who_records_more_records_all_that_who_records_less_does(bits in 0..ALL, a in 0.0..=1.0_f64, b in 0.0..=1.0_f64) {
            let (less, more) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(!Threshold::of(less).takes(bits) || Threshold::of(more).takes(bits));
        }

        #[test]
        fn bits_go_into_an_id_and_come_out_of_it(bytes: [u8; 16], bits in 0..ALL) {
            prop_assume!(bytes.iter().take(9).any(|byte| *byte != 0));
            let id = TraceId::new(bytes).unwrap();
            let new = with_bits(id, bits);
            prop_assert_eq!(of_trace(new), bits);
            prop_assert_eq!(&new.bytes()[..9], &id.bytes()[..9]);
        }

        #[test]
        fn no_request_id_is_too_strange(id: Vec<u8>) {
            prop_assert!(of_request(&id).is_none_or(|(bits, _)| bits < ALL));
        }

        #[test]
        fn a_share_is_a_share(ratio in 0.0..=1.0_f64, seed: u64) {
            let threshold = Threshold::of(ratio);
            let taken = (0..2000_u64).filter(|n| threshold.takes(xxh64(&n.to_le_bytes(), seed) & (ALL - 1))).count();
            prop_assert!((taken as f64 / 2000.0 - ratio).abs() < 0.08);
        }
    }
}
