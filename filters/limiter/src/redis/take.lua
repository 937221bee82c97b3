-- Takes from limits, all of them or none. Executed by Redis at once, so that nobody sees half of it.
--
-- KEYS: one for each meter.
-- ARGV: the time in microseconds, or nothing: the server's own. Then for each order: its operation, whether it is advisory (1: it has no say, and is taken if it
-- fits), how many meters it has; and for each of these its kind, and
--   1, a rate: units of a fraction, and what the cost takes, what there may be, what there may ever be, each as whole microseconds and a fraction
--   2, a quota: its limit, its period in microseconds, and the cost
--   3, those at the same time: how many, after how many microseconds one is forgotten, the cost (0 or 1), and the name of this one
-- Reply: whether all that has a say fits, the time, and for each meter of what is taken or looked at two numbers: how it was before.
--   1: what is taken of it, whole and fraction. 2: the end of the window, and what is counted in it. 3: how many there are, and 0.
--
-- Numbers are doubles here: whole ones are exact up to 2^53. Everything that would need more was computed by who asks.

local TAKE, PEEK, CHARGE, RETURN, RELEASE = 0, 1, 2, 3, 4
local LARGEST = 9007199254740991
-- Where tests say what time it is, keys stay for an hour at least: they would go by the server's clock.
local GIVEN = 3600000

local now = ARGV[1]
local given = now ~= ''
if given then
  now = tonumber(now)
else
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local at = 1
local function word()
  at = at + 1
  return ARGV[at]
end
local function number()
  return tonumber(word())
end
local function text(value)
  return string.format('%.0f', value)
end

local function milliseconds(microseconds)
  local left = math.ceil(microseconds / 1000) + 1
  if given and left < GIVEN then left = GIVEN end
  return text(left)
end
local function load(key)
  local state = redis.call('GET', key)
  if not state then return nil, nil end
  local first, second = string.match(state, '^(%d+):(%d+)$')
  return tonumber(first), tonumber(second)
end
local function save(key, left, first, second)
  redis.call('SET', key, text(first) .. ':' .. text(second), 'PX', milliseconds(left))
end

-- Each of these reads a meter's words and its state. `passes`: whether the cost fits; `first`, `second`: how it was; and what operations do to it.

local function rate(key)
  local count = number()
  local cost_whole, cost_part = number(), number()
  local most_whole, most_part = number(), number()
  local ceiling_whole, ceiling_part = number(), number()
  local free = cost_whole == 0 and cost_part == 0
  local until_, part = load(key)
  local known = until_ ~= nil
  -- How far away the bucket's being full is.
  local whole, fraction = 0, 0
  if known and until_ >= now then
    whole = until_ - now
    -- A fraction of another rate's is none of ours.
    if part < count then fraction = part end
  end
  -- No state that was made by this clock is further away: the clock has jumped, or the rate was another.
  local ahead = whole > ceiling_whole + 1
  if whole > ceiling_whole or (whole == ceiling_whole and fraction > ceiling_part) then
    whole, fraction = ceiling_whole, ceiling_part
  end
  local after_whole, after_part = whole + cost_whole, fraction + cost_part
  if after_part >= count then
    after_whole, after_part = after_whole + 1, after_part - count
  end
  local function set(a, b)
    save(key, a + 1, now + a, b)
  end
  return {
    passes = free or after_whole < most_whole or (after_whole == most_whole and after_part <= most_part),
    first = whole,
    second = fraction,
    take = function()
      if not free then set(after_whole, after_part) end
    end,
    settle = function()
      if ahead then set(ceiling_whole, ceiling_part) end
    end,
    charge = function()
      if free then return end
      if after_whole > ceiling_whole or (after_whole == ceiling_whole and after_part > ceiling_part) then
        after_whole, after_part = ceiling_whole, ceiling_part
      end
      set(after_whole, after_part)
    end,
    give = function()
      -- What is forgotten was given back by that.
      if free or not known then return end
      if whole < cost_whole or (whole == cost_whole and fraction <= cost_part) then
        set(0, 0)
      elseif fraction >= cost_part then
        set(whole - cost_whole, fraction - cost_part)
      else
        set(whole - cost_whole - 1, fraction + count - cost_part)
      end
    end,
  }
end

local function quota(key)
  local limit, period, cost = number(), number(), number()
  local until_, value = load(key)
  local known = until_ ~= nil
  -- Not `%`, which divides and may be off by one.
  local finish = now - math.fmod(now, period) + period
  -- A clock that was set back into the window before goes on with what it has; one that was set back by more begins anew.
  if not known or (until_ ~= finish and until_ ~= finish + period) then
    until_, value = finish, 0
  end
  local after = math.min(value + cost, LARGEST)
  local function set(count)
    save(key, until_ - now, until_, count)
  end
  local function take()
    if cost > 0 then set(after) end
  end
  return {
    passes = cost == 0 or after <= limit,
    first = until_,
    second = value,
    take = take,
    settle = function() end,
    charge = take,
    give = function()
      if cost > 0 and known then set(math.max(value - cost, 0)) end
    end,
  }
end

local function leases(key)
  local limit, expiry, cost, name = number(), number(), number(), word()
  local held = redis.call('ZCOUNT', key, '(' .. text(now), '+inf')
  return {
    passes = cost == 0 or held + cost <= limit,
    first = held,
    second = 0,
    take = function()
      if cost == 0 then return end
      redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now))
      redis.call('ZADD', key, text(now + expiry), name)
      redis.call('PEXPIRE', key, milliseconds(expiry))
    end,
    settle = function() end,
    charge = function() end,
    give = function()
      redis.call('ZREM', key, name)
    end,
  }
end

local kinds = { rate, quota, leases }
local orders, key, admitted = {}, 0, true
local reply = { 0, now }
while at < #ARGV do
  local order = { operation = number(), advisory = number() == 1, passes = true }
  for index = 1, number() do
    key = key + 1
    local meter = kinds[number()](KEYS[key])
    order[index] = meter
    if order.operation == TAKE or order.operation == PEEK then
      order.passes = order.passes and meter.passes
      reply[#reply + 1] = meter.first
      reply[#reply + 1] = meter.second
    end
  end
  admitted = admitted and (order.passes or order.advisory)
  orders[#orders + 1] = order
end

for _, order in ipairs(orders) do
  local operation = order.operation
  for _, meter in ipairs(order) do
    if operation == TAKE and admitted and order.passes then
      meter.take()
    elseif operation == TAKE and not meter.passes then
      -- Else all would be refused until the clock is back where it was.
      meter.settle()
    elseif operation == CHARGE then
      meter.charge()
    elseif operation == RETURN or operation == RELEASE then
      meter.give()
    end
  end
end

reply[1] = admitted and 1 or 0
return reply
