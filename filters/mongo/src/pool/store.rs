//! Pins in the data that workers share, and in this worker's memory where the host shares none.

use data_encoding::BASE64URL_NOPAD;
use fyke_sdk::abi;

use super::pins::{MemoryPins, Pins};

/// What the keys begin with.
const PREFIX: &str = "mongo.pin.";
const EXPIRE: &str = "fyke.shared.expire.v1";
const DELETE: &str = "fyke.shared.delete.v1";

/// The store of a pool's pins.
#[derive(Debug, Default)]
pub struct SharedPins {
    /// Those that the host did not take: the filter was not granted shared data, or it is full.
    local: MemoryPins,
}

impl Pins for SharedPins {
    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        if !self.local.is_empty()
            && let Some(value) = self.local.get(key)
        {
            return Some(value);
        }
        // The ABI cannot delete: an empty value stands for none.
        abi::shared_data(&name(key)).map(|(value, _)| value).filter(|value| !value.is_empty())
    }

    fn put(&mut self, key: &[u8], value: &[u8], expires: u64) {
        let name = name(key);
        if abi::set_shared_data(&name, value, 0).is_err() {
            self.local.put(key, value, expires);
            return;
        }
        let milliseconds = expires.saturating_sub(now()).max(1);
        let arguments = [&milliseconds.to_le_bytes(), name.as_bytes()].concat();
        // A host that lets nothing expire keeps it until it is removed.
        let _ = abi::call_foreign_function(EXPIRE, &arguments);
    }

    fn remove(&mut self, key: &[u8]) {
        if !self.local.is_empty() {
            self.local.remove(key);
        }
        let name = name(key);
        if abi::call_foreign_function(DELETE, name.as_bytes()).is_err() && abi::shared_data(&name).is_some() {
            let _ = abi::set_shared_data(&name, &[], 0);
        }
    }
}

fn name(key: &[u8]) -> String {
    let mut name = PREFIX.to_owned();
    BASE64URL_NOPAD.encode_append(key, &mut name);
    name
}

/// The wall clock, in milliseconds since 1970: whoever shares pins expires them by it.
pub fn now() -> u64 {
    abi::now() / 1_000_000
}
