//! Vectors of RFC 5802, RFC 7677 and MongoDB's specification, and conversations between our two sides.

use data_encoding::BASE64;
use proptest::prelude::*;

use super::*;

/// PBKDF2 for keys of one block, which is what SCRAM's `Hi` is.
fn stretch(request: &KeyRequest, password: &str) -> Vec<u8> {
    let mut block = request.hash.hmac(password.as_bytes(), &[request.salt.as_slice(), &[0, 0, 0, 1]].concat());
    let mut key = block.clone();
    for _ in 1..request.rounds {
        block = request.hash.hmac(password.as_bytes(), &block);
        key = xor(&key, &block);
    }
    key
}

struct Vector {
    hash: Hash,
    password: String,
    nonce: &'static str,
    server_first: &'static str,
    client_final: &'static str,
    server_final: &'static str,
}

fn vectors() -> Vec<Vector> {
    vec![
        Vector {
            // RFC 5802, section 5: the plain password.
            hash: Hash::Sha1,
            password: "pencil".into(),
            nonce: "fyko+d2lbbFgONRv9qkxdawL",
            server_first: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            server_final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        },
        Vector {
            // MongoDB's specification: the password that MongoDB prepares for SHA-1.
            hash: Hash::Sha1,
            password: prepared_password(Hash::Sha1, "user", "pencil").unwrap(),
            nonce: "fyko+d2lbbFgONRv9qkxdawL",
            server_first: "r=fyko+d2lbbFgONRv9qkxdawLHo+Vgk7qvUOKUwuWLIWg4l/9SraGMHEE,s=rQ9ZY3MntBeuP3E1TDVC4w==,i=10000",
            client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawLHo+Vgk7qvUOKUwuWLIWg4l/9SraGMHEE,p=MC2T8BvbmWRckDw8oWl5IVghwCY=",
            server_final: "v=UMWeI25JD1yNYZRMpZ4VHvhZ9e0=",
        },
        Vector {
            // RFC 7677, section 3, which MongoDB's specification repeats.
            hash: Hash::Sha256,
            password: prepared_password(Hash::Sha256, "user", "pencil").unwrap(),
            nonce: "rOprNGfwEbeRWgbNEkqO",
            server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        },
    ]
}

#[test]
fn client_matches_published_vectors() {
    for vector in vectors() {
        let mut client = Client::with_nonce(vector.hash, "user", vector.nonce.into());
        assert_eq!(client.first(), format!("n,,n=user,r={}", vector.nonce).into_bytes());
        let request = client.on_server_first(vector.server_first.as_bytes()).unwrap();
        let message = client.on_salted_password(&stretch(&request, &vector.password)).unwrap();
        assert_eq!(String::from_utf8(message).unwrap(), vector.client_final);
        assert!(!client.is_done());
        client.on_server_final(vector.server_final.as_bytes()).unwrap();
        assert!(client.is_done());
    }
}

#[test]
fn server_matches_published_vectors() {
    for vector in vectors() {
        let first = format!("n,,n=user,r={}", vector.nonce);
        let mut server = Server::start(first.as_bytes()).unwrap();
        assert_eq!(server.user(), "user");
        let mut client = Client::with_nonce(vector.hash, "user", vector.nonce.into());
        let request = client.on_server_first(vector.server_first.as_bytes()).unwrap();
        let salted = stretch(&request, &vector.password);
        let verifier = Verifier::new(vector.hash, request.salt, request.rounds, &salted);
        let added = vector.server_first[2..].split(',').next().unwrap().strip_prefix(vector.nonce).unwrap();
        assert_eq!(server.challenge_with(verifier, added), vector.server_first.as_bytes());
        assert_eq!(server.finish(vector.client_final.as_bytes()).unwrap(), vector.server_final.as_bytes());
        assert_eq!(server.finish(vector.client_final.as_bytes()), Err(ScramError::OutOfTurn));
    }
}

#[test]
fn client_refuses_what_a_false_server_may_send() {
    let answer =
        |message: &str| Client::with_nonce(Hash::Sha256, "user", "ours".into()).on_server_first(message.as_bytes());
    assert_eq!(answer("r=ours,s=QSXC,i=4096"), Err(ScramError::Nonce));
    assert_eq!(answer("r=theirs,s=QSXC,i=4096"), Err(ScramError::Nonce));
    assert_eq!(answer("r=oursX,s=QSXC,i=4095"), Err(ScramError::Rounds));
    assert_eq!(answer("r=oursX,s=QSXC,i=1000001"), Err(ScramError::Rounds));
    assert_eq!(answer("r=oursX,s=QSXC,i=99999999999999999999"), Err(ScramError::Rounds));
    assert_eq!(answer("r=oursX,s=QSXC,i=-1"), Err(ScramError::Malformed));
    assert_eq!(answer("r=oursX,s=,i=4096"), Err(ScramError::Malformed));
    assert_eq!(answer("m=ext,r=oursX,s=QSXC,i=4096"), Err(ScramError::Unsupported));
    assert_eq!(answer(&format!("r=ours{},s=QSXC,i=4096", "X".repeat(MAX_MESSAGE))), Err(ScramError::Malformed));
    assert!(answer("r=oursX,s=QSXC,i=1000000").is_ok());
}

#[test]
fn client_does_not_trust_a_server_without_its_signature() {
    for (server_final, error) in [
        ("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", ScramError::Signature),
        ("v=", ScramError::Signature),
        ("e=invalid-proof", ScramError::Refused),
        ("", ScramError::Malformed),
    ] {
        let mut client = Client::with_nonce(Hash::Sha256, "user", "ours".into());
        client.on_server_first(b"r=oursX,s=QSXC,i=4096").unwrap();
        client.on_salted_password(&[1; 32]).unwrap();
        assert_eq!(client.on_server_final(server_final.as_bytes()), Err(error));
        assert!(!client.is_done());
    }
}

#[test]
fn passwords_are_prepared_as_the_mechanism_asks() {
    // RFC 4013, section 3: soft hyphen maps to nothing, ROMAN NUMERAL NINE to "IX".
    assert_eq!(prepared_password(Hash::Sha256, "u", "I\u{ad}X").unwrap(), "IX");
    assert_eq!(prepared_password(Hash::Sha256, "u", "\u{2168}").unwrap(), "IX");
    assert_eq!(prepared_password(Hash::Sha256, "u", "\u{7}"), Err(ScramError::Password));
    assert_eq!(prepared_password(Hash::Sha1, "user", "pencil").unwrap(), "1c33006ec1ffd90f9cadcbcc0e118200");
}

#[test]
fn a_decoy_answers_alike_and_accepts_nobody() {
    let decoy = || Verifier::decoy(Hash::Sha256, 15_000, b"secret", "nobody");
    assert_eq!(decoy(), decoy());
    assert_ne!(decoy(), Verifier::decoy(Hash::Sha256, 15_000, b"secret", "somebody"));
    assert!(decoy().is_usable());
    let mut server = Server::start(b"n,,n=nobody,r=abc").unwrap();
    server.challenge_with(decoy(), "def");
    let proof = BASE64.encode(&[0; 32]);
    assert_eq!(server.finish(format!("c=biws,r=abcdef,p={proof}").as_bytes()), Err(ScramError::Proof));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn both_sides_agree_exactly_if_the_key_is_the_same(
        user in "[ -~]{1,16}", key in any::<[u8; 32]>(), wrong in any::<bool>(), entropy in any::<[u8; 24]>(),
    ) {
        let mut client = Client::new(Hash::Sha256, &user, &entropy);
        let mut server = Server::start(&client.first()).unwrap();
        prop_assert_eq!(server.user(), &user);
        let verifier = Verifier::new(Hash::Sha256, vec![1; 28], 15_000, &key);
        client.on_server_first(&server.challenge(verifier, &entropy)).unwrap();
        let mut mine = key;
        mine[31] ^= u8::from(wrong);
        let finish = server.finish(&client.on_salted_password(&mine).unwrap());
        if wrong {
            prop_assert_eq!(finish, Err(ScramError::Proof));
        } else {
            prop_assert_eq!(client.on_server_final(&finish.unwrap()), Ok(()));
        }
    }

    #[test]
    fn client_never_panics(first in ".{0,80}", last in ".{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut client = Client::with_nonce(Hash::Sha1, "user", "".into());
        let _ = client.on_server_first(first.as_bytes());
        let _ = client.on_server_first(&bytes);
        let _ = client.on_salted_password(&bytes);
        let _ = client.on_server_final(last.as_bytes());
        prop_assert!(!client.is_done());
    }
}
