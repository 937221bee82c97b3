//! What makes a new connection fit to be lent: its protocol, who the proxy is, its database.

use fyke_sdk::{Error, Opened, Result};

use super::Pool;
use fyke_resp::{Cursor, Replies, Reply, Step, Wants};

/// The most of a reply that is waited for at once.
const PIECE: u64 = 64 << 10;

/// Logs in, with the identity that `session` makes.
///
/// # Errors
/// The server refuses something, or does not speak RESP.
pub async fn log_in(pool: &Pool, upstream: &mut Opened) -> Result<()> {
    let (database, resp3) =
        parse(upstream.identity()).ok_or_else(|| Error::new("the identity is not one of this filter"))?;
    let user = if pool.user.is_empty() { "default" } else { &pool.user };
    if resp3 {
        let mut hello = vec!["HELLO", "3"];
        if !pool.password.is_empty() {
            hello.extend(["AUTH", user, &pool.password]);
        }
        ask(upstream, "HELLO", &hello).await?;
    } else if !pool.password.is_empty() {
        // Servers before Redis 6 know no users.
        let named = ["AUTH", user, &pool.password];
        let auth = if pool.user.is_empty() { &["AUTH", &*pool.password][..] } else { &named };
        ask(upstream, "AUTH", auth).await?;
    }
    if database > 0 {
        ask(upstream, "SELECT", &["SELECT", &database.to_string()]).await?;
    }
    Ok(())
}

fn parse(identity: &[u8]) -> Option<(u16, bool)> {
    let text = std::str::from_utf8(identity).ok()?.strip_prefix("db=")?;
    let (database, protocol) = text.split_once(";resp=")?;
    Some((database.parse().ok()?, protocol == "3"))
}

async fn ask(upstream: &mut Opened, what: &str, words: &[&str]) -> Result<()> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    upstream.write(command)?;
    let reply = hear(upstream).await?;
    if reply.is_error() {
        return Err(Error::new(format!("{what}: {}", String::from_utf8_lossy(&reply.first))));
    }
    Ok(())
}

async fn hear(upstream: &mut Opened) -> Result<Reply> {
    let mut replies = Replies::default();
    loop {
        let bytes = match replies.wants() {
            Wants::Line => upstream.read_until(b"\n").await?,
            Wants::Bytes(count) => upstream.read(usize::try_from(count.min(PIECE))?).await?,
        };
        let mut cursor = Cursor::new(bytes.as_slice(), 0);
        if cursor.next(&mut replies)? == Step::Whole {
            return Ok(replies.reply().clone());
        }
    }
}
