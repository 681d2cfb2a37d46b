-- Decide whether a poll's turn has come, by Redis's clock.
-- KEYS: mark of the last turn, which lives one interval
-- ARGV: interval in ms, 1 for a retry within the same turn
-- Returns the ms since the turn began, -1 where the last one began less than half an interval ago.
local interval = tonumber(ARGV[1])
local left = math.max(redis.call('PTTL', KEYS[1]), 0)
if left > interval then left = 0 end -- a mark from when the interval was longer
if ARGV[2] == '1' then return interval - left end
if left > interval / 2 then return -1 end
redis.call('SET', KEYS[1], '1', 'PX', interval)
return 0
