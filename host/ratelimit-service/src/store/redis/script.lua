-- Counts hits of several counters at once, by the server's clock, in one round trip.
--
-- ARGV[1] is "each": every counter by itself, windows whether the hits fit or not; or "all": all of the counters, or none of them;
-- or "look": what "all" would do, and nothing is counted.
-- Then for each of KEYS: kind ("w" window, "g" GCRA), limit, period in microseconds, hits, burst.
-- The answer has for each of KEYS: passes (1 or 0), before, after, microseconds until it is worth trying again or begins anew (-1: never).
--
-- A window is kept as "number count", where the number is that of the window since the Unix epoch: what a key holds is never taken for
-- another window's, whenever Redis deletes it. GCRA is kept as "moment debt", in microseconds: debt is how far the bucket was from full.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local together, look = ARGV[1] ~= 'each', ARGV[1] == 'look'
-- Above it doubles are no longer exact.
local most = 9007199254740991

local found, fit = {}, true
for at, key in ipairs(KEYS) do
  local base = 2 + (at - 1) * 5
  local one = {
    key = key,
    window = ARGV[base] == 'w',
    limit = tonumber(ARGV[base + 1]),
    period = tonumber(ARGV[base + 2]),
    hits = tonumber(ARGV[base + 3]),
    burst = tonumber(ARGV[base + 4]),
  }
  local first, second
  local state = redis.call('GET', key)
  if state then
    first, second = string.match(state, '^(%S+) (%S+)$')
    first, second = tonumber(first), tonumber(second)
  end
  if one.window then
    local number = math.floor(now / one.period)
    one.number, one.before = number, 0
    -- A clock that was set back into the window before goes on with what it has, lest anybody have that window twice.
    if first and second and (first == number or first == number + 1) then
      one.number, one.before = first, second
    end
    one.after = math.min(one.before + one.hits, most)
    one.passes = one.hits == 0 and together or one.after <= one.limit
    one.reset = (one.number + 1) * one.period - now
  else
    local token = one.period / one.limit
    local capacity = one.burst * token
    one.debt = 0
    if first and second then
      one.debt = math.min(math.max(0, second - math.max(0, now - first)), capacity)
    end
    one.owed = one.debt + one.hits * token
    -- Sums of doubles are a little off.
    one.passes = one.hits == 0 or one.owed <= capacity + token / 1000000
    local left = math.floor((capacity - one.debt) / token + 0.000001)
    one.before = one.burst - left
    one.after = one.before + one.hits
    if one.passes then
      one.reset = math.ceil(one.owed)
    elseif one.hits > one.burst then
      one.reset = -1
    else
      one.reset = math.ceil(one.owed - capacity)
    end
  end
  fit = fit and one.passes
  found[at] = one
end

local answer = {}
for at, one in ipairs(found) do
  local charged = one.hits > 0
  if together then
    charged = charged and fit
  elseif not one.window then
    charged = charged and one.passes
  end
  if charged and not look then
    local state, lasts
    if one.window then
      state, lasts = string.format('%.0f %.0f', one.number, one.after), one.reset
    else
      state, lasts = string.format('%.0f %.17g', now, one.owed), one.owed
    end
    redis.call('SET', one.key, state, 'PX', string.format('%.0f', math.ceil(lasts / 1000) + 1000))
  elseif together and one.passes and not charged then
    one.after = one.before
  end
  answer[at] = { one.passes and 1 or 0, one.before, one.after, one.reset }
end
return answer
