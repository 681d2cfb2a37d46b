-- Append records of one day to a series, extend its coverage and count, in one piece.
-- A record is identified by its stream id <ms>-<seq>: one that is there already changes nothing; one that is new
-- but older than the newest goes to the day's side set, since a stream takes ascending ids only.
--
-- KEYS: meta, days, segment (stream), late (sorted set)
-- ARGV: type, day, by, "after upto …", "name n …", then for each record, ascending and none twice: id, payload
-- Returns {created, new, duplicate, late, refused}; an error where the series has another type or kind of position.
-- Ids and positions (-1 is before all others) are compared as text: Lua's numbers lose integers above 2^53.
local meta, days, segment, late = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local type, day, by, added, counts = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local FIRST, call = 6, redis.call

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

local known = call('HMGET', meta, 'type', 'by', 'coverage', 'floor')
local created = not (known[1] or known[2])
if type ~= '' and known[1] and known[1] ~= type then
  return redis.error_reply('MIXED the series holds values of type ' .. known[1] .. ', not ' .. type)
end
if by ~= '' and known[2] and known[2] ~= by then
  return redis.error_reply('MIXED the coverage of the series is by ' .. known[2] .. ', not by ' .. by)
end
if type ~= '' and not known[1] then call('HSET', meta, 'type', type) end

-- What the stream holds of a stretch, in one read, unless it holds far more than is asked about.
local function stored(first, last, asked)
  local limit, there = 4 * asked + 100, {}
  local found = call('XRANGE', segment, first, last, 'COUNT', limit)
  for index = 1, #found do there[found[index][1]] = true end
  if #found < limit then return function(id) return there[id] end end
  return function(id) return there[id] or #call('XRANGE', segment, id, id) > 0 end
end

local function add_late(id, payload)
  local ms, member = string.match(id, '^%d+'), id .. ' '
  for _, other in ipairs(call('ZRANGEBYSCORE', late, ms, ms)) do
    if string.sub(other, 1, #member) == member then return false end
  end
  call('ZADD', late, ms, member .. payload)
  return true
end

local new, duplicate, later, refused = 0, 0, 0, 0
if #ARGV > FIRST then
  if known[4] and tonumber(string.match(ARGV[FIRST], '^%d+')) < tonumber(known[4]) then
    refused = (#ARGV - FIRST + 1) / 2
  else
    local newest = call('XREVRANGE', segment, '+', '-', 'COUNT', 1)[1]
    newest = newest and newest[1]
    if not newest then call('ZADD', days, day, day) end
    local index = FIRST
    if newest and not before(newest, ARGV[FIRST]) then
      local last = before(newest, ARGV[#ARGV - 1]) and newest or ARGV[#ARGV - 1]
      local is_stored = stored(ARGV[FIRST], last, (#ARGV - FIRST + 1) / 2)
      while index < #ARGV and not before(newest, ARGV[index]) do
        if is_stored(ARGV[index]) or not add_late(ARGV[index], ARGV[index + 1]) then
          duplicate = duplicate + 1
        else
          later = later + 1
        end
        index = index + 2
      end
    end
    new = (#ARGV - index + 1) / 2
    for place = index, #ARGV, 2 do call('XADD', segment, ARGV[place], 'r', ARGV[place + 1]) end
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
  call('HSET', meta, 'by', by, 'coverage', table.concat(merged, ' '))
end

local function add(name, number)
  if number > 0 then call('HINCRBY', meta, 'n:' .. name, number) end
end
add('new', new + later)
add('duplicate', duplicate)
add('late', later)
add('refused:dropped_day', refused)
for name, number in string.gmatch(counts, '(%S+) (%d+)') do add(name, tonumber(number)) end
return {created and 1 or 0, new, duplicate, later, refused}
