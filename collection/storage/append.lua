-- Append records of one day to a series with their bars, extend its coverage and count, in one piece.
-- A record is identified by its stream id <ms>-<seq>: one that is there already changes nothing, and is refused if it
-- says anything else; one that is new
-- but older than the newest goes to the day's side set, since a stream takes ascending ids only. Whatever is not
-- beyond the newest record of the series is also noted for the tails, which have read past its place.
--
-- KEYS: meta, days, segment (stream), late (sorted set), coverage (sorted set), notes (stream), seven series of bars
-- ARGV: type, day, by, "<after>:<upto> …", "name n …", labels of the bars as msgpack or '' without the module;
--       number of records; these, ascending and none twice, each as its id, a zero, its length in 4 bytes, its payload
-- Returns {created, new, duplicate, late, refused}; an error where the series has another type or kind of position.
-- Positions have 20 digits, and so compare as text.
local meta, days, segment, late, coverage, notes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local kind, day, by, added, counts, labels = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local known = call('HMGET', meta, 'type', 'by', 'floor', 'bars')
local created = not (known[1] or known[2])
if kind ~= '' and known[1] and known[1] ~= kind then
  return redis.error_reply('MIXED the series holds values of type ' .. known[1] .. ', not ' .. kind)
end
if by ~= '' and known[2] and known[2] ~= by then
  return redis.error_reply('MIXED the coverage of the series is by ' .. known[2] .. ', not by ' .. by)
end
local count = tonumber(ARGV[7])
if kind ~= '' and count == 0 and not known[1] then -- what it follows is no longer there
  return redis.error_reply('LOST the records that were written before')
end
local keeps_bars = known[4] == '1'
if kind ~= '' and not known[1] then
  call('HSET', meta, 'type', kind)
  if kind == 'trade' and labels ~= '' then
    create_bars(cmsgpack.unpack(labels))
    call('HSET', meta, 'bars', '1')
    keeps_bars = true
  end
end

-- What the stream holds of a stretch, in one read, unless it holds far more than is asked about.
local function stored(first, last, asked)
  local limit, there = 4 * asked + 100, {}
  local found = call('XRANGE', segment, first, last, 'COUNT', limit)
  for index = 1, #found do there[found[index][1]] = found[index][2][2] end
  if #found < limit then return function(id) return there[id] end end
  return function(id)
    local one = not there[id] and call('XRANGE', segment, id, id)[1]
    return there[id] or (one and one[2][2])
  end
end

local late_ms, late_there -- the late records of one millisecond, by id: records come in order

local function stored_late(id)
  local ms = match(id, '^%d+')
  if ms ~= late_ms then
    late_ms, late_there = ms, {}
    for _, member in ipairs(call('ZRANGEBYSCORE', late, ms, ms)) do
      local space = string.find(member, ' ', 1, true)
      late_there[sub(member, 1, space - 1)] = sub(member, space + 1)
    end
  end
  return late_there[id]
end

-- Whether texts are of one number: doubles tell those apart that are short.
local function equal(a, b)
  if a == b then return true end
  if tonumber(a) ~= tonumber(b) then return false end
  if #a < LONGEST and #b < LONGEST then return true end
  local difference = sum(exact(a), exact(sub(b, 1, 1) == '-' and sub(b, 2) or '-' .. b))
  for _, limb in ipairs(difference.limbs) do
    if limb ~= 0 then return false end
  end
  return true
end

-- Whether payloads of one id are of one record: equal in all but the time of receipt.
local function same(a, b)
  if a == b then return true end
  if kind ~= 'trade' then return false end
  local price, amount = price_and_amount(a)
  if #price < 32 and #amount < 32 and byte(a, -1) == 192 and byte(b, -1) == 192 then -- usual: no id of its own
    local published = 4 + #price + #amount -- up to the side
    if sub(a, 1, published) == sub(b, 1, published) then return true end
  end
  local left, right = cmsgpack.unpack(a), cmsgpack.unpack(b)
  return equal(left[1], right[1]) and equal(left[2], right[2])
    and left[3] == right[3] and left[5] == right[5]
end

local new, duplicate, later, refused, conflict = 0, 0, 0, 0, 0

local function append(records, count)
  local newest = call('XREVRANGE', segment, '+', '-', 'COUNT', 1)[1]
  newest = newest and newest[1]
  local last_day = call('ZRANGE', days, -1, -1)[1]
  if not newest then call('ZADD', days, day, day) end
  local index, last = 1, 2 * count - 1
  local bars = keeps_bars and Bars(meta, segment, late, newest, records[1], records[last])
  if newest and not before(newest, records[1]) then
    local is_stored = stored(records[1], before(newest, records[last]) and newest or records[last], count)
    while index <= last and not before(newest, records[index]) do
      local id, payload = records[index], records[index + 1]
      local there = is_stored(id) or stored_late(id)
      if not there then
        later = later + 1
        call('ZADD', late, match(id, '^%d+'), id .. ' ' .. payload)
        call('XADD', notes, '*', 'l', id, 'r', payload)
        if bars then bars.touch(id) end
      elseif same(payload, there) then
        duplicate = duplicate + 1
      else
        conflict = conflict + 1
      end
      index = index + 2
    end
  end
  if index <= last and last_day and tonumber(last_day) > tonumber(day) then
    call('XADD', notes, '*', 'd', day, 'f', records[index], 't', records[last])
  end
  new = count - duplicate - later - conflict
  for place = index, last, 2 do call('XADD', segment, records[place], 'r', records[place + 1]) end
  if bars and new + later > 0 then
    bars.add(records, index, last)
    bars.write()
  end
end

if count > 0 then
  local records = {struct.unpack('>' .. string.rep('sI4c0', count), ARGV[8])}
  if known[3] and tonumber(match(records[1], '^%d+')) < tonumber(known[3]) then
    refused = count
  else
    append(records, count)
  end
end

local function cover(after, upto)
  local left = call('ZREVRANGEBYLEX', coverage, '[' .. after .. ';', '-', 'LIMIT', 0, 1)[1]
  if left and sub(left, 22) >= after then
    if sub(left, 22) >= upto then return end
    after = sub(left, 1, 20)
  end
  local joined = call('ZRANGEBYLEX', coverage, '[' .. after, '[' .. upto .. ';')
  for _, one in ipairs(joined) do
    if sub(one, 22) > upto then upto = sub(one, 22) end
  end
  -- First the new one: a set that is empty meanwhile is gone, and what is gone can't be made while its slot moves.
  call('ZADD', coverage, 0, after .. ':' .. upto)
  for _, one in ipairs(joined) do
    if one ~= after .. ':' .. upto then call('ZREM', coverage, one) end
  end
end

if by ~= '' and refused == 0 then -- what was refused is not there: nothing is complete by it
  if not known[2] then call('HSET', meta, 'by', by) end
  for after, upto in string.gmatch(added, '(%d+):(%d+)') do cover(after, upto) end
end

local function add(name, number)
  if number > 0 then call('HINCRBY', meta, 'n:' .. name, number) end
end
add('new', new + later)
add('duplicate', duplicate)
add('late', later)
add('refused:dropped_day', refused)
add('refused:conflict', conflict)
for name, number in string.gmatch(counts, '(%S+) (%d+)') do add(name, tonumber(number)) end
return {created and 1 or 0, new, duplicate, later, refused}
