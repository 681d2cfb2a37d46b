-- Take request weight out of a bucket that fills steadily, by this server's clock.
-- KEYS: bucket (hash: what was left, and when, in microseconds)
-- ARGV: weight that is asked for, what the bucket holds, microseconds in which it fills, weight that is to be left
-- Returns the microseconds to wait before asking again, 0 where the weight was taken.
-- What is more than the bucket holds is taken when it is full, and owed.
local weight, size, fills, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local known = redis.call('HMGET', KEYS[1], 'left', 'at')
local left, at = tonumber(known[1] or size), tonumber(known[2] or now)
left = math.min(left + math.max(now - at, 0) * size / fills, size)
local lacking = math.min(weight + kept, size) - left
if lacking > 1e-9 then return math.ceil(lacking * fills / size) end
redis.call('HSET', KEYS[1], 'left', string.format('%.9f', left - weight), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((size - left + weight) * fills / size / 1000) + 1000)
return 0
