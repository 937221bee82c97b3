//! Names of keys, and what the server does in one go.

use std::net::SocketAddr;

use redis::Script;

use crate::host::ServiceName;

/// Names of keys.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What the names of a service's hosts begin with. Names of services have no colons, so no two begin alike.
    pub(super) fn hosts(&self, service: &ServiceName) -> String {
        format!("{}host:{service}:", self.prefix)
    }

    pub(super) fn host(&self, service: &ServiceName, address: &SocketAddr) -> String {
        format!("{}{address}", self.hosts(service))
    }

    pub(super) fn service(&self, service: &ServiceName) -> String {
        format!("{}service:{service}", self.prefix)
    }

    pub(super) fn changes(&self) -> String {
        format!("{}changes", self.prefix)
    }

    pub(super) fn epoch(&self) -> String {
        format!("{}epoch", self.prefix)
    }
}

/// Sent once, then called by their hashes.
pub(super) struct Scripts {
    pub(super) put: Script,
    pub(super) remove: Script,
    pub(super) weigh: Script,
    pub(super) clean: Script,
}

impl std::fmt::Debug for Scripts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripts").finish_non_exhaustive()
    }
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            put: Script::new(PUT),
            remove: Script::new(REMOVE),
            weigh: Script::new(WEIGH),
            clean: Script::new(CLEAN),
        }
    }
}

/// A heartbeat. `changes` is touched only where readers would see something else. A late one is nothing when the host was heard of, or went, later. A
/// host that the server did not have brings the operator's weight along that its registry knew.
const PUT: &str = r"
local host, set, changes = KEYS[1], KEYS[2], KEYS[3]
local member, service, body, at, ttl, mark, load, load_weight, late, weight = unpack(ARGV)
local before = redis.call('HMGET', host, 'body', 'load_weight', 'at', 'gone')
if late == '1' and (tonumber(before[4] or before[3] or '0') or 0) > tonumber(at) then
  return
end
if before[4] then
  redis.call('DEL', host)
end
redis.call('HSET', host, 'body', body, 'at', at)
if load ~= '' then
  redis.call('HSET', host, 'load', load, 'load_weight', load_weight)
end
if not before[1] and not before[4] and weight ~= '' then
  redis.call('HSET', host, 'weight', weight)
end
redis.call('PEXPIRE', host, ttl)
redis.call('SADD', set, member)
if before[1] ~= body or (load ~= '' and before[2] ~= load_weight) or redis.call('HEXISTS', changes, service) == 0 then
  redis.call('HSET', changes, service, mark)
end
";

/// Hosts that leave. What stays of them for one TTL says so to registries that know them.
const REMOVE: &str = r"
local set, changes = KEYS[1], KEYS[2]
local hosts, service, at, ttl, mark, late, force = unpack(ARGV, 1, 7)
local removed = {}
local marked = false
for i = 8, #ARGV do
  local host = hosts .. ARGV[i]
  local known = redis.call('HMGET', host, 'body', 'at')
  local newer = late == '1' and (tonumber(known[2] or '0') or 0) > tonumber(at)
  if not newer and (known[1] or force == '1') then
    if known[1] then
      removed[#removed + 1] = ARGV[i]
    end
    redis.call('DEL', host)
    redis.call('HSET', host, 'gone', at)
    redis.call('PEXPIRE', host, ttl)
    redis.call('SADD', set, ARGV[i])
    marked = true
  end
end
if marked then
  redis.call('HSET', changes, service, mark)
end
return removed
";

/// An operator's weight; an empty one lets go.
const WEIGH: &str = r"
local set, changes = KEYS[1], KEYS[2]
local hosts, service, mark, weight = unpack(ARGV, 1, 4)
local weighed = {}
for i = 5, #ARGV do
  local host = hosts .. ARGV[i]
  if redis.call('HEXISTS', host, 'body') == 1 then
    if weight == '' then
      redis.call('HDEL', host, 'weight')
    else
      redis.call('HSET', host, 'weight', weight)
    end
    weighed[#weighed + 1] = ARGV[i]
  end
end
if #weighed > 0 then
  redis.call('HSET', changes, service, mark)
end
return weighed
";

/// Addresses whose hosts have expired. Asked again here: one may have come back since.
const CLEAN: &str = r"
local set, changes = KEYS[1], KEYS[2]
local hosts, service = unpack(ARGV, 1, 2)
for i = 3, #ARGV do
  if redis.call('EXISTS', hosts .. ARGV[i]) == 0 then
    redis.call('SREM', set, ARGV[i])
  end
end
if redis.call('SCARD', set) == 0 then
  redis.call('HDEL', changes, service)
end
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_services_share_keys() {
        let keys = Keys::new("p:");
        let name = |text| ServiceName::parse(text).unwrap();
        let address = "[fd00::1]:80".parse().unwrap();
        assert_eq!(keys.host(&name("a"), &address), "p:host:a:[fd00::1]:80");
        assert_eq!(keys.service(&name("a.b")), "p:service:a.b");
    }
}
