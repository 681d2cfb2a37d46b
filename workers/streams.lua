-- Who runs which stream, judged by this server's clock.
-- KEYS: leases, next (successors that have not delivered yet), workers, last token
-- ARGV: action, time to live in ms of what it writes, then what the action takes
-- Entries and workers are JSON. What expired counts as absent, and is removed where it is met.
-- Tokens are text: microseconds, greater than the last one, never falling back.
local LEASES, NEXT, WORKERS, LAST = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ttl = tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local CHUNK = 1000 -- fields of one command: Lua's stack holds no more than some thousands

local function last_token()
  return tonumber(redis.call('GET', LAST) or 0)
end

local function set_last_token(token)
  redis.call('SET', LAST, string.format('%.0f', token))
end

local function new_token()
  local token = math.max(time[1] * 1000000 + time[2], last_token() + 1)
  set_last_token(token)
  return string.format('%.0f', token)
end

local function read(hash, id)
  local text = redis.call('HGET', hash, id)
  if not text then return nil end
  local entry = cjson.decode(text)
  if entry.expires > now then return entry end
  redis.call('HDEL', hash, id)
  return nil
end

local function write(hash, id, entry)
  redis.call('HSET', hash, id, cjson.encode(entry))
end

local function new_entry(token, state, node)
  return {token = token, state = state, node = node, expires = now + ttl, since = now, failing = 0, note = ''}
end

local function become(entry, state)
  if entry.state ~= state then entry.state, entry.since = state, now end
  entry.expires = now + ttl
end

local function find(id, token)
  for _, hash in ipairs({LEASES, NEXT}) do
    local entry = read(hash, id)
    if entry and entry.token == token then return entry, hash end
  end
  return nil
end

local function is_free(lease)
  return not lease or lease.state == 'stopped'
end

-- Most are plain renewals, also of what expired. Patterns take a third of cjson's time; quotes in texts are escaped.
local function renewed(text, token)
  if string.match(text, '"token":"(%d+)"') ~= token then return nil end
  if not string.find(text, '"state":"running"', 1, true) then return nil end
  return (string.gsub(text, '"expires":%d+', string.format('"expires":%.0f', now + ttl), 1))
end

local function renew(entry)
  if entry.state == 'placed' then -- that it was entered is what Redis forgot
    become(entry, 'running')
  else
    entry.expires = math.max(entry.expires, now + ttl)
  end
  return entry
end

local function room()
  local free, places = 0, {}
  local workers = redis.call('HGETALL', WORKERS)
  for index = 1, #workers, 2 do
    local worker = cjson.decode(workers[index + 1])
    if not worker.draining and worker.seen + ttl > now then
      places[cjson.encode(workers[index])] = worker.capacity
    end
  end
  if next(places) == nil then return 0 end
  for _, hash in ipairs({LEASES, NEXT}) do
    for _, text in ipairs(redis.call('HVALS', hash)) do
      local name = string.match(text, '"node":("[^"]*")')
      if places[name] and tonumber(string.match(text, '"expires":(%d+)')) > now then
        local state = string.match(text, '"state":"([%a_]+)"')
        if state ~= 'failed' and state ~= 'stopped' then places[name] = places[name] - 1 end
      end
    end
  end
  for _, own in pairs(places) do free = free + math.max(own, 0) end
  return free
end

local function register(node, capacity, draining, running)
  local text = redis.call('HGET', WORKERS, node)
  local before = text and cjson.decode(text)
  local began = now
  if before and (running > 0 or before.seen + ttl > now) then
    began = before.began
  elseif running > 0 then
    began = 0 -- it ran before this server, or what it remembers, began
  end
  redis.call('HSET', WORKERS, node, cjson.encode(
    {capacity = capacity, draining = draining, seen = now, began = began, running = running}))
end

local actions = {}

-- node, capacity, 1 where it drains, then id, token, … → now, room, ids that others hold
-- The room is what other workers have free, counted where this one drains: that takes longer than all the rest.
function actions.keep(node, capacity, draining)
  local lost, changed, greatest = {}, {}, 0
  for first = 6, #ARGV, CHUNK do
    local ids = {}
    for index = first, math.min(first + CHUNK, #ARGV) - 1, 2 do ids[#ids + 1] = ARGV[index] end
    local texts = redis.call('HMGET', LEASES, unpack(ids))
    for place, id in ipairs(ids) do
      local token = ARGV[first + place * 2 - 1]
      local text = texts[place] and renewed(texts[place], token)
      if text then
        changed[#changed + 1], changed[#changed + 2] = id, text
      else
        local entry, hash = find(id, token)
        if entry then
          write(hash, id, renew(entry))
        elseif read(LEASES, id) then
          lost[#lost + 1] = id
        else
          write(LEASES, id, new_entry(token, 'running', node))
          greatest = math.max(greatest, tonumber(token))
        end
      end
    end
  end
  for first = 1, #changed, CHUNK do
    redis.call('HSET', LEASES, unpack(changed, first, math.min(first + CHUNK - 1, #changed)))
  end
  if greatest > last_token() then set_last_token(greatest) end
  register(node, tonumber(capacity), draining == '1', (#ARGV - 5) / 2 - #lost)
  return {now, draining == '1' and room() or 0, lost}
end

-- node
function actions.forget(node)
  redis.call('HDEL', WORKERS, node)
end

-- id, node → its token, nil where another has it
function actions.take(id, node)
  if not is_free(read(LEASES, id)) or read(NEXT, id) then return nil end
  local token = new_token()
  write(LEASES, id, new_entry(token, 'running', node))
  return token
end

-- id, token, node → lease or next, nil where the message is stale
function actions.enter(id, token, node)
  local entry, hash = find(id, token)
  if not entry or entry.state ~= 'placed' and entry.state ~= 'backing_off' then return nil end
  become(entry, 'running')
  entry.node = node
  write(hash, id, entry)
  return hash == LEASES and 'lease' or 'next'
end

-- id, token → 1 where it has the lease now
function actions.promote(id, token)
  local entry, hash = find(id, token)
  if hash == NEXT then
    become(entry, 'running')
    write(LEASES, id, entry)
    redis.call('HDEL', NEXT, id)
  end
  return entry and 1 or 0
end

-- id, token, note → 1 where it is its own
function actions.back_off(id, token, note)
  local entry, hash = find(id, token)
  if not entry then return 0 end
  become(entry, 'backing_off')
  entry.note = note
  if entry.failing == 0 then entry.failing = now end
  write(hash, id, entry)
  return 1
end

-- id, token
function actions.delivered(id, token)
  local entry, hash = find(id, token)
  if not entry then return end
  entry.failing, entry.note = 0, ''
  write(hash, id, entry)
end

-- id, token, note
function actions.fail(id, token, note)
  local entry, hash = find(id, token)
  if not entry then return end
  become(entry, 'failed')
  if hash == NEXT then entry.expires = now + 30000 end -- the predecessor runs on: another worker may try soon
  entry.note = note
  if entry.failing == 0 then entry.failing = now end
  write(hash, id, entry)
end

-- id, token
function actions.release(id, token)
  local _, hash = find(id, token)
  if hash then redis.call('HDEL', hash, id) end
end

-- ms after which a worker is gone → now, seconds that the server is up, leases, next, workers, nodes that are gone
function actions.view(gone_after)
  local there, gone = {}, {}
  for place, hash in ipairs({LEASES, NEXT, WORKERS}) do
    local pairs_there, pairs_all = {}, redis.call('HGETALL', hash)
    for index = 1, #pairs_all, 2 do
      local name, text = pairs_all[index], pairs_all[index + 1]
      local seen = hash == WORKERS and cjson.decode(text).seen
      if seen and seen + gone_after <= now then
        gone[#gone + 1] = name
        redis.call('HDEL', hash, name)
      elseif not seen and tonumber(string.match(text, '"expires":(%d+)')) <= now then
        redis.call('HDEL', hash, name)
      elseif not seen or seen + ttl > now then
        pairs_there[#pairs_there + 1], pairs_there[#pairs_there + 2] = name, text
      end
    end
    there[place] = pairs_there
  end
  local uptime = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
  return {now, uptime, there[1], there[2], there[3], gone}
end

-- id, node, kind, … → id, node, token, … of those that are done
function actions.place()
  local done = {}
  for index = 3, #ARGV, 3 do
    local id, node, kind = ARGV[index], ARGV[index + 1], ARGV[index + 2]
    local lease, successor = read(LEASES, id), read(NEXT, id)
    if not successor and (kind == 'start') == is_free(lease) then
      local entry = new_entry(new_token(), 'placed', node)
      if kind == 'hand_over' then entry.failing = lease.failing end
      write(kind == 'start' and LEASES or NEXT, id, entry)
      for _, value in ipairs({id, node, entry.token}) do done[#done + 1] = value end
    end
  end
  return done
end

-- id, …
function actions.stop()
  for index = 3, #ARGV do
    local id = ARGV[index]
    local lease, successor = read(LEASES, id), read(NEXT, id)
    if successor or not is_free(lease) then
      local stopped = new_entry(new_token(), 'stopped', (lease or successor).node)
      write(LEASES, id, stopped)
      redis.call('HDEL', NEXT, id)
    end
  end
end

return actions[ARGV[1]](ARGV[3], ARGV[4], ARGV[5])
