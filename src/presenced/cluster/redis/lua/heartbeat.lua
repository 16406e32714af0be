#!lua flags=allow-oom
-- Increment the heartbeat counter of a node, and write its state and figures. Return all nodes.
local nodes, slot, incarnation, state, rest = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local member = redis.call('HGET', nodes, slot)
if not member then
  return redis.status_reply('FENCED')
end
local current, before, heartbeat = member:match('^(%S+) (%S+) (%S+)')
if current ~= incarnation or before == 'dead' then
  return redis.status_reply('FENCED')
end
redis.call('HSET', nodes, slot, incarnation .. ' ' .. state .. ' ' .. string.format('%.0f', heartbeat + 1) .. ' - ' .. rest)
return redis.call('HGETALL', nodes)
