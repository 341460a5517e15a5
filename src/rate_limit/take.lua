-- Takes one request from a key's bucket, for all nodes, by the clock of Redis. The arithmetic is that of bucket.rs, in whole
-- numbers: millionths of a request, and microseconds.
--
-- KEYS[1] the bucket: "level" and "at"
-- ARGV[1] requests per second; ARGV[2] requests at once; ARGV[3] the time in microseconds, where it is not to be asked
-- returns {1 or 0, level}
local per_second, full = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000000
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local kept = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = full
if kept[1] then
  level = math.min(full, tonumber(kept[1]) + math.max(0, now - tonumber(kept[2])) * per_second)
end
local admitted = 0
if level >= 1000000 then
  admitted, level = 1, level - 1000000
end
redis.call('HSET', KEYS[1], 'level', string.format('%.0f', level), 'at', string.format('%.0f', now))
-- A bucket that would be full by now is as good as none.
redis.call('PEXPIRE', KEYS[1], math.ceil((full - level) / per_second / 1000) + 1000)
return {admitted, level}
