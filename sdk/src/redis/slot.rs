//! Slots of Redis Cluster: a server has all keys of some of them (key distribution model of the "Redis cluster specification").

const SLOTS: u16 = 16384;

/// The slot of a key: of what is between its first braces, if there is something, so that whoever names keys can put them together.
pub fn of(key: &[u8]) -> u16 {
    crc16(tag(key).unwrap_or(key)) % SLOTS
}

fn tag(key: &[u8]) -> Option<&[u8]> {
    let begin = key.iter().position(|byte| *byte == b'{')? + 1;
    let rest = key.get(begin..)?;
    let end = rest.iter().position(|byte| *byte == b'}')?;
    rest.get(..end).filter(|tag| !tag.is_empty())
}

/// CRC-16/XMODEM. Without a table: keys are short, and who has no cluster never comes here.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc: u16, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

/// The first key of a command, as far as its name says where that is; of most it is what follows the name. A wrong guess costs a redirection, and no
/// command is executed where it does not belong.
pub fn key(command: &[impl AsRef<[u8]>]) -> Option<&[u8]> {
    let part = |at: usize| command.get(at).map(AsRef::as_ref);
    let name = part(0)?;
    let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    if is(&["EVALSHA", "EVAL", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO"]) {
        return part(3).filter(|_| part(2) != Some(b"0"));
    }
    if is(&["XREAD", "XREADGROUP"]) {
        let streams = command.iter().position(|part| part.as_ref().eq_ignore_ascii_case(b"STREAMS"))?;
        return part(streams + 1);
    }
    let second =
        ["BITOP", "OBJECT", "MEMORY", "XINFO", "XGROUP", "SINTERCARD", "ZDIFF", "ZINTER", "ZINTERCARD", "ZUNION"];
    if is(&second) || is(&["LMPOP", "ZMPOP"]) { part(2) } else { part(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_slots_that_the_specification_says() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As `CLUSTER KEYSLOT` has them.
        for (key, slot) in [("", 0), ("foo", 12182), ("bar", 5061), ("hello", 866), ("somekey", 11058)] {
            assert_eq!(of(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn a_tag_stands_for_the_key() {
        for key in ["{user1000}.following", "{user1000}.followers", "a{user1000}{b}", "x{user1000}y}"] {
            assert_eq!(of(key.as_bytes()), of(b"user1000"), "{key}");
        }
        for key in ["foo{}{bar}", "foo{bar", "foo}bar{", "{}"] {
            assert_eq!(of(key.as_bytes()), crc16(key.as_bytes()) % SLOTS, "{key}");
        }
        assert_eq!(of(b"foo{{bar}}zap"), of(b"{bar"));
    }

    #[test]
    fn a_command_says_where_its_first_key_is() {
        for (command, found) in [
            (&["GET", "a"][..], Some("a")),
            (&["evalsha", "hash", "2", "a", "b"], Some("a")),
            (&["EVAL", "text", "0", "argument"], None),
            (&["EVAL", "text"], None),
            (&["XREAD", "COUNT", "2", "streams", "a", "b", "0", "0"], Some("a")),
            (&["XREAD", "COUNT", "2"], None),
            (&["BITOP", "AND", "a", "b"], Some("a")),
            (&["ZUNION", "2", "a", "b"], Some("a")),
            (&["PING"], None),
            (&[], None),
        ] {
            assert_eq!(key(command), found.map(str::as_bytes), "{command:?}");
        }
    }
}
