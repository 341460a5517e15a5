-- Renews the place of a connection that is open. It is never refused: a Redis that lost everything learns of it again.
--
-- KEYS[1] the user's places; ARGV[1] the connection; ARGV[2] its node; ARGV[3] seconds until places are forgotten
-- returns 0 if another connection has taken the place over, else 1
local kept = 1
-- What somebody else wrote there must not keep everybody from being counted.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
if redis.call('HGET', KEYS[1], ARGV[1]) == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  kept = 0
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return kept
