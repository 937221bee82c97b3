//! The primary, as sentinels know it.
//!
//! All sentinels are asked at once, so that one that hangs holds nobody. To whom the first that answers points is connected to, and has to say
//! itself that it is a primary (`ROLE`): a sentinel may be behind. Where it is none, or is not there, and another sentinel says otherwise,
//! that is tried. Who calls has a timeout for all of it, and comes again later.

use std::time::Duration;

use futures_util::StreamExt as _;
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
