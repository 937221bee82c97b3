//! Readers of documents that are there as a whole: greetings, logins, and records of operations.

use super::{corpus, run};
use crate::bson::{print, read};
use crate::pool::facts::Reply;
use crate::pool::fleet::ServerFacts;
use crate::pool::hello::HelloRequest;
use crate::pool::sasl::{SaslCommand, SaslReply};
use crate::pool::scram::{Client, Hash, Server};

#[test]
fn no_document_is_too_much_for_its_readers() {
    let corpus: Vec<Vec<u8>> = corpus::documents().iter().map(|document| document.to_vec().unwrap()).collect();
    run(|random| {
        let mut bytes = random.pick(&corpus).clone();
        corpus::spoil(random, &mut bytes, &corpus);
        if let Some(length) = bytes.first_chunk_mut::<4>().filter(|_| random.below(8) > 0) {
            *length = [0; 4];
            let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
            bytes[..4].copy_from_slice(&length);
            *bytes.last_mut().unwrap() = 0;
        }
        assert!(read::elements(&bytes).count() <= bytes.len() + 1);
        let _ =
            (HelloRequest::read(&bytes), ServerFacts::read(&bytes), SaslCommand::read(&bytes), SaslReply::read(&bytes));
        let _ = Reply::read(&bytes);
        for values in [true, false] {
            let mut out = Vec::new();
            print::document(&mut out, &bytes, values);
            let text = String::from_utf8(out).unwrap();
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        }
        let _ = Server::start(&bytes);
        let mut client = Client::new(Hash::Sha256, "app", b"nonce");
        let _ = client.on_server_first(&bytes);
    });
}
