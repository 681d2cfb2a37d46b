-- Write samples to a number series; a sample at a time that has one replaces it.
--
-- KEYS: meta, series (a time series; without the module a sorted set of members "<ms> <value>"), notes (stream)
-- ARGV: 1 where the module is there, key, then ms, value, ms, value, …
-- Returns {created, new, duplicate, replaced, refused}; an error where the series holds records.
local meta, series, module, key = KEYS[1], KEYS[2], ARGV[1] == '1', ARGV[2]
local known = redis.call('HMGET', meta, 'type', 'floor')
if known[1] and known[1] ~= 'number' then
  return redis.error_reply('MIXED the series holds values of type ' .. known[1] .. ', not number')
end
redis.call('HSET', meta, 'type', 'number', 'layout', module and 'ts' or 'z')
if module and redis.call('EXISTS', series) == 0 then
  local labels = string.find(key, '[(),]') and {} or {'LABELS', 'series', key} -- which labels can't hold
  redis.call('TS.CREATE', series, 'DUPLICATE_POLICY', 'LAST', unpack(labels))
end

local new, duplicate, replaced, refused = 0, 0, 0, 0
local newest
if module then
  newest = (redis.call('TS.REVRANGE', series, '-', '+', 'COUNT', 1)[1] or {})[1]
else
  newest = redis.call('ZRANGE', series, -1, -1, 'WITHSCORES')[2]
end
newest = tonumber(newest or -1)
local floor = known[2] and tonumber(known[2]) or 0
for index = 3, #ARGV, 2 do
  local ms, value = ARGV[index], ARGV[index + 1]
  local there
  if module then
    there = redis.call('TS.RANGE', series, ms, ms)[1]
    there = there and (type(there[2]) == 'table' and there[2]['ok'] or there[2])
  else
    there = redis.call('ZRANGEBYSCORE', series, ms, ms)[1]
    there = there and string.match(there, ' (.*)$')
  end
  if tonumber(ms) < floor then
    refused = refused + 1
  elseif there and tonumber(there) == tonumber(value) then
    duplicate = duplicate + 1
  else
    if there then replaced = replaced + 1 else new = new + 1 end
    if module then
      redis.call('TS.ADD', series, ms, value)
    else
      -- First the new one: a set that is empty meanwhile is gone, and can't be made anew while its slot moves.
      redis.call('ZADD', series, ms, ms .. ' ' .. value)
      if there then redis.call('ZREM', series, ms .. ' ' .. there) end
    end
    if tonumber(ms) > newest then
      newest = tonumber(ms)
    else -- a tail may have read on already
      redis.call('XADD', KEYS[3], '*', 'n', ms, 'v', value)
    end
  end
end

local function add(name, number)
  if number > 0 then redis.call('HINCRBY', meta, 'n:' .. name, number) end
end
add('new', new)
add('duplicate', duplicate)
add('replaced', replaced)
add('refused:dropped_day', refused)
return {known[1] and 0 or 1, new, duplicate, replaced, refused}
