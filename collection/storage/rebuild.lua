-- Make the bars of some seconds of a day anew from its records.
--
-- KEYS: meta, segment (stream), late (sorted set), seven series of bars
-- ARGV: labels of the bars as msgpack, then the seconds (without the milliseconds)
local meta, segment, late = KEYS[1], KEYS[2], KEYS[3]
create_bars(cmsgpack.unpack(ARGV[1]))
local bars = Bars(meta, segment, late)
for index = 2, #ARGV do bars.touch(ARGV[index] .. '000') end
return bars.write()
