#!lua flags=allow-oom
-- Fence a node whose incarnation and heartbeat are still as the caller saw them. Return all nodes.
local nodes, slot, incarnation = KEYS[1], ARGV[1], ARGV[2]
local target, target_incarnation, target_heartbeat = ARGV[3], ARGV[4], ARGV[5]

local live, members = {}, {}
local flat = redis.call('HGETALL', nodes)
for i = 1, #flat, 2 do
  local current, state = flat[i + 1]:match('^(%S+) (%S+)')
  members[flat[i]] = flat[i + 1]
  live[current] = state ~= 'dead' and state ~= 'leaving'  -- a node that stops removes nobody any more
end
local own = members[slot]
if not own or own:match('^(%S+)') ~= incarnation or own:match('^%S+ dead ') then
  return redis.status_reply('FENCED')
end
local member = members[target]
if member then
  local current, state, heartbeat, remover, rest = member:match('^(%S+) (%S+) (%S+) (%S+) (.*)$')
  if current == target_incarnation and heartbeat == target_heartbeat and not (state == 'dead' and live[remover]) then
    redis.call('HSET', nodes, target, current .. ' dead ' .. heartbeat .. ' ' .. incarnation .. ' ' .. rest)
  end
end
return redis.call('HGETALL', nodes)
