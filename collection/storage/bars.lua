-- Bars of one second, exact: the beginning of each script that writes them. BARS is the number of keys before theirs.
--
-- A bar is seven samples at the start of its second, in the series KEYS[BARS + 1 … BARS + 7]: open, high, low, close,
-- volume, count, quote_volume; a sample is the float nearest to the exact number. Sums are sums of integers: of doubles,
-- as long as these hold them exactly, else of limbs to base 10^7 (`exact`).
local call, sub, match, byte, floor = redis.call, string.sub, string.match, string.byte, math.floor
local FIELDS = {'open', 'high', 'low', 'close', 'volume', 'count', 'quote_volume'}
local BASE, LIMBS, FOLD = 1e7, 7, 1e14
local LARGEST, WHOLE = 2^46, 8e15 -- of the integers that are multiplied and summed as doubles
local LONGEST, MOST_DECIMALS = 16, 22 -- up to these, a text of digits and the nearest double say the same

-- Order of ids <ms>-<seq>; as text, for Lua's numbers lose integers above 2^53.
local function less(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

local function before(a, b)
  local a_ms, a_seq = match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = match(b, '^(%d+)-(%d+)$')
  if a_ms ~= b_ms then return less(a_ms, b_ms) end
  return less(a_seq, b_seq)
end

local function second_of(id)
  return sub(match(id, '^%d+'), 1, -4)
end

-- When a second begins, in milliseconds; the first of all has no digits.
local function start_of(second)
  return second == '' and '0' or second .. '000'
end

-- A text of digits without the zeros at the end of its fraction.
local function shortened(text)
  return match(text, '^(-?%d+%.%d*[1-9])0*$') or match(text, '^(-?%d+)%.0+$') or text
end

-- Price and amount of a trade's payload: the first two of its array, short texts nearly always.
local function price_and_amount(payload)
  local price = byte(payload, 2) - 160
  local amount = price >= 0 and price < 32 and byte(payload, 3 + price) - 160
  if amount and amount >= 0 and amount < 32 then
    return sub(payload, 3, 2 + price), sub(payload, 4 + price, 3 + price + amount)
  end
  local row = cmsgpack.unpack(payload)
  return row[1], row[2]
end

-- The limbs, from the lowest, and the decimals of a number as Python's Decimal writes it: -12.5, 1E-8, 1.5E+3.
local function exact(text)
  local sign, whole, part, exponent = match(shortened(text), '^([-+]?)(%d*)%.?(%d*)[eE]?([-+]?%d*)$')
  local digits, decimals = whole .. part, #part - (tonumber(exponent) or 0)
  if decimals < 0 then digits, decimals = digits .. string.rep('0', -decimals), 0 end
  local limbs = {}
  for last = #digits, 1, -LIMBS do
    limbs[#limbs + 1] = tonumber(sub(digits, math.max(1, last - LIMBS + 1), last)) * (sign == '-' and -1 or 1)
  end
  return {limbs = limbs, decimals = decimals}
end

local function carried(limbs)
  local index, carry = 1, 0
  while limbs[index] or carry ~= 0 do
    local limb = (limbs[index] or 0) + carry
    if not limbs[index + 1] and limb < 0 and limb > -BASE then
      limbs[index], carry = limb, 0 -- the sign stays with the highest
    else
      limbs[index] = limb % BASE
      carry = (limb - limbs[index]) / BASE
    end
    index = index + 1
  end
  return limbs
end

local function product(a, b)
  local limbs = {}
  for i, left in ipairs(a.limbs) do
    for j, right in ipairs(b.limbs) do limbs[i + j - 1] = (limbs[i + j - 1] or 0) + left * right end
  end
  return {limbs = carried(limbs), decimals = a.decimals + b.decimals}
end

local function sum(a, b)
  if a.decimals > b.decimals then a, b = b, a end
  if a.decimals < b.decimals then
    a = product(a, exact('1' .. string.rep('0', b.decimals - a.decimals)))
  end
  local limbs = {}
  for index = 1, math.max(#a.limbs, #b.limbs) do limbs[index] = (a.limbs[index] or 0) + (b.limbs[index] or 0) end
  return {limbs = carried(limbs), decimals = b.decimals}
end

-- As text that the time series reads as the nearest float.
local function written(number)
  local limbs, sign = carried(number.limbs), ''
  if (limbs[#limbs] or 0) < 0 then
    sign = '-'
    for index, limb in ipairs(limbs) do limbs[index] = -limb end
    carried(limbs)
  end
  local parts = {}
  for index = #limbs, 1, -1 do parts[#parts + 1] = string.format('%07d', limbs[index]) end
  local digits = string.gsub(table.concat(parts), '^0+', '')
  return sign .. (digits == '' and '0' or digits) .. 'e-' .. number.decimals
end

-- The bar of records {id, payload, id, payload, …} of one second, in order; its decimals, and whether there is a negative number.
local function exact_bar(records)
  local open, high, low, close, volume, quote, negative
  local price_decimals, amount_decimals = 0, 0
  for index = 2, #records, 2 do
    local price, amount = price_and_amount(records[index])
    local exact_price, exact_amount = exact(price), exact(amount)
    local turnover = product(exact_price, exact_amount)
    price_decimals = math.max(price_decimals, exact_price.decimals)
    amount_decimals = math.max(amount_decimals, exact_amount.decimals)
    volume = volume and sum(volume, exact_amount) or exact_amount
    quote = quote and sum(quote, turnover) or turnover
    open, close, negative = open or price, price, negative or sub(price, 1, 1) == '-' or sub(amount, 1, 1) == '-'
    if not high or tonumber(price) > tonumber(high) then high = price end
    if not low or tonumber(price) < tonumber(low) then low = price end
  end
  local bar = {open, high, low, close, written(volume), #records / 2, written(quote)}
  return bar, price_decimals, amount_decimals, negative
end

-- Write bars {[second] = bar} in an order of seconds; an error where the series takes one of the samples not.
local function write_bars(bars, order)
  local arguments = {}
  local function flush()
    for _, answer in ipairs(call('TS.MADD', unpack(arguments))) do
      if type(answer) == 'table' and answer.err then error(answer.err) end
    end
    arguments = {}
  end
  for _, second in ipairs(order) do
    local bar = bars[second]
    for field = 1, #FIELDS do
      if bar[field] then -- or else it is as before
        local place = #arguments
        arguments[place + 1], arguments[place + 2] = KEYS[BARS + field], start_of(second)
        arguments[place + 3] = bar[field]
      end
    end
    if #arguments > 6000 then flush() end
  end
  if #arguments > 0 then flush() end
end

local function create_bars(labels)
  for field, name in ipairs(FIELDS) do
    if call('EXISTS', KEYS[BARS + field]) == 0 then
      call('TS.CREATE', KEYS[BARS + field], 'CHUNK_SIZE', 256, 'DUPLICATE_POLICY', 'LAST',
        'LABELS', 'field', name, unpack(labels))
    end
  end
end

-- The bars of what is appended to a segment: those of seconds that begin here, and the one that goes on, are summed up
-- as records pass; those that are touched in any other way are made anew from the log.
local function Bars(meta, segment, late, newest, first, last)
  local known = call('HMGET', meta, 'bar', 'price_decimals', 'amount_decimals')
  local kept = known[1] and cmsgpack.unpack(known[1])
  local price_decimals, amount_decimals = tonumber(known[2]) or 0, tonumber(known[3]) or 0
  local most_price, most_amount = price_decimals, amount_decimals -- that were seen: the scale of the next call
  local price_scale, amount_scale = 10 ^ price_decimals, 10 ^ amount_decimals
  local fast = price_decimals + amount_decimals <= MOST_DECIMALS
  local goes_on = newest and second_of(newest)
  -- Whether the prefix of an id tells its second: not among 999-1 and 1000-1.
  local ragged = first and #match(first, '^%d+') ~= #match(last, '^%d+')
  local bars, order, touched, negative = {}, {}, {}, false
  local second, width, whole = nil, 0, false
  local open, high, low, close, highest, lowest, count, volume, quote, quote_folds

  local function finish()
    if not second then return end
    if not whole then
      touched[second] = true
      return
    end
    local turnover = quote_folds > 0 and string.format('%.0f%014.0f', quote_folds, quote) or string.format('%.0f', quote)
    local bar = {
      open, high, low, close, string.format('%.0fe-%d', volume, amount_decimals), count,
      turnover .. 'e-' .. (price_decimals + amount_decimals), -- no zeros before it: the module takes none
    }
    if kept and kept[1] == second then
      for field = 1, 4 do if bar[field] == kept[field + 1] then bar[field] = nil end end
    end
    bars[second], order[#order + 1] = bar, second
  end

  local function begin(at)
    finish()
    second, width, whole, count, volume, quote, quote_folds = at, #at, fast, 0, 0, 0, 0
    if at == goes_on then
      whole = fast and kept and kept[1] == at
      if whole then
        local _
        _, open, high, low, close, count, volume, quote, quote_folds = unpack(kept)
        highest, lowest = tonumber(high), tonumber(low)
      end
    end
  end

  -- Sum up the records of the present second, and return the index of the first one that is of another.
  -- The hot path: local variables and operators, hardly a function; texts become numbers by arithmetic.
  local function sum_up(records, index, last)
    local second, width, whole, count, volume, quote, quote_folds = second, width, whole, count, volume, quote, quote_folds
    local high, low, close, highest, lowest = high, low, close, highest, lowest
    local price_scale, amount_scale = price_scale, amount_scale
    repeat
      local payload = records[index + 1]
      index = index + 2
      local price_length = byte(payload, 2) - 160
      local amount_length = price_length <= LONGEST and byte(payload, 3 + price_length) - 160 or LONGEST + 1
      local price, amount
      if amount_length <= LONGEST then
        price, amount = sub(payload, 3, 2 + price_length), sub(payload, 4 + price_length, 3 + price_length + amount_length)
      else
        price, amount = price_and_amount(payload)
        price, amount = shortened(price), shortened(amount)
        whole = whole and #price <= LONGEST and #amount <= LONGEST
      end
      local number, a_number = price + 0, amount + 0
      local p, a = number * price_scale + 0.5, a_number * amount_scale + 0.5
      p, a = p - p % 1, a - a % 1
      local turnover = p * a
      if turnover < WHOLE then
        quote = quote + turnover
      else
        local p_low, a_low = p % BASE, a % BASE
        local p_high, a_high = (p - p_low) / BASE, (a - a_low) / BASE
        local middle = p_low * a_high + p_high * a_low
        quote = quote + p_low * a_low + middle % BASE * BASE
        quote_folds = quote_folds + p_high * a_high + floor(middle / BASE)
      end
      if quote >= FOLD then
        local folds = floor(quote / FOLD)
        quote, quote_folds = quote - folds * FOLD, quote_folds + folds
      end
      volume = volume + a
      whole = whole and p / price_scale == number and a / amount_scale == a_number and p >= 0 and a >= 0
        and p < LARGEST and a < LARGEST and volume < WHOLE and quote_folds < WHOLE
      if count == 0 then open, high, low, highest, lowest = price, price, price, number, number end
      if number > highest then highest, high = number, price end
      if number < lowest then lowest, low = number, price end
      close, count = price, count + 1
    until index > last or ragged or sub(records[index], 1, width) ~= second
    return index, high, low, close, highest, lowest, count, volume, quote, quote_folds, whole
  end

  local function add(records, index, last)
    while index <= last do
      local at = second_of(records[index])
      if at ~= second then begin(at) end
      index, high, low, close, highest, lowest, count, volume, quote, quote_folds, whole = sum_up(records, index, last)
    end
  end

  -- The records of a second, in order, as {id, payload, id, payload, …}.
  local function read(at)
    local first, last = at .. '000', at .. '999'
    local found = call('XRANGE', segment, first, last)
    for index, record in ipairs(found) do found[index] = {record[1], record[2][2]} end
    for _, member in ipairs(call('ZRANGEBYSCORE', late, first, last)) do
      local space = string.find(member, ' ', 1, true)
      found[#found + 1] = {sub(member, 1, space - 1), sub(member, space + 1)}
    end
    table.sort(found, function(a, b) return before(a[1], b[1]) end)
    local records = {}
    for index, record in ipairs(found) do records[2 * index - 1], records[2 * index] = record[1], record[2] end
    return records
  end

  local function make_anew(at)
    local records = read(at)
    if #records == 0 then
      for field = 1, #FIELDS do call('TS.DEL', KEYS[BARS + field], start_of(at), start_of(at)) end
      return
    end
    begin(at)
    add(records, 1, #records - 1)
    if whole then return finish() end
    local bar, of_price, of_amount, below = exact_bar(records)
    bars[at], order[#order + 1] = bar, at
    most_price, most_amount = math.max(most_price, of_price), math.max(most_amount, of_amount)
    negative = negative or below
  end

  local function write()
    finish()
    local newest_second, kept_second = second, kept and kept[1]
    local state = newest_second and not touched[newest_second]
      and {second, open, high, low, close, count, volume, quote, quote_folds}
    local goes_on_at = newest_second or kept_second
    goes_on, kept, second = nil, nil, nil
    for at in pairs(touched) do
      make_anew(at)
      if at == goes_on_at and second and whole then
        state = {second, open, high, low, close, count, volume, quote, quote_folds}
      end
      second = nil
    end
    if negative then most_price = 99 end -- then sums of sums can't be proved to be exact
    local rescaled = tostring(most_price) ~= known[2] or tostring(most_amount) ~= known[3]
    if rescaled then -- first: what is written below may fail half-way
      call('HSET', meta, 'price_decimals', most_price, 'amount_decimals', most_amount)
    end
    write_bars(bars, order)
    if state and (most_price == price_decimals and most_amount == amount_decimals) then
      call('HSET', meta, 'bar', cmsgpack.pack(state))
    elseif rescaled or newest_second or touched[kept_second] then
      call('HDEL', meta, 'bar') -- it was summed at the scale of before
    end
  end

  return {
    add = add,
    touch = function(id) touched[second_of(id)] = true end,
    write = function()
      local done, reason = pcall(write)
      if not done then -- the records are there: bars are made of them until they are rebuilt
        call('HSET', meta, 'dirty', tostring(reason))
        call('HDEL', meta, 'bar')
        call('HINCRBY', meta, 'n:error:bars', 1)
      end
    end,
  }
end
