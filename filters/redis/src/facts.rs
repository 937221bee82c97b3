//! What is to be known of one command.

use std::rc::Rc;

use crate::commands::{Command, Commands, Kind};
use crate::prefix::Prefixes;
use fyke_resp::Head;

/// One command of a client.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The value of the label `command`.
    pub name: &'static str,
    /// What it does to its connection.
    pub kind: Kind,
    /// The value of the label `prefix`.
    pub prefix: Rc<str>,
    /// How many confirmations answer it, where it subscribes; 0: as many as there are subscriptions.
    pub confirmations: u32,
    /// The protocol that `HELLO` wants, if it says so.
    pub protocol: Option<u8>,
    /// Whether it turns replies on or off.
    pub replies: Option<Replying>,
}

/// What `CLIENT REPLY` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replying {
    /// Everything is answered.
    On,
    /// Nothing is.
    Off,
    /// The next command is not.
    Skip,
}

impl Facts {
    /// Of a command whose head is there, as far as it is.
    pub fn of(head: &Head, commands: &Commands, prefixes: &Prefixes) -> Self {
        let command = head.whole(0).map_or(crate::commands::OTHER, |name| commands.find(name));
        let key = key_of(&command, head).and_then(|at| head.argument(at));
        let says =
            |at: usize, word: &str| head.whole(at).is_some_and(|text| text.eq_ignore_ascii_case(word.as_bytes()));
        let replies = match command.kind {
            Kind::Client if head.count() == 3 && says(1, "reply") => {
                [("on", Replying::On), ("off", Replying::Off), ("skip", Replying::Skip)]
                    .into_iter()
                    .find_map(|(word, replying)| says(2, word).then_some(replying))
            }
            _ => None,
        };
        Self {
            name: command.name,
            kind: match command.kind {
                Kind::Stream if waits(&command, head) => Kind::Blocking,
                Kind::Stream => Kind::Plain,
                kind => kind,
            },
            prefix: prefixes.of(key),
            confirmations: head.count().saturating_sub(1),
            protocol: head.whole(1).and_then(|text| match text {
                b"2" => Some(2),
                b"3" => Some(3),
                _ => None,
            }),
            replies,
        }
    }
}

/// Where the options of `XREAD` and `XREADGROUP` begin.
fn options(command: &Command) -> usize {
    if command.name == "xreadgroup" { 4 } else { 1 }
}

/// Whether a command that reads streams waits for news. What cannot be seen is taken for it.
fn waits(command: &Command, head: &Head) -> bool {
    for at in options(command)..head.count() as usize {
        match head.whole(at) {
            Some(word) if word.eq_ignore_ascii_case(b"block") => return true,
            Some(word) if word.eq_ignore_ascii_case(b"streams") => return false,
            Some(_) => {}
            None => return true,
        }
    }
    false
}

fn key_of(command: &Command, head: &Head) -> Option<usize> {
    match (command.name, command.key) {
        ("xread" | "xreadgroup", _) => (options(command)..head.kept())
            .find(|at| head.whole(*at).is_some_and(|word| word.eq_ignore_ascii_case(b"streams")))
            .map(|at| at + 1),
        ("eval" | "eval_ro" | "evalsha" | "evalsha_ro" | "fcall" | "fcall_ro", key) => {
            (head.whole(2) != Some(b"0")).then_some(key)
        }
        (_, 0) => None,
        (_, key) => Some(key),
    }
}

#[cfg(test)]
mod tests {
    use fyke_resp::{Cursor, Requests, Step};

    use super::*;

    fn facts(line: &str) -> Facts {
        // Words in one line are a command, too.
        let mut reader = Requests::default();
        let inline = format!("{line}\r\n");
        assert_eq!(Cursor::new(inline.as_bytes(), 0).next(&mut reader), Ok(Step::Whole));
        let prefix = crate::config::Prefix::default();
        Facts::of(reader.head(), &Commands::new(), &Prefixes::new(Some(&prefix)))
    }

    #[test]
    fn keys_are_where_their_command_has_them() {
        for (line, prefix) in [
            ("GET user:1", "user"),
            ("get user", ""),
            ("EVAL x 1 a:b", "a"),
            ("EVAL x 0 a:b", ""),
            ("XREAD COUNT 1 STREAMS s:1 0", "s"),
            ("BITOP AND d:1 e:2", "d"),
            ("PING user:1", ""),
            ("NOSUCH user:1", ""),
        ] {
            assert_eq!(&*facts(line).prefix, prefix, "{line}");
        }
    }

    #[test]
    fn streams_are_waited_for_where_the_command_says_so() {
        for (line, kind) in [
            ("XREAD BLOCK 0 STREAMS a 0", Kind::Blocking),
            ("XREAD STREAMS block 0", Kind::Plain),
            ("XREADGROUP GROUP streams c BLOCK 1 STREAMS a >", Kind::Blocking),
            ("XREADGROUP GROUP block c STREAMS a >", Kind::Plain),
            ("XREAD a b c d e f g h i j k l m", Kind::Blocking),
        ] {
            assert_eq!(facts(line).kind, kind, "{line}");
        }
    }
}
