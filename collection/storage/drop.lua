-- Drop a day of a record log, with its bars, and refuse from now on what is older than the floor.
--
-- KEYS: meta, days, segment (stream), late (sorted set), seven series of bars
-- ARGV: floor (ms), day; '' to set the floor only
local meta, days, segment, late = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local floor, day = ARGV[1], ARGV[2]
local known = call('HMGET', meta, 'floor', 'dropped', 'bars')
if tonumber(floor) > tonumber(known[1] or 0) then call('HSET', meta, 'floor', floor) end
if day == '' then return end
local last = call('XREVRANGE', segment, '+', '-', 'COUNT', 1)[1]
if last and (not known[2] or before(known[2], last[1])) then call('HSET', meta, 'dropped', last[1]) end
if known[3] then
  for field = 1, #FIELDS do
    if call('EXISTS', KEYS[BARS + field]) == 1 then call('TS.DEL', KEYS[BARS + field], 0, floor - 1) end
  end
end
call('UNLINK', segment, late)
call('ZREM', days, day)
