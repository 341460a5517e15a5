-- Appends entries to the stream if they continue it, and says how it stands otherwise.
-- One atomic step: a rival, a replay, a flush and a failover that lost the tail all end in a mismatch.
--
-- KEYS[1] the stream
-- ARGV[1] epoch; ARGV[2] generation; ARGV[3] position of the first entry; ARGV[4] oldest position to keep;
-- ARGV[5] "1" to begin the stream here if it is absent or of an older epoch
-- then, per entry: the number of its fields and values, and those
-- returns {verdict, epoch, top}: ok, gap, absent, older, newer or newer-generation
local key, epoch, generation = KEYS[1], ARGV[1], ARGV[2]
local first, keep, begin = tonumber(ARGV[3]), ARGV[4], ARGV[5] == '1'
local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
if newest then
  local top = tonumber(string.match(newest[1], '^%d+'))
  local theirs = newest[2][2] -- `epoch` is the first field of every entry, `generation` the second
  if tonumber(theirs) > tonumber(epoch) then return {'newer', theirs, top} end
  if theirs ~= epoch then
    if not begin then return {'older', theirs, top} end
    redis.call('DEL', key)
  elseif (tonumber(newest[2][4]) or 0) > tonumber(generation) then
    return {'newer-generation', theirs, top}
  elseif top ~= first - 1 then
    return {'gap', theirs, top}
  end
elseif not begin then
  return {'absent', epoch, 0}
end
local at, position = 6, first
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  redis.call('XADD', key, string.format('%.0f-0', position), unpack(ARGV, at + 1, at + count))
  at, position = at + 1 + count, position + 1
end
redis.call('XTRIM', key, 'MINID', '~', keep)
return {'ok', epoch, position - 1}
