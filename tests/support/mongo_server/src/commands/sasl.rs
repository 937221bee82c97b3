//! saslStart and saslContinue.

use bson::{Binary, Bson, Document, doc, spec::BinarySubtype};

use crate::{
    args::Fields,
    auth::{Answer, Conversation, Mechanism, denied},
    connection::Peer,
    error::{Failure, Result},
};

// A connection has one conversation at a time.
const CONVERSATION: i32 = 1;

/// Begins a conversation.
pub(crate) fn start(peer: &mut Peer, args: &Document, database: &str) -> Result<Document> {
    let name = args.text("mechanism")?;
    let mechanism = Mechanism::named(name).ok_or_else(|| {
        Failure::new(334, format!("Received authentication for mechanism {name} which is not enabled"))
    })?;
    let skip = args.get_document("options").is_ok_and(|options| options.flag("skipEmptyExchange"));
    let (conversation, answer) = Conversation::start(&peer.shared.users, mechanism, database, payload(args)?, skip)?;
    peer.conversation = Some(conversation);
    Ok(reply(answer))
}

/// Goes on with it.
pub(crate) fn proceed(peer: &mut Peer, args: &Document) -> Result<Document> {
    let Some(mut conversation) = peer.conversation.take() else {
        return Err(Failure::new(17, "No SASL session state found"));
    };
    if args.int("conversationId")? != Some(i64::from(CONVERSATION)) {
        return Err(denied());
    }
    let answer = conversation.proceed(payload(args)?)?;
    if answer.done {
        peer.authenticated.push((conversation.user, conversation.database));
    } else {
        peer.conversation = Some(conversation);
    }
    Ok(reply(answer))
}

fn payload(args: &Document) -> Result<&[u8]> {
    match args.get("payload") {
        Some(Bson::Binary(binary)) => Ok(&binary.bytes),
        _ => Err(Failure::type_mismatch("payload", "binData")),
    }
}

fn reply(answer: Answer) -> Document {
    let payload = Binary { subtype: BinarySubtype::Generic, bytes: answer.payload };
    doc! { "conversationId": CONVERSATION, "done": answer.done, "payload": payload, "ok": 1.0 }
}
