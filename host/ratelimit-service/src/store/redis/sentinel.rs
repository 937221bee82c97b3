//! The primary, as sentinels know it.
//!
//! All sentinels are asked at once, so that one that hangs holds nobody. To whom the first that answers points is connected to, and has to say
//! itself that it is a primary (`ROLE`): a sentinel may be behind. Where it is none, or is not there, and another sentinel says otherwise,
//! that is tried. Who calls has a timeout for all of it, and comes again later.
//!
//! While there is a connection they are asked too, for a primary that is cut off from the sentinels, and not from here, answers for ever. Then no
//! first answer will do, lest one sentinel that is behind lead back: more of those that answer have to name another than the present one.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{Client, ErrorKind, RedisError, RedisResult, Value};

use super::target::{Access, connect};
use crate::settings::Address;

/// How long a sentinel may take.
const ANSWER: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Sentinels {
    name: String,
    sentinels: Vec<(Address, Client)>,
    /// To primaries.
    access: Access,
}

impl Sentinels {
    /// Sentinels at these addresses, who are spoken to with an access of their own.
    pub fn new(name: &str, sentinels: Vec<Address>, access: Access, by: &Access) -> RedisResult<Self> {
        let client = |address: Address| Ok((address.clone(), by.client(&address)?));
        let sentinels = sentinels.into_iter().map(client).collect::<RedisResult<_>>()?;
        Ok(Self { name: name.to_owned(), sentinels, access })
    }

    /// What they call the primary.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Connects to the primary.
    pub async fn connect(&self) -> RedisResult<(MultiplexedConnection, Address)> {
        let mut asked: FuturesUnordered<_> = self.sentinels.iter().map(|sentinel| self.ask(sentinel)).collect();
        let (mut tried, mut known) = (FuturesUnordered::new(), Vec::new());
        let mut wrong = RedisError::from((ErrorKind::EmptySentinelList, "there are no sentinels"));
        loop {
            tokio::select! {
                Some(outcome) = tried.next() => match outcome {
                    Ok(found) => return Ok(found),
                    Err(error) => wrong = error,
                },
                Some(answer) = asked.next() => match answer {
                    Ok(address) if known.contains(&address) => {}
                    Ok(address) => {
                        known.push(address.clone());
                        tried.push(self.primary(address));
                    }
                    // What is wrong with a primary is worth more than what is wrong with a sentinel.
                    Err(error) if known.is_empty() => wrong = error,
                    Err(_) => {}
                },
                else => return Err(wrong),
            }
        }
    }

    /// Connects to the primary, if that is another one by now.
    pub async fn other(&self, present: &Address) -> Option<(MultiplexedConnection, Address)> {
        let answers = join_all(self.sentinels.iter().map(|sentinel| self.ask(sentinel))).await;
        let named: Vec<Address> = answers.into_iter().filter_map(Result::ok).collect();
        self.primary(other(&named, present)?.clone()).await.ok()
    }

    async fn ask(&self, (address, client): &(Address, Client)) -> RedisResult<Address> {
        let failed = |why: String| RedisError::from((ErrorKind::Io, "sentinel", format!("{address}: {why}")));
        let ask = async {
            let mut connection = connect(client).await?;
            let mut command = redis::cmd("SENTINEL");
            command.arg("get-master-addr-by-name").arg(&self.name);
            command.query_async::<Option<(String, u16)>>(&mut connection).await
        };
        match tokio::time::timeout(ANSWER, ask).await {
            Ok(Ok(Some((host, port)))) => {
                Address::new(&host, port).ok_or_else(|| failed(format!("{host:?} is no address")))
            }
            Ok(Ok(None)) => Err(failed(format!("it knows no {:?}", self.name))),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("it does not answer".to_owned())),
        }
    }

    async fn primary(&self, address: Address) -> RedisResult<(MultiplexedConnection, Address)> {
        let mut connection = connect(&self.access.client(&address)?).await?;
        let role: Value = redis::cmd("ROLE").query_async(&mut connection).await?;
        match role {
            Value::Array(items) if matches!(items.first(), Some(Value::BulkString(role)) if role == b"master") => {
                Ok((connection, address))
            }
            _ => Err(RedisError::from((ErrorKind::Io, "it is no primary", address.to_string()))),
        }
    }
}

/// Whom more sentinels name than the present one.
fn other<'a>(named: &'a [Address], present: &Address) -> Option<&'a Address> {
    let count = |address: &Address| named.iter().filter(|named| *named == address).count();
    let other = named.iter().max_by_key(|address| count(address))?;
    (count(other) > count(present)).then_some(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentinel_that_is_behind_leads_nobody_back() {
        let address = |host: &&str| Address::new(host, 1).unwrap();
        let whom = |named: &[&str]| {
            let named: Vec<Address> = named.iter().map(address).collect();
            other(&named, &address(&"now")).map(|address| address.host.clone())
        };
        assert_eq!(whom(&[]), None);
        assert_eq!(whom(&["now", "now", "old"]), None);
        assert_eq!(whom(&["now", "old"]), None);
        assert_eq!(whom(&["new", "now", "new"]).as_deref(), Some("new"));
        assert_eq!(whom(&["new"]).as_deref(), Some("new"));
    }
}
