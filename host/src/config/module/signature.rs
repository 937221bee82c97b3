//! Who vouches for a module: detached Ed25519 signatures over its exact bytes.
//!
//! Keys and signatures are made with
//!
//! ```sh
//! openssl genpkey -algorithm ed25519 -out team.key
//! openssl pkey -in team.key -pubout -out team.pub
//! openssl pkeyutl -sign -inkey team.key -rawin -in m.wasm -out m.wasm.sig
//! ```

use std::{fmt, fs::File, io::Read, path::Path};

use data_encoding::{BASE64, BASE64_NOPAD, Encoding, HEXLOWER_PERMISSIVE};
use ring::signature::{ED25519, UnparsedPublicKey};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem, pem::PemObject};

const KEY: usize = 32;
const SIGNATURE: usize = 64;

/// What stands before an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410): a sequence of the algorithm
/// 1.3.101.112 and a string of 32 bytes.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// More is no key. A certificate chain by mistake still fits, and is told apart.
const KEY_FILE: u64 = 64 * 1024;

/// A key that signatures are checked with.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey([u8; KEY]);

impl PublicKey {
    /// Reads a key from a file: PEM as `openssl pkey -pubout` writes it, or the 32 bytes in base64 or hexadecimal.
    ///
    /// # Errors
    /// What is wrong with the file or the key, for the operator.
    pub fn read(path: &Path) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(KEY_FILE).read_to_end(&mut bytes));
        read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Self::parse(&bytes).map_err(|reason| format!("{} is not an Ed25519 public key: {reason}", path.display()))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; KEY] {
        &self.0
    }

    /// Reads a key: PEM, DER, or the 32 bytes raw, in base64 or in hexadecimal.
    ///
    /// # Errors
    /// What is wrong with it, for the operator; never a part of it, for it may be the private one.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.windows(10).any(|window| window == b"-----BEGIN") {
            let key = SubjectPublicKeyInfoDer::from_pem_slice(bytes).map_err(|error| match error {
                pem::Error::NoItemsFound if bytes.windows(11).any(|window| window == b"PRIVATE KEY") => {
                    "it is a private key; `openssl pkey -in KEY -pubout` prints the public one".to_owned()
                }
                pem::Error::NoItemsFound => "it holds no PUBLIC KEY".to_owned(),
                error => format!("{error:?}"),
            })?;
            return Self::from_spki(&key).ok_or_else(|| {
                "it is a key of another kind; `openssl genpkey -algorithm ed25519` makes one".to_owned()
            });
        }
        let expected = || "32 bytes in base64 or hexadecimal, or PEM, are expected".to_owned();
        Self::from_spki(bytes).or_else(|| decode(bytes).map(Self)).ok_or_else(expected)
    }

    fn from_spki(der: &[u8]) -> Option<Self> {
        der.strip_prefix(&SPKI).and_then(|key| key.try_into().ok()).map(Self)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&BASE64.encode(&self.0)).finish()
    }
}

/// Why a signature does not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error("it has no signature; {0}")]
    Missing(String),
    /// There is something else.
    #[error("its signature is not one: 64 bytes, raw or in base64 or hexadecimal, are expected")]
    Malformed,
    /// It belongs to other bytes, or to another key.
    #[error("its signature was not made over these bytes by {}", keys(*.0))]
    Wrong(usize),
}

/// Checks that one of the keys has signed the bytes. The signature is 64 bytes, raw or in base64 or hexadecimal.
///
/// # Errors
/// [`SignatureError`], if none has; so with no keys at all.
pub fn verify(keys: &[PublicKey], bytes: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let signature: [u8; SIGNATURE] = decode(signature).ok_or(SignatureError::Malformed)?;
    let valid = |key: &PublicKey| UnparsedPublicKey::new(&ED25519, key.0).verify(bytes, &signature).is_ok();
    if keys.iter().any(valid) { Ok(()) } else { Err(SignatureError::Wrong(keys.len())) }
}

/// `N` bytes, raw or as text. Text has more bytes than what it stands for, so that nothing can be meant in two ways.
fn decode<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    if let Ok(raw) = bytes.try_into() {
        return Some(raw);
    }
    let text = bytes.trim_ascii();
    let by = |encoding: &Encoding| encoding.decode(text).ok()?.try_into().ok();
    by(&BASE64).or_else(|| by(&BASE64_NOPAD)).or_else(|| by(&HEXLOWER_PERMISSIVE))
}

fn keys(count: usize) -> String {
    if count == 1 { "the key of `signed_by`".to_owned() } else { format!("any of the {count} keys of `signed_by`") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn pair(seed: u8) -> (Ed25519KeyPair, PublicKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = PublicKey::parse(pair.public_key().as_ref()).unwrap();
        (pair, public)
    }

    /// Made by OpenSSL 3.0.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
                       MCowBQYDK2VwAyEAqusk5PPddrar+jaGEMg5wC9Kq4S3y1Lxk2nRS7BRZfs=\n-----END PUBLIC KEY-----\n";
    const SIGNED: &[u8] = b"module";
    const SIGNED_BY_OPENSSL: &str =
        "z2J7gsYZUtbIv67btCnXvoohG7Shv4rQXNgHE+Ggzq0AOiPeCaPFTsjw0QXgWmQ3GYQEwyuQOIvAPvDZU70VBw==";

    #[test]
    fn what_openssl_makes_is_understood() {
        let key = PublicKey::parse(PEM.as_bytes()).unwrap();
        verify(std::slice::from_ref(&key), SIGNED, SIGNED_BY_OPENSSL.as_bytes()).unwrap();
        assert_eq!(verify(&[key], b"Module", SIGNED_BY_OPENSSL.as_bytes()), Err(SignatureError::Wrong(1)));
    }

    #[test]
    fn keys_are_read_in_every_form() {
        let (_, key) = pair(1);
        let der = [&SPKI[..], &key.0].concat();
        let pem = format!("a comment\n-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", BASE64.encode(&der));
        for form in [
            key.0.to_vec(),
            der.clone(),
            pem.into_bytes(),
            format!("{}\n", BASE64.encode(&key.0)).into_bytes(),
            format!(" {} ", BASE64_NOPAD.encode(&key.0)).into_bytes(),
            HEXLOWER_PERMISSIVE.encode(&key.0).to_ascii_uppercase().into_bytes(),
        ] {
            assert_eq!(PublicKey::parse(&form).unwrap(), key);
        }
    }

    #[test]
    fn other_keys_are_refused_without_showing_them() {
        let private = "-----BEGIN PRIVATE KEY-----\nTk9UVEhJUw==\n-----END PRIVATE KEY-----";
        let other = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", BASE64.encode(&[7; 44]));
        let certificate = "-----BEGIN CERTIFICATE-----\nTk9UVEhJUw==\n-----END CERTIFICATE-----";
        for (text, reason) in [
            (private, "private key"),
            (&other, "another kind"),
            (certificate, "no PUBLIC KEY"),
            ("-----BEGIN PUBLIC KEY-----\n", ""),
            ("", "32 bytes"),
            ("TWFu", "32 bytes"),
        ] {
            let error = PublicKey::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason) && !error.contains("Tk9U"), "{error}");
        }
        let file = PublicKey::read(Path::new("/nonexistent/team.pub")).unwrap_err();
        assert!(file.contains("/nonexistent/team.pub"), "{file}");
    }

    #[test]
    fn any_one_of_the_keys_is_enough() {
        let ((first, first_key), (second, second_key), (stranger, _)) = (pair(1), pair(2), pair(3));
        let keys = [first_key, second_key];
        for pair in [first, second] {
            let signature = pair.sign(SIGNED);
            let text = BASE64.encode(signature.as_ref());
            let hexadecimal = format!("{}\r\n", HEXLOWER_PERMISSIVE.encode(signature.as_ref()));
            for form in [signature.as_ref(), text.as_bytes(), hexadecimal.as_bytes()] {
                verify(&keys, SIGNED, form).unwrap();
            }
            assert_eq!(verify(&[], SIGNED, signature.as_ref()), Err(SignatureError::Wrong(0)));
        }
        let wrong = verify(&keys, SIGNED, stranger.sign(SIGNED).as_ref());
        assert_eq!(wrong, Err(SignatureError::Wrong(2)));
        for malformed in [&b""[..], &[1; 63], &[b'A'; 65], b"hello"] {
            assert_eq!(verify(&keys, SIGNED, malformed), Err(SignatureError::Malformed));
        }
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_are_a_key_or_refused(bytes in any::<Vec<u8>>(), label in "[A-Z ]{0,12}", dashes in 0_usize..6) {
            let _ = PublicKey::parse(&bytes);
            let pem = format!("-----BEGIN {label}-----\n{}\n{}END {label}-----", BASE64.encode(&bytes), "-".repeat(dashes));
            let key = PublicKey::parse(pem.as_bytes());
            // Only what is of the right kind and length is one.
            prop_assert!(key.is_err() || (label == "PUBLIC KEY" && bytes.starts_with(&SPKI)));
        }

        /// A private key by mistake, in whatever form, whole or damaged.
        #[test]
        fn nothing_of_a_private_key_is_in_what_is_said(secret in any::<[u8; 48]>(), cut in any::<prop::sample::Index>(), label in "(EC |RSA |)PRIVATE KEY") {
            let encoded = BASE64.encode(&secret);
            let pem = format!("-----BEGIN {label}-----\n{encoded}\n-----END {label}-----\n");
            for text in [&pem[..], &pem[..cut.index(pem.len())], &pem[cut.index(pem.len())..], &encoded] {
                // Any 32 bytes are a key.
                let Err(error) = PublicKey::parse(text.as_bytes()) else { continue };
                let shown = encoded.as_bytes().windows(12).any(|part| {
                    error.as_bytes().windows(12).any(|window| window == part)
                        || error.contains(&format!("{part:?}")[1..40])
                });
                prop_assert!(!shown, "{error}");
            }
        }

        #[test]
        fn a_signature_with_one_bit_changed_is_none(
            seed in any::<u8>(),
            message in prop::collection::vec(any::<u8>(), 1..200),
            place in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let (pair, key) = pair(seed);
            let signature = pair.sign(&message).as_ref().to_vec();
            prop_assert_eq!(verify(std::slice::from_ref(&key), &message, &signature), Ok(()));
            let changed = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                let place = place.index(bytes.len());
                bytes[place] ^= 1 << bit;
                bytes
            };
            prop_assert!(verify(std::slice::from_ref(&key), &changed(&message), &signature).is_err());
            prop_assert!(verify(std::slice::from_ref(&key), &message, &changed(&signature)).is_err());
            let other = PublicKey::parse(&changed(&key.0)).unwrap();
            prop_assert!(verify(&[other], &message, &signature).is_err());
            // What the key says of other bytes it has not said of these.
            let longer = [&message[..], &[0]].concat();
            prop_assert!(verify(&[key], &longer, &signature).is_err());
        }

        #[test]
        fn bytes_of_any_kind_are_no_signature(bytes in prop_oneof![any::<Vec<u8>>(), prop::collection::vec(any::<u8>(), 64)]) {
            let (_, key) = pair(1);
            prop_assert!(verify(&[key], SIGNED, &bytes).is_err());
            prop_assert!(verify(&[], SIGNED, &bytes).is_err());
        }
    }
}
