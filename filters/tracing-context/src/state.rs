//! `tracestate`, of W3C Trace Context, level 2, and OpenTelemetry's member `ot` in it.
//!
//! A list that is malformed is dropped whole, as the standard's own tests want it. What is kept is as long as the standard lets it be: 32
//! members of at most 513 characters, which is far more than the 512 altogether that have to be passed on.

/// Members of a list.
const MEMBERS: usize = 32;
/// The longest key, and the longest value.
const LONGEST: usize = 256;
/// What is longer than this, white space included, is not even looked at.
const LONGEST_LIST: usize = 32 * 1024;
/// OpenTelemetry's key.
const OPEN_TELEMETRY: &str = "ot";

/// A list of members that is well formed: `a=1,b=2`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceState {
    text: String,
    /// Whether the request says exactly this, in one header.
    written: bool,
}

impl TraceState {
    /// Combines the headers, in their order. `None`: malformed.
    pub fn parse(values: &[&[u8]]) -> Option<Self> {
        if values.iter().map(|value| value.len()).sum::<usize>() > LONGEST_LIST {
            return None;
        }
        let mut text = String::new();
        let mut keys: Vec<&str> = Vec::new();
        for value in values {
            for member in std::str::from_utf8(value).ok()?.split(',') {
                let member = member.trim_matches([' ', '\t']);
                if member.is_empty() {
                    continue;
                }
                let (key, value) = member.split_once('=')?;
                if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MEMBERS {
                    return None;
                }
                keys.push(key);
                if !text.is_empty() {
                    text.push(',');
                }
                text.push_str(member);
            }
        }
        let written = matches!(values, [only] if *only == text.as_bytes());
        Some(Self { text, written })
    }

    /// As a header has it; empty: no header.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the request says exactly this already.
    pub fn is_written(&self) -> bool {
        self.written
    }

    /// OpenTelemetry's `rv`: 56 random bits that count instead of the trace's id.
    pub fn randomness(&self) -> Option<u64> {
        let value = self.open_telemetry()?.split(';').find_map(|pair| pair.strip_prefix("rv:"))?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (value.len() == 14 && value.bytes().all(is_digit)).then(|| u64::from_str_radix(value, 16).ok())?
    }

    /// Says by which threshold the trace was sampled, or that there was none.
    pub fn set_threshold(&mut self, threshold: Option<&str>) {
        self.set("th", threshold);
    }

    /// Says what the decision was made by, where it was not the trace's id.
    pub fn set_randomness(&mut self, randomness: u64) {
        self.set("rv", Some(&format!("{randomness:014x}")));
    }

    fn members(&self) -> impl Iterator<Item = &str> {
        self.text.split(',').filter(|member| !member.is_empty())
    }

    fn open_telemetry(&self) -> Option<&str> {
        self.members().find_map(|member| member.strip_prefix(OPEN_TELEMETRY)?.strip_prefix('='))
    }

    /// Changes one sub-key of `ot`, which moves to the front, as what was changed does (section 3.3.1.4).
    fn set(&mut self, key: &str, value: Option<&str>) {
        let before = self.open_telemetry();
        if value.is_none() && before.is_none() {
            return;
        }
        let is_key = |pair: &&str| pair.split(':').next() == Some(key);
        let others: Vec<&str> = before
            .into_iter()
            .flat_map(|list| list.split(';'))
            .filter(|pair| !is_key(pair) && !pair.is_empty())
            .collect();
        if value.is_none() && before.is_some_and(|list| list.split(';').count() == others.len()) {
            return;
        }
        let new = value.map(|value| format!("{key}:{value}"));
        let mut list = others.iter().copied().chain(new.as_deref()).collect::<Vec<_>>().join(";");
        if list.len() > LONGEST {
            // What others say there would not fit.
            list = new.unwrap_or_default();
        }
        let prefix = format!("{OPEN_TELEMETRY}=");
        let first = (!list.is_empty()).then(|| format!("{prefix}{list}"));
        let text = {
            let rest = self.members().filter(|member| !member.starts_with(&prefix));
            first.as_deref().into_iter().chain(rest).take(MEMBERS).collect::<Vec<_>>().join(",")
        };
        *self = Self { text, written: false };
    }
}

/// `( lcalpha / DIGIT ) 0*255( lcalpha / DIGIT / "_" / "-" / "*" / "/" / "@" )`.
fn is_key(key: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.len() <= LONGEST
        && key.bytes().next().is_some_and(first)
        && key.bytes().all(|byte| first(byte) || b"_-*/@".contains(&byte))
}

/// `0*255( chr ) nblk-chr`: printable, without `,` and `=`. It does not end with a space, for the list was trimmed.
fn is_value(value: &str) -> bool {
    (1..=LONGEST).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> TraceState {
        TraceState::parse(&[text.as_bytes()]).unwrap()
    }

    #[test]
    fn a_list_that_is_well_formed_need_not_be_written_again() {
        assert!(state("a=1,b=2").is_written());
        assert!(!state("a=1, b=2").is_written());
        assert!(!TraceState::parse(&[b"a=1", b"b=2"]).unwrap().is_written());
    }

    #[test]
    fn the_threshold_is_set_replaced_and_taken_away() {
        for (before, threshold, after) in [
            ("", Some("8"), "ot=th:8"),
            ("a=1", Some("8"), "ot=th:8,a=1"),
            ("a=1,ot=th:0", Some("8"), "ot=th:8,a=1"),
            ("a=1,ot=rv:00000000000001;th:0", Some("8"), "ot=rv:00000000000001;th:8,a=1"),
            ("a=1,ot=th:0", None, "a=1"),
            ("ot=th:0;x:y", None, "ot=x:y"),
            ("a=1,ot=x:y", None, "a=1,ot=x:y"),
            ("a=1,other=1", None, "a=1,other=1"),
        ] {
            let mut state = state(before);
            state.set_threshold(threshold);
            assert_eq!(state.as_str(), after, "{before}");
        }
    }

    #[test]
    fn a_full_list_loses_its_last_member() {
        let full = (0..32).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let mut state = state(&full);
        state.set_threshold(Some("8"));
        assert!(state.as_str().starts_with("ot=th:8,k0=v,") && state.as_str().ends_with(",k30=v"));
        assert_eq!(state.as_str().split(',').count(), 32);
    }

    #[test]
    fn what_does_not_fit_beside_a_threshold_goes() {
        let mut state = state(&format!("ot=x:{}", "y".repeat(250)));
        state.set_threshold(Some("12345678"));
        assert_eq!(state.as_str(), "ot=th:12345678");
    }

    #[test]
    fn randomness_has_fourteen_digits() {
        assert_eq!(state("a=1,ot=th:8;rv:0123456789abcd").randomness(), Some(0x0001_2345_6789_abcd));
        for none in ["a=1", "ot=rv:1", "ot=rv:0123456789ABCD", "ot=rv:+123456789abcd", "ot=xrv:0123456789abcd"] {
            assert_eq!(state(none).randomness(), None, "{none}");
        }
        let mut state = state("ot=rv:0123456789abcd");
        state.set_randomness(1);
        assert_eq!(state.as_str(), "ot=rv:00000000000001");
    }
}
