#!lua flags=allow-oom
-- Remove a dead node with its contributions, if the caller is its remover, and log it. Return all nodes.
local head, log, nodes = KEYS[1], KEYS[2], KEYS[3] -- then the contributions of the dead node
local slot, incarnation, run, floor, generation = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local target, target_incarnation = ARGV[6], ARGV[7]

local member = redis.call('HGET', nodes, slot)
local known = redis.call('HMGET', head, 'n', 'gen', 'run', 'last')
if not member or not known[1] then
  return redis.status_reply('FENCED')
end
local current, state = member:match('^(%S+) (%S+)')
if current ~= incarnation or state == 'dead' then
  return redis.status_reply('FENCED')
end
local dead = redis.call('HGET', nodes, target)
if dead then
  local dead_incarnation, _, _, remover = dead:match('^(%S+) (%S+) (%S+) (%S+)')
  if dead_incarnation == target_incarnation and remover == incarnation then
    local n = math.max(tonumber(known[1]), floor)
    if known[3] ~= run then
      n = n + 1048576
      redis.call('HSET', head, 'gen', string.format('%.0f', math.max(tonumber(known[2]), generation) + 1), 'run', run)
    end
    local number = string.format('%.0f', n + 1)
    redis.call('HDEL', nodes, target)
    redis.call('UNLINK', KEYS[4], KEYS[5])
    redis.call('XADD', log, number .. '-0', 'a', slot .. ' ' .. incarnation, 'b', '0', 'k', 'removed', 'p', known[4],
      'd', target .. ' ' .. target_incarnation, 'e', '\144')
    redis.call('HSET', head, 'n', number, 'last', number)
  end
end
return redis.call('HGETALL', nodes)
