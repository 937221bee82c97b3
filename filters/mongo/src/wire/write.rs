//! Makes whole wire protocol messages: commands and replies of the filter's own.
//!
//! Layouts: <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>.

use super::{HEADER, opcode};

/// An OP_MSG with one body section and no checksum.
pub fn op_msg(request_id: i32, response_to: i32, flags: u32, document: &[u8]) -> Vec<u8> {
    let mut message = header(HEADER + 5, document.len(), request_id, response_to, opcode::MSG);
    message.extend_from_slice(&flags.to_le_bytes());
    message.push(0);
    message.extend_from_slice(document);
    message
}

/// An OP_REPLY with one document and no cursor.
pub fn op_reply(request_id: i32, response_to: i32, flags: u32, document: &[u8]) -> Vec<u8> {
    let mut message = header(HEADER + 20, document.len(), request_id, response_to, opcode::REPLY);
    message.extend_from_slice(&flags.to_le_bytes());
    message.extend_from_slice(&0_i64.to_le_bytes());
    message.extend_from_slice(&0_i32.to_le_bytes());
    message.extend_from_slice(&1_i32.to_le_bytes());
    message.extend_from_slice(document);
    message
}

/// A message's header; `before` counts every byte in front of the document.
fn header(before: usize, document: usize, request_id: i32, response_to: i32, opcode: i32) -> Vec<u8> {
    let length = before.saturating_add(document);
    let mut message = Vec::with_capacity(length);
    for field in [i32::try_from(length).unwrap_or(i32::MAX), request_id, response_to, opcode] {
        message.extend_from_slice(&field.to_le_bytes());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = &[5, 0, 0, 0, 0];

    #[test]
    fn op_msg_has_one_body_section() {
        let message = op_msg(7, 9, 2, EMPTY);
        let head = [26, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 0xDD, 7, 0, 0, 2, 0, 0, 0, 0];
        assert_eq!(message, [&head[..], EMPTY].concat());
    }

    #[test]
    fn op_reply_returns_one_document() {
        let message = op_reply(7, 9, 8, EMPTY);
        let head = [41, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0];
        let rest = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(message, [&head[..], &rest, EMPTY].concat());
    }
}
