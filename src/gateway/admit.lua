-- Gives a connection one of its user's places, if one is free. One atomic step over all nodes.
--
-- KEYS[1] the user's places: connection -> node, or "" for one whose place was taken over
-- ARGV[1] where the keys of nodes begin; ARGV[2] this node; ARGV[3] seconds a node's key lives
-- ARGV[4] the connection; ARGV[5] the connection it goes on from, or ""; ARGV[6] how many places there are
-- ARGV[7] seconds until places that nobody renews are forgotten
-- returns 1 or 0
local places, nodes, node = KEYS[1], ARGV[1], ARGV[2]
redis.call('SET', nodes .. node, '', 'EX', ARGV[3])
-- What somebody else wrote there must not keep everybody from being counted.
local kind = redis.call('TYPE', places).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', places) end
local taken, from, alive = 0, ARGV[5], {}
local entries = redis.call('HGETALL', places)
local goes_on = false
for at = 1, #entries, 2 do
  local connection, owner = entries[at], entries[at + 1]
  if owner ~= '' then
    if alive[owner] == nil then alive[owner] = redis.call('EXISTS', nodes .. owner) == 1 end
    if not alive[owner] then
      redis.call('HDEL', places, connection)
    elseif connection == from then
      goes_on = true
    else
      taken = taken + 1
    end
  end
end
if taken >= tonumber(ARGV[6]) then return 0 end
if goes_on then redis.call('HSET', places, from, '') end
redis.call('HSET', places, ARGV[4], node)
redis.call('EXPIRE', places, ARGV[7])
return 1
