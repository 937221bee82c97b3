//! Which commands there are, where their keys stand, and what they do to a connection.

use std::collections::HashMap;

/// A command that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// The value of the label `command`.
    pub name: &'static str,
    /// What it does to its connection.
    pub kind: Kind,
    /// At which argument its first key stands; 0: it has none.
    pub key: usize,
}

/// What a command does to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// It may wait for long.
    Blocking,
    /// It waits if it says `BLOCK`.
    Stream,
    /// It begins to hear messages.
    Subscribe(Topic),
    /// It ends that.
    Unsubscribe(Topic),
    /// It hears all commands, from then on.
    Monitor,
    /// A transaction begins.
    Multi,
    /// It ends.
    Exec,
    /// It ends as if it had not begun.
    Discard,
    /// Keys are watched until the transaction ends.
    Watch,
    /// They no longer are.
    Unwatch,
    /// Another database.
    Select,
    /// Who it is.
    Auth,
    /// Which protocol.
    Hello,
    /// Something of the connection itself, or of all of them.
    Client,
    /// A state that only nodes of a cluster know.
    Cluster,
    /// Everything as it was in the beginning.
    Reset,
    /// The end.
    Quit,
    /// What follows is replication, and no RESP.
    Replication,
}

/// What is subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Channels by name.
    Channels,
    /// Channels by pattern.
    Patterns,
    /// Channels of a shard.
    Shards,
}

/// The name of all that are not known.
pub const OTHER: Command = Command { name: "other", kind: Kind::Plain, key: 0 };
/// The longest name that is looked up.
const LONGEST: usize = 24;

/// Plain commands whose first key is their first argument.
const KEYS: &str = "append bitcount bitfield bitfield_ro bitpos copy decr decrby del delex digest dump exists expire \
    expireat expiretime geoadd geodist geohash geopos georadius georadius_ro georadiusbymember georadiusbymember_ro \
    geosearch geosearchstore get getbit getdel getex getrange getset hdel hexists hexpire hexpireat hexpiretime hget \
    hgetall hgetdel hgetex hincrby hincrbyfloat hkeys hlen hmget hmset hpersist hpexpire hpexpireat hpexpiretime hpttl \
    hrandfield hscan hset hsetex hsetnx hstrlen httl hvals incr incrby incrbyfloat lcs lindex linsert llen lmove lpop lpos \
    lpush lpushx lrange lrem lset ltrim mget move mset msetnx persist pexpire pexpireat pexpiretime pfadd pfcount pfmerge \
    psetex pttl rename renamenx restore rpop rpoplpush rpush rpushx sadd scard sdiff sdiffstore set setbit setex setnx \
    setrange sinter sinterstore sismember smembers smismember smove sort sort_ro spop srandmember srem sscan strlen \
    substr sunion sunionstore touch ttl type unlink vadd vcard vdim vemb vgetattr vinfo vismember vlinks vrandmember vrem \
    vsetattr vsim xack xackdel xadd xautoclaim xclaim xdel xdelex xlen xpending xrange xrevrange xsetid xtrim zadd zcard \
    zcount zdiffstore zincrby zinterstore zlexcount zmscore zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore \
    zrangestore zrank zrem zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore \
    zrevrank zscan zscore zunionstore json.arrappend json.arrlen json.del json.get json.merge json.mget json.numincrby \
    json.set json.strlen json.type bf.add bf.exists bf.madd bf.mexists bf.reserve cf.add cf.exists ts.add ts.create ts.get ts.range";
/// Plain commands whose first key is their second argument.
const SECOND: &str = "bitop lmpop memory object sintercard xgroup xinfo zdiff zinter zintercard zmpop zunion";
/// Plain commands whose first key is their third argument.
const THIRD: &str = "eval eval_ro evalsha evalsha_ro fcall fcall_ro msetex";
/// Plain commands without keys.
const KEYLESS: &str = "acl bgrewriteaof bgsave cluster command config dbsize debug echo failover flushall flushdb \
    function info keys lastsave latency lolwut migrate module ping publish pubsub randomkey replicaof role save scan script \
    shutdown slaveof slowlog spublish swapdb time wait waitaof ft.search ft.aggregate ft.create ft.info";
/// Commands that do something to their connection, and where their first key stands.
const SPECIAL: [(&str, Kind, usize); 34] = [
    ("asking", Kind::Cluster, 0),
    ("auth", Kind::Auth, 0),
    ("blmove", Kind::Blocking, 1),
    ("blmpop", Kind::Blocking, 3),
    ("blpop", Kind::Blocking, 1),
    ("brpop", Kind::Blocking, 1),
    ("brpoplpush", Kind::Blocking, 1),
    ("bzmpop", Kind::Blocking, 3),
    ("bzpopmax", Kind::Blocking, 1),
    ("bzpopmin", Kind::Blocking, 1),
    ("client", Kind::Client, 0),
    ("discard", Kind::Discard, 0),
    ("exec", Kind::Exec, 0),
    ("hello", Kind::Hello, 0),
    ("monitor", Kind::Monitor, 0),
    ("multi", Kind::Multi, 0),
    ("psubscribe", Kind::Subscribe(Topic::Patterns), 0),
    ("psync", Kind::Replication, 0),
    ("punsubscribe", Kind::Unsubscribe(Topic::Patterns), 0),
    ("quit", Kind::Quit, 0),
    ("readonly", Kind::Cluster, 0),
    ("readwrite", Kind::Cluster, 0),
    ("replconf", Kind::Replication, 0),
    ("reset", Kind::Reset, 0),
    ("select", Kind::Select, 0),
    ("ssubscribe", Kind::Subscribe(Topic::Shards), 0),
    ("subscribe", Kind::Subscribe(Topic::Channels), 0),
    ("sunsubscribe", Kind::Unsubscribe(Topic::Shards), 0),
    ("sync", Kind::Replication, 0),
    ("unsubscribe", Kind::Unsubscribe(Topic::Channels), 0),
    ("unwatch", Kind::Unwatch, 0),
    ("watch", Kind::Watch, 1),
    ("xread", Kind::Stream, 0),
    ("xreadgroup", Kind::Stream, 0),
];

/// All of them, by name.
#[derive(Debug)]
pub struct Commands(HashMap<&'static [u8], Command>);

impl Commands {
    /// All that are known.
    pub fn new() -> Self {
        let plain = [(KEYS, 1), (SECOND, 2), (THIRD, 3), (KEYLESS, 0)].into_iter().flat_map(|(names, key)| {
            names.split_ascii_whitespace().map(move |name| Command { name, kind: Kind::Plain, key })
        });
        let special = SPECIAL.into_iter().map(|(name, kind, key)| Command { name, kind, key });
        Self(plain.chain(special).map(|command| (command.name.as_bytes(), command)).collect())
    }

    /// The one with this name, in whatever case; or [`OTHER`].
    pub fn find(&self, name: &[u8]) -> Command {
        let mut lower = [0; LONGEST];
        let Some(lower) = lower.get_mut(..name.len()) else { return OTHER };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.0.get(&*lower).copied().unwrap_or(OTHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once_and_is_found_in_any_case() {
        let commands = Commands::new();
        let plain = [KEYS, SECOND, THIRD, KEYLESS].map(|names| names.split_ascii_whitespace().count());
        assert_eq!(commands.0.len(), plain.iter().sum::<usize>() + SPECIAL.len());
        assert!(commands.0.keys().all(|name| name.len() <= LONGEST && **name == *name.to_ascii_lowercase()));
        assert_eq!(commands.find(b"BlPoP").kind, Kind::Blocking);
        assert_eq!(commands.find(b"hset").key, 1);
        for unknown in [&b""[..], b"no", b"getx", &[b'a'; 300]] {
            assert_eq!(commands.find(unknown), OTHER);
        }
    }
}
