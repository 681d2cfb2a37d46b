-- Hold or release a lease.
-- KEYS: lease ("TOKEN OWNER"), last token
-- ARGV: hold | release, time to live in ms, owner, token of a lease held so far or 0
-- Returns the token now held, 0 where none is. Tokens are text: microseconds, never falling back.
local held = redis.call('GET', KEYS[1])
local token = held and string.match(held, '^%d+')
if ARGV[1] == 'release' then
  if token == ARGV[4] then redis.call('DEL', KEYS[1]) end
  return '0'
end
if held and token ~= ARGV[4] then return '0' end
if not held then
  token = ARGV[4]
  if token == '0' then
    local time = redis.call('TIME')
    token = string.format('%.0f', math.max(time[1] * 1000000 + time[2], (tonumber(redis.call('GET', KEYS[2]) or 0)) + 1))
  end
  redis.call('SET', KEYS[2], token)
end
redis.call('SET', KEYS[1], token .. ' ' .. ARGV[3], 'PX', ARGV[2])
return token
