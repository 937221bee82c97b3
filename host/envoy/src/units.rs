//! Values as Fyke's configuration writes them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Map, Value};

/// `5s`, `250ms`, `1m`: the largest unit that is whole, of those that filters read as well. What is less than a millisecond counts as one.
pub(crate) fn duration(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let units: [(u128, &str); 4] = [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    match units.iter().find(|(size, _)| millis > 0 && millis.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", millis / size),
        None => "0s".to_owned(),
    }
}

/// `64KiB`, `1MiB`: the largest unit that is whole.
pub(crate) fn bytes(size: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| size > 0 && size.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", size / unit),
        None => format!("{size}B"),
    }
}

/// `12.5%`
pub(crate) fn percent(share: f64) -> String {
    format!("{}%", rounded(share))
}

/// `+40%`
pub(crate) fn increase(share: f64) -> String {
    format!("+{}%", rounded(share))
}

/// Without the noise behind the ninth digit that dividing leaves.
fn rounded(number: f64) -> f64 {
    (number * 1e9).round() / 1e9
}

/// `10.0.0.1:80`, `[::1]:80`
pub(crate) fn socket(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// An object in the order in which it is written; what is nothing is left out.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    pub fn set_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// A flag that is off by default.
    pub fn set_if(&mut self, key: &str, value: bool) {
        if value {
            self.set(key, true);
        }
    }

    /// A list or object that is empty by default.
    pub fn set_filled(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        let empty = match &value {
            Value::Array(list) => list.is_empty(),
            Value::Object(object) => object.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        if !empty {
            self.0.insert(key.to_owned(), value);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.0.get_mut(key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// `None` if nothing is in it.
    pub fn filled(self) -> Option<Value> {
        (!self.0.is_empty()).then_some(Value::Object(self.0))
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object.0)
    }
}

impl From<Object> for Map<String, Value> {
    fn from(object: Object) -> Self {
        object.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_the_largest_that_are_whole() {
        assert_eq!(duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(duration(Duration::from_secs(300)), "5m");
        assert_eq!(duration(Duration::from_secs(172_800)), "48h");
        assert_eq!(duration(Duration::from_micros(1)), "1ms");
        assert_eq!(duration(Duration::ZERO), "0s");
        assert_eq!(bytes(61_440), "60KiB");
        assert_eq!(bytes(1000), "1000B");
        assert_eq!(percent(100.0 * 1234.0 / 10_000.0), "12.34%");
        assert_eq!(increase(40.0), "+40%");
    }
}
