//! Data that the workers share, with the compare-and-swap loop inside.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi::{self, Status};
use crate::error::{Error, Result};

/// How often an update is tried again while others update too.
const ATTEMPTS: usize = 64;

/// A value under a key, stored as JSON; from [`Env::shared`](crate::Env::shared).
#[derive(Debug, Clone)]
pub struct Shared<T> {
    key: String,
    value: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Shared<T> {
    pub(crate) fn new(key: &str) -> Self {
        Self { key: key.to_owned(), value: PhantomData }
    }

    /// The value, if there is one.
    ///
    /// # Errors
    /// When what is stored is no `T`.
    pub fn load(&self) -> Result<Option<T>> {
        Ok(self.fetch()?.0)
    }

    /// Replaces the value by what `change` makes of it. `change` may run several times.
    ///
    /// # Errors
    /// When what is stored is no `T`, or others kept being faster.
    pub fn update(&self, mut change: impl FnMut(Option<T>) -> T) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let (old, cas) = self.fetch()?;
            match abi::set_shared_data(&self.key, &serde_json::to_vec(&change(old))?, cas) {
                Err(Status::CAS_MISMATCH) => {}
                other => return Ok(other?),
            }
        }
        Err(Error::new(format!("shared data \"{}\" changed {ATTEMPTS} times during one update", self.key)))
    }

    fn fetch(&self) -> Result<(Option<T>, u32)> {
        match abi::shared_data(&self.key) {
            // The ABI cannot delete: an empty value stands for none.
            Some((bytes, cas)) if bytes.is_empty() => Ok((None, cas)),
            Some((bytes, cas)) => Ok((Some(serde_json::from_slice(&bytes)?), cas)),
            // Not zero, which would store unconditionally: whoever finds a value there meanwhile loses to it. A host ignores the token
            // of a key that it does not have.
            None => Ok((None, u32::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_who_both_find_nothing_lose_no_update() {
        let shared = Shared::<u32>::new("visits");
        let mut runs = 0;
        shared
            .update(|old| {
                runs += 1;
                if runs == 1 {
                    // Another worker is faster, between the read and the write.
                    Shared::<u32>::new("visits").update(|old| old.unwrap_or(0) + 1).unwrap();
                }
                old.unwrap_or(0) + 1
            })
            .unwrap();
        assert_eq!((shared.load().unwrap(), runs), (Some(2), 2));
    }
}
