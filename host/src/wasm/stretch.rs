//! `fyke.crypto.pbkdf2.v1`: keys derived from passwords, off the worker.

use std::{cell::RefCell, collections::VecDeque, num::NonZeroU32, rc::Rc};

use fyke_engine::{ContextId, Status};
use ring::{digest, pbkdf2};

use super::{
    call::Call,
    event,
    foreign::{Arguments, STRETCHED},
};

/// More rounds than any protocol asks for.
const MOST_ROUNDS: u32 = 10_000_000;
/// The longest salt, and the longest password, in bytes.
const LONGEST: usize = 1024;
/// Keys that a worker remembers.
const MOST_KEYS: usize = 64;

/// Keys that were derived, under the digest of what they come from.
#[derive(Default)]
pub struct Keys(RefCell<VecDeque<(Digest, Key)>>);

/// Of what a key comes from.
type Digest = [u8; 32];
type Key = Rc<[u8]>;

impl Keys {
    fn find(&self, of: &Digest) -> Option<Key> {
        self.0.borrow().iter().find(|(known, _)| known == of).map(|(_, key)| Rc::clone(key))
    }

    fn remember(&self, of: Digest, key: Key) {
        let mut keys = self.0.borrow_mut();
        if keys.len() >= MOST_KEYS {
            keys.pop_front();
        }
        keys.push_back((of, key));
    }
}

/// What a key is derived from.
struct Recipe {
    algorithm: pbkdf2::Algorithm,
    length: usize,
    rounds: NonZeroU32,
    salt: Vec<u8>,
    password: Vec<u8>,
}

impl Recipe {
    fn read(args: &[u8]) -> Option<Self> {
        let mut args = Arguments(args);
        let (algorithm, length) = match args.u32()? {
            1 => (pbkdf2::PBKDF2_HMAC_SHA1, digest::SHA1_OUTPUT_LEN),
            256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            _ => return None,
        };
        let rounds = NonZeroU32::new(args.u32()?).filter(|rounds| rounds.get() <= MOST_ROUNDS)?;
        let (salt, password) = (args.bytes()?, args.bytes()?);
        if salt.len() > LONGEST || password.len() > LONGEST || !args.0.is_empty() {
            return None;
        }
        Some(Self { algorithm, length, rounds, salt: salt.to_vec(), password: password.to_vec() })
    }

    fn derive(&self) -> Vec<u8> {
        let mut key = vec![0; self.length];
        pbkdf2::derive(self.algorithm, self.rounds, &self.salt, &self.password, &mut key);
        key
    }
}

/// Begins to derive a key.
pub fn call(host: &mut Call<'_>, cx: ContextId, args: &[u8], out: &mut Vec<u8>) -> Option<Status> {
    let recipe = Recipe::read(args)?;
    let (env, vm, slot) = (Rc::clone(host.env()), Rc::clone(host.vm()), Rc::clone(host.slot()));
    let place = slot.room_for_call(args.len())?;
    let token = slot.token();
    out.extend_from_slice(&token.to_le_bytes());
    let mut of = [0; 32];
    of.copy_from_slice(digest::digest(&digest::SHA256, args).as_ref().get(..32)?);
    let slot = Rc::downgrade(&slot);
    tokio::task::spawn_local(async move {
        let key = match env.stock.keys.find(&of) {
            Some(key) => Some(key),
            None => {
                let derived = tokio::task::spawn_blocking(move || recipe.derive());
                let derived = tokio::select! {
                    biased;
                    () = place.over() => return,
                    derived = derived => derived,
                };
                let key = derived.ok().map(Rc::from);
                if let Some(key) = &key {
                    env.stock.keys.remember(of, Rc::clone(key));
                }
                key
            }
        };
        drop(place);
        let Some(slot) = slot.upgrade() else { return };
        let mut event = token.to_le_bytes().to_vec();
        event.extend_from_slice(key.as_deref().unwrap_or_default());
        event::deliver((&env, &vm, &slot), cx, STRETCHED, &event);
    });
    Some(Status::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(hash: u32, rounds: u32, salt: &[u8], password: &[u8]) -> Vec<u8> {
        let mut args = [hash.to_le_bytes(), rounds.to_le_bytes()].concat();
        for part in [salt, password] {
            args.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
            args.extend_from_slice(part);
        }
        args
    }

    #[test]
    fn keys_are_those_of_the_standards() {
        // RFC 6070, the second vector; RFC 7914, section 11, its first 32 bytes.
        let sha1 = Recipe::read(&args(1, 2, b"salt", b"password")).unwrap().derive();
        assert_eq!(sha1[..4], [0xea, 0x6c, 0x01, 0x4d]);
        let sha256 = Recipe::read(&args(256, 1, b"salt", b"passwd")).unwrap().derive();
        assert_eq!(sha256[..4], [0x55, 0xac, 0x04, 0x6e]);
        assert_eq!((sha1.len(), sha256.len()), (20, 32));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let long = [0; LONGEST + 1];
        let bad =
            [args(2, 1, b"", b""), args(1, 0, b"", b""), args(1, u32::MAX, b"", b""), args(1, 1, &long, b""), vec![1]];
        for args in bad {
            assert!(Recipe::read(&args).is_none(), "{args:?}");
        }
        let mut more = args(1, 1, b"", b"");
        more.push(0);
        assert!(Recipe::read(&more).is_none());
    }

    #[test]
    fn few_keys_are_kept() {
        let keys = Keys::default();
        for number in 0..=u8::try_from(MOST_KEYS).unwrap() {
            keys.remember([number; 32], Rc::from(&[number][..]));
        }
        assert!(keys.find(&[0; 32]).is_none());
        assert_eq!(keys.find(&[1; 32]).as_deref(), Some(&[1][..]));
    }
}
