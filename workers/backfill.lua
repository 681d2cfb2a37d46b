-- The chunks of all backfills: which wait, who has which in hand, how far each has come. Judged by this server's clock.
-- KEYS: waiting (sorted set: chunk → when it is due), held (hash: chunk → TOKEN EXPIRES sent|begun), job of the series
-- ARGV: action, ms that what is held outlives its last renewal, ms that a job outlives its last change, then the action's
-- A chunk is SERIES|START. A job has for each START the fields START (JSON, which only workers write), START:end and
-- START:state (waiting, done, partly, failed or cancelled).
local WAITING, HELD, JOB = KEYS[1], KEYS[2], KEYS[3]
local ttl = tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function keep_job()
  redis.call('PEXPIRE', JOB, ARGV[3])
end

local function holder(chunk)
  local held = redis.call('HGET', HELD, chunk)
  if not held then return nil end
  local token, expires, state = string.match(held, '^(%d+) (%d+) (%a+)$')
  return token, tonumber(expires), state
end

local function hold(chunk, token, state)
  redis.call('HSET', HELD, chunk, string.format('%s %.0f %s', token, now + ttl, state))
end

-- What nobody renewed waits again, before all others.
local function give_back()
  local held = redis.call('HGETALL', HELD)
  for index = 1, #held, 2 do
    if tonumber(string.match(held[index + 1], ' (%d+) ')) <= now then
      redis.call('HDEL', HELD, held[index])
      redis.call('ZADD', WAITING, 0, held[index])
    end
  end
end

local actions = {}

-- 1 where what has ended is to begin again, then start, end, … in the order of their turns → how many wait now
function actions.add(series, again)
  local added = 0
  for index = 6, #ARGV, 2 do
    local start, upto = ARGV[index], ARGV[index + 1]
    local chunk = series .. '|' .. start
    local state = redis.call('HGET', JOB, start .. ':state')
    local before = tonumber(redis.call('HGET', JOB, start .. ':end') or 0)
    local ended = state and state ~= 'waiting'
    if tonumber(upto) > before then redis.call('HSET', JOB, start .. ':end', upto) end
    if not state or tonumber(upto) > before or (ended and again == '1') then
      redis.call('HSET', JOB, start .. ':state', 'waiting')
      if ended then redis.call('HDEL', JOB, start) end
    end
    if redis.call('HGET', JOB, start .. ':state') == 'waiting' then
      added = added + 1
      if not holder(chunk) then redis.call('ZADD', WAITING, 'NX', now - 1 + index / #ARGV, chunk) end
    end
  end
  keep_job()
  return added
end

-- how many may be in hand, and of one series → chunk, token, … of those that are to be sent now
function actions.send(most, most_of_one)
  give_back()
  local held, of_one, count = redis.call('HKEYS', HELD), {}, 0
  for _, chunk in ipairs(held) do
    local series = string.match(chunk, '^(.*)|')
    of_one[series] = (of_one[series] or 0) + 1
    count = count + 1
  end
  local sent = {}
  if count >= tonumber(most) then return sent end
  for _, chunk in ipairs(redis.call('ZRANGEBYSCORE', WAITING, '-inf', now, 'LIMIT', 0, 1000)) do
    local series = string.match(chunk, '^(.*)|')
    if count < tonumber(most) and (of_one[series] or 0) < tonumber(most_of_one) then
      local token = string.format('%.0f', time[1] * 1000000 + time[2] + count)
      of_one[series], count = (of_one[series] or 0) + 1, count + 1
      redis.call('ZREM', WAITING, chunk)
      hold(chunk, token, 'sent')
      sent[#sent + 1], sent[#sent + 2] = chunk, token
    end
  end
  return sent
end

-- start, token → end, JSON; nil where the message is stale or came before
function actions.enter(series, start, token)
  local chunk = series .. '|' .. start
  local holding, _, state = holder(chunk)
  if holding ~= token or state ~= 'sent' then return nil end
  if redis.call('HGET', JOB, start .. ':state') ~= 'waiting' then
    redis.call('HDEL', HELD, chunk)
    return nil
  end
  hold(chunk, token, 'begun')
  keep_job()
  return {redis.call('HGET', JOB, start .. ':end'), redis.call('HGET', JOB, start) or ''}
end

-- start, token, JSON → 1 where it is still this one's
function actions.keep(series, start, token, text)
  local chunk = series .. '|' .. start
  if holder(chunk) ~= token then return 0 end
  hold(chunk, token, 'begun')
  redis.call('HSET', JOB, start, text)
  keep_job()
  return 1
end

-- start, token, JSON, the end that it was read up to, state, ms until it is due where it waits → 1 where it was this one's
function actions.leave(series, start, token, text, upto, state, pause)
  local chunk = series .. '|' .. start
  if holder(chunk) ~= token then return 0 end
  redis.call('HDEL', HELD, chunk)
  redis.call('HSET', JOB, start, text)
  if redis.call('HGET', JOB, start .. ':end') ~= upto then state = 'waiting' end -- it was made longer meanwhile
  redis.call('HSET', JOB, start .. ':state', state)
  if state == 'waiting' then redis.call('ZADD', WAITING, pause == '0' and 0 or now + tonumber(pause), chunk) end
  keep_job()
  return 1
end

-- → how many there were
function actions.cancel(series)
  local cancelled = 0
  local fields = redis.call('HGETALL', JOB)
  for index = 1, #fields, 2 do
    local start = string.match(fields[index], '^(%d+):state$')
    if start and fields[index + 1] == 'waiting' then
      local chunk = series .. '|' .. start
      redis.call('HSET', JOB, fields[index], 'cancelled')
      redis.call('ZREM', WAITING, chunk)
      redis.call('HDEL', HELD, chunk)
      cancelled = cancelled + 1
    end
  end
  return cancelled
end

return actions[ARGV[1]](ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10])
