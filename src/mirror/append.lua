-- Appends entries to the stream if they continue it, and says how it stands otherwise.
-- One atomic step: a rival, a replay, a flush and a failover that lost the tail all end in a mismatch.
--
-- KEYS[1] the stream
-- ARGV[1] epoch; ARGV[2] position of the first entry; ARGV[3] oldest position to keep;
-- ARGV[4] "1" to begin the stream here if it is absent or of an older epoch
-- then, per entry: the number of its fields and values, and those
-- returns {verdict, epoch, top}: ok, gap, absent, older or newer
local key, epoch, first, keep, begin = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1'
local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
if newest then
  local top = tonumber(string.match(newest[1], '^%d+'))
  local theirs = newest[2][2] -- `epoch` is the first field of every entry
  if tonumber(theirs) > tonumber(epoch) then return {'newer', theirs, top} end
  if theirs ~= epoch then
    if not begin then return {'older', theirs, top} end
    redis.call('DEL', key)
  elseif top ~= first - 1 then
    return {'gap', theirs, top}
  end
elseif not begin then
  return {'absent', epoch, 0}
end
local at, position = 5, first
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  redis.call('XADD', key, string.format('%.0f-0', position), unpack(ARGV, at + 1, at + count))
  at, position = at + 1 + count, position + 1
end
redis.call('XTRIM', key, 'MINID', '~', keep)
return {'ok', epoch, position - 1}
