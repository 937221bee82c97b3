//! Redirections: commands that go where a server says that they belong.
//!
//! - `MOVED 3999 10.0.0.2:6379`: the slot is there, from now on.
//! - `ASK 3999 10.0.0.2:6379`: the slot is on its way there, and this key has arrived. `ASKING` goes before it, and nothing is remembered.
//! - `READONLY`: the server is a replica. It does not say of whom, so the other endpoints are tried.
//!
//! Whatever answers so was not executed, so it may be sent again. The host connects to endpoints of the cluster only: where a server names another one, that is a failure.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::call::{Deadline, Pipeline};
use super::error::RedisError;
use super::resp;
use super::value::Value;
use crate::callout::Cluster;

/// How often commands are sent on. Redis' own clients take as many.
const MOST: usize = 5;

/// Where a command belongs that was not executed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Redirection {
    Moved {
        slot: u16,
        endpoint: Rc<str>,
    },
    Ask {
        endpoint: Rc<str>,
    },
    /// To whoever takes writes.
    ReadOnly,
}

impl Redirection {
    /// What a reply of `asked` says, unless it is about the command.
    fn of(reply: &Value, asked: &str) -> Option<Self> {
        let error = reply.as_error()?;
        let mut words = error.text().split(' ');
        let code = words.next()?;
        if code == "READONLY" {
            return Some(Self::ReadOnly);
        }
        if !matches!(code, "MOVED" | "ASK") {
            return None;
        }
        let slot: u16 = words.next()?.parse().ok()?;
        let endpoint: Rc<str> = address(words.next()?, asked)?.to_string().into();
        Some(if code == "ASK" { Self::Ask { endpoint } } else { Self::Moved { slot, endpoint } })
    }
}

/// `10.0.0.2:6379`, `2001:db8::2:6379`, and `:6379`, which is another port of `asked`. Names are not looked up.
fn address(text: &str, asked: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let host: IpAddr = match host.trim_start_matches('[').trim_end_matches(']') {
        "" => asked.parse::<SocketAddr>().ok()?.ip(),
        host => host.parse().ok()?,
    };
    Some(SocketAddr::new(host, port.parse().ok()?))
}

/// Commands that go to the same place.
struct Group {
    to: Redirection,
    commands: Vec<usize>,
}

/// What the following of one call knows.
pub(super) struct Follower<'a> {
    pipeline: &'a Pipeline<'a>,
    deadline: Deadline,
    /// Endpoints that take no writes, or cannot be reached.
    tried: Vec<Rc<str>>,
}

impl<'a> Follower<'a> {
    pub fn new(pipeline: &'a Pipeline<'a>, deadline: Deadline) -> Self {
        Self { pipeline, deadline, tried: Vec::new() }
    }

    /// Sends on what belongs elsewhere, until there are replies of those who have it. What cannot be followed is left as it is.
    ///
    /// # Errors
    /// Where it is not known whether a command was executed; and of a single command.
    pub async fn follow(mut self, mut replies: Vec<Value>, asked: Rc<str>) -> Result<Vec<Value>, RedisError> {
        if replies.iter().all(|reply| reply.as_error().is_none()) {
            return Ok(replies);
        }
        let mut asked = vec![asked; replies.len()];
        for _ in 0..MOST {
            let groups = self.groups(&replies, &asked);
            if groups.is_empty() {
                return Ok(replies);
            }
            for Group { to, commands } in groups {
                let Some((endpoint, asks)) = self.place(&to, &commands, &asked) else { return Ok(replies) };
                match self.send(&commands, &endpoint, asks).await {
                    Ok(said) => {
                        if to == Redirection::ReadOnly && !said.iter().any(is_readonly) {
                            self.pipeline.redis.places.prefer(&endpoint);
                        }
                        for (at, reply) in commands.into_iter().zip(said) {
                            if let (Some(old), Some(place)) = (replies.get_mut(at), asked.get_mut(at)) {
                                (*old, *place) = (reply, Rc::clone(&endpoint));
                            }
                        }
                    }
                    Err(error) => {
                        let searches = to == Redirection::ReadOnly;
                        if searches {
                            // The next search begins behind it.
                            self.pipeline.redis.places.pass_over();
                        }
                        match (error.may_be_executed(), searches) {
                            (false, true) => self.tried.push(endpoint),
                            (false, false) if replies.len() > 1 => return Ok(replies),
                            _ => return Err(error),
                        }
                    }
                }
            }
        }
        if replies.iter().any(is_readonly) {
            self.pipeline.redis.places.give_up();
        }
        Ok(replies)
    }

    /// What was not executed, by where it belongs.
    fn groups(&self, replies: &[Value], asked: &[Rc<str>]) -> Vec<Group> {
        let read = |(at, (reply, asked)): (usize, (&Value, &Rc<str>))| Some((at, Redirection::of(reply, asked)?));
        let found = replies.iter().zip(asked).enumerate().filter_map(read);
        if self.pipeline.has_transactions() {
            // It goes on as a whole, if it is nothing else, and nothing of it was executed.
            let whole = self.pipeline.is_transaction() && replies.last().is_some_and(|last| last.as_error().is_some());
            let to = found.map(|(_, to)| to).next().filter(|_| whole);
            return to.map(|to| Group { to, commands: (0..replies.len()).collect() }).into_iter().collect();
        }
        let mut groups: Vec<Group> = Vec::new();
        for (at, to) in found {
            match groups.iter_mut().find(|group| goes_along(&group.to, &to)) {
                Some(group) => {
                    // What one server has said of several slots.
                    self.learn(&to);
                    group.commands.push(at);
                }
                None => groups.push(Group { to, commands: vec![at] }),
            }
        }
        groups
    }

    fn learn(&self, to: &Redirection) {
        if let Redirection::Moved { slot, endpoint } = to {
            self.pipeline.redis.places.learn(*slot, endpoint);
        }
    }

    /// Where they are sent, and whether `ASKING` goes before them. `None`: nobody knows.
    fn place(&mut self, to: &Redirection, commands: &[usize], asked: &[Rc<str>]) -> Option<(Rc<str>, bool)> {
        self.learn(to);
        match to {
            Redirection::Moved { endpoint, .. } => Some((Rc::clone(endpoint), false)),
            Redirection::Ask { endpoint } => Some((Rc::clone(endpoint), true)),
            Redirection::ReadOnly => {
                let asked = commands.iter().filter_map(|at| asked.get(*at)).filter(|asked| !asked.is_empty());
                self.tried.extend(asked.cloned());
                self.another().map(|endpoint| (endpoint, false))
            }
        }
    }

    /// An endpoint that may take writes.
    fn another(&self) -> Option<Rc<str>> {
        let redis = self.pipeline.redis;
        if self.tried.is_empty() && !redis.places.may_look() {
            return None;
        }
        let known = Cluster::new(&redis.cluster).endpoints().unwrap_or_default();
        let tried = |address: &str| self.tried.iter().any(|tried| **tried == *address);
        let begin = redis.places.passed_over().checked_rem(known.len()).unwrap_or(0);
        let mut turns = known.iter().cycle().skip(begin).take(known.len());
        let found = turns.find(|endpoint| endpoint.healthy && !tried(&endpoint.address));
        if found.is_none() {
            redis.places.give_up();
        }
        found.map(|endpoint| endpoint.address.as_str().into())
    }

    async fn send(&self, commands: &[usize], endpoint: &Rc<str>, asks: bool) -> Result<Vec<Value>, RedisError> {
        let pipeline = self.pipeline;
        let (mut bytes, mut count) = (Vec::new(), 0);
        for (number, at) in commands.iter().enumerate() {
            // A transaction is asked for once.
            if asks && (number == 0 || !pipeline.has_transactions()) {
                resp::push_command(&mut bytes, &["ASKING"]);
                count += 1;
            }
            bytes.extend_from_slice(pipeline.bytes_of(*at));
            count += 1;
        }
        let said = pipeline.redis.exchange(endpoint, &bytes, count, self.deadline).await?;
        if !asks {
            return Ok(said);
        }
        let skipped = |number: usize| if pipeline.has_transactions() { number == 0 } else { number.is_multiple_of(2) };
        Ok(said.into_iter().enumerate().filter(|(number, _)| !skipped(*number)).map(|(_, reply)| reply).collect())
    }
}

fn is_readonly(reply: &Value) -> bool {
    reply.as_error().is_some_and(|error| error.code() == "READONLY")
}

fn goes_along(one: &Redirection, other: &Redirection) -> bool {
    match (one, other) {
        (Redirection::Moved { endpoint, .. }, Redirection::Moved { endpoint: other, .. }) => endpoint == other,
        (one, other) => one == other,
    }
}
