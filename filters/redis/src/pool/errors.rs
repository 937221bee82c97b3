//! What clients are told that are not served.

use fyke_sdk::LeaseRefused;
use fyke_sdk::lease::Reason;

/// The longest text of somebody else's that is told on.
const LONGEST: usize = 200;

/// A line of RESP. Whatever the text is, it is one line.
pub fn error(text: &str) -> Vec<u8> {
    let mut line = String::with_capacity(text.len() + 3);
    line.push('-');
    line.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
    line.push_str("\r\n");
    line.into_bytes()
}

/// Nothing is lent.
pub fn refused(refused: &LeaseRefused) -> Vec<u8> {
    let why = match refused.reason {
        Reason::NoEndpoint => "there is no server",
        Reason::Busy => "too many wait for a connection to the server, or hold one",
        Reason::Timeout => "no connection to the server came free in time",
        Reason::Connect => "the server cannot be reached",
        Reason::Handshake => "the server does not let the proxy in",
        _ => "no connection to the server",
    };
    let text: String = refused.text.chars().take(LONGEST).collect();
    let text = text.trim();
    if text.is_empty() { error(&format!("ERR fyke: {why}")) } else { error(&format!("ERR fyke: {why}: {text}")) }
}

/// The server has gone before it has answered.
pub fn lost() -> Vec<u8> {
    error("ERR fyke: the connection to the server was lost; whether the command was executed is not known")
}
