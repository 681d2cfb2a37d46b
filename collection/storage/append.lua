-- Append records of one day to a series, extend its coverage and count, in one piece.
-- A record is identified by its stream id <ms>-<seq>: one that is there already changes nothing; one that is new
-- but older than the newest goes to the day's side set, since a stream takes ascending ids only.
--
-- KEYS: meta, days, segment (stream), late (sorted set)
-- ARGV: type, day, blob of records (B: length, id, I4: length, payload; ascending), by, "after upto …", "name n …"
-- Returns {created, new, duplicate, late, refused}; an error where the series has another type or kind of position.
-- Ids and positions (-1 is before all others) are compared as text: Lua's numbers lose integers above 2^53.
local meta, days, segment, late = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local type, day, blob, by, added, counts = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local function less(a, b)
  if a == '-1' or b == '-1' then return a == '-1' and b ~= '-1' end
  if #a ~= #b then return #a < #b end
  return a < b
end

local function before(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  if a_ms ~= b_ms then return less(a_ms, b_ms) end
  return less(a_seq, b_seq)
end

local known = redis.call('HMGET', meta, 'type', 'by', 'coverage', 'floor')
local created = not (known[1] or known[2])
if type ~= '' and known[1] and known[1] ~= type then
  return redis.error_reply('MIXED the series holds values of type ' .. known[1] .. ', not ' .. type)
end
if by ~= '' and known[2] and known[2] ~= by then
  return redis.error_reply('MIXED the coverage of the series is by ' .. known[2] .. ', not by ' .. by)
end
if type ~= '' and not known[1] then redis.call('HSET', meta, 'type', type) end

local new, duplicate, later, refused = 0, 0, 0, 0
if #blob > 0 then
  local first = struct.unpack('>Bc0', blob)
  if known[4] and tonumber(string.match(first, '^%d+')) < tonumber(known[4]) then
    local position = 1
    while position <= #blob do
      local _, _, following = struct.unpack('>Bc0I4c0', blob, position)
      position, refused = following, refused + 1
    end
  else
    local newest = redis.call('XREVRANGE', segment, '+', '-', 'COUNT', 1)[1]
    newest = newest and newest[1] or '0-0'
    if newest == '0-0' then redis.call('ZADD', days, day, day) end
    local position = 1
    while position <= #blob do
      local id, payload, following = struct.unpack('>Bc0I4c0', blob, position)
      position = following
      if before(newest, id) then
        redis.call('XADD', segment, id, 'r', payload)
        newest, new = id, new + 1
      elseif #redis.call('XRANGE', segment, id, id) > 0 then
        duplicate = duplicate + 1
      else
        local ms, member = string.match(id, '^%d+'), id .. ' '
        local stored = false
        for _, other in ipairs(redis.call('ZRANGEBYSCORE', late, ms, ms)) do
          if string.sub(other, 1, #member) == member then stored = true end
        end
        if stored then
          duplicate = duplicate + 1
        else
          redis.call('ZADD', late, ms, member .. payload)
          later = later + 1
        end
      end
    end
  end
end

if by ~= '' then
  local intervals = {}
  for after, upto in string.gmatch((known[3] or '') .. ' ' .. added, '(-?%d+) (-?%d+)') do
    intervals[#intervals + 1] = {after, upto}
  end
  table.sort(intervals, function(a, b) return less(a[1], b[1]) end)
  local merged = {}
  for _, interval in ipairs(intervals) do
    local last = merged[#merged]
    if last and not less(last[2], interval[1]) then
      if less(last[2], interval[2]) then last[2] = interval[2] end
    else
      merged[#merged + 1] = interval
    end
  end
  for index, interval in ipairs(merged) do merged[index] = interval[1] .. ' ' .. interval[2] end
  redis.call('HSET', meta, 'by', by, 'coverage', table.concat(merged, ' '))
end

local function add(name, number)
  if number > 0 then redis.call('HINCRBY', meta, 'n:' .. name, number) end
end
add('new', new + later)
add('duplicate', duplicate)
add('late', later)
add('refused:dropped_day', refused)
for name, number in string.gmatch(counts, '(%S+) (%d+)') do add(name, tonumber(number)) end
return {created and 1 or 0, new, duplicate, later, refused}
