-- Publish quotes, each if the one that its publisher knows as the last still is.
-- KEYS: hash of the last quote of each feed, stream of all
-- ARGV: length of the stream, prefix of channels, then for each quote: name, the last one that is known ('': none), quote
-- Returns for each what is the last one now.
local now = {}
for place = 3, #ARGV, 3 do
  local name, known, quote = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  local last = redis.call('HGET', KEYS[1], name) or ''
  if last == known then
    redis.call('HSET', KEYS[1], name, quote)
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'quote', quote)
    redis.call('PUBLISH', ARGV[2] .. name, quote)
    last = quote
  end
  now[#now + 1] = last
end
return now
