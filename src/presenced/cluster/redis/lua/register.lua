#!lua flags=allow-oom
-- Give a node a slot and an incarnation. A missing head is created above all numbers that the node knows.
local head, nodes = KEYS[1], KEYS[4] -- and log, users, and those of contributions
local wanted, exact, rest, incarnation, nonce = tonumber(ARGV[1]), ARGV[2] == '1', ARGV[3], ARGV[4], ARGV[5]
local run, floor, generation, epoch = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local layout, shards, slots = ARGV[10], ARGV[11], tonumber(ARGV[12])

local known = redis.call('HMGET', head, 'n', 'gen', 'run', 'epoch', 'count', 'layout', 'shards')
local n, gen, count = tonumber(known[1]), tonumber(known[2]), tonumber(known[5])
if not n then -- a new cluster, or the store has lost everything: what may be left belongs to no numbering
  for i = 2, #KEYS do
    redis.call('UNLINK', KEYS[i])
  end
  n, gen, count = 0, generation + 1, 0
  if floor > 0 then
    n = floor + 1048576
  end
  known[4] = epoch ~= '' and epoch or nonce
  redis.call('HSET', head, 'layout', layout, 'shards', shards, 'last', '0', 'items', '0')
elseif known[6] ~= layout or known[7] ~= shards then
  return {'LAYOUT', known[6] or '', known[7] or ''}
elseif known[3] ~= run then -- the store may have lost writes
  n, gen = math.max(n, floor) + 1048576, math.max(gen, generation) + 1
end
n = string.format('%.0f', math.max(n, floor))
redis.call('HSET', head, 'n', n, 'gen', gen, 'run', run, 'epoch', known[4], 'count', count)

local function registered(slot, given, is_kept)
  if epoch ~= '' and (epoch ~= known[4] or gen < generation) then
    -- The store had lost everything, and a node that did not know the cluster created the head.
    gen = math.max(gen, generation) + 1
    redis.call('HSET', head, 'gen', gen)
  end
  local time = redis.call('TIME')
  return {'OK', tostring(slot), given, n, tostring(gen), known[4], is_kept, time[1], time[2]}
end

local members = {}
local flat = redis.call('HGETALL', nodes)
for i = 1, #flat, 2 do
  members[tonumber(flat[i])] = flat[i + 1]
  if flat[i + 1]:match('^(%S+)'):sub(-#nonce) == nonce then -- the reply to an earlier attempt was lost
    return registered(flat[i], flat[i + 1]:match('^(%S+)'), '0')
  end
end
local own = members[wanted]
if own and incarnation ~= '' and own:match('^(%S+)') == incarnation then
  if own:match('^%S+ (%S+)') == 'dead' then
    return {'WAIT'} -- until it has been removed
  end
  return registered(wanted, incarnation, '1')
end
local slot = wanted
for _ = 1, slots do
  if not members[slot] then
    count = count + 1
    local new = string.format('%x', count) .. nonce
    redis.call('HSET', head, 'count', count)
    redis.call('HSET', nodes, slot, new .. ' loading 0 - ' .. rest)
    return registered(slot, new, '0')
  end
  if exact then
    return {'WAIT'}
  end
  slot = (slot + 1) % slots
end
return {'FULL'}
