#!lua
-- Accept the changes of users whose record still has the expected number.
-- Members are "<incarnation> <state> <heartbeat> <remover> <rest>". Records are 8 bytes n, 8 bytes version, and the rest.
local head, log, users, nodes = KEYS[1], KEYS[2], KEYS[3], KEYS[4] -- then those of contributions
local slot, incarnation, run, floor, generation = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local serial, kind, body, step, deadline = ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])

local member = redis.call('HGET', nodes, slot)
local known = redis.call('HMGET', head, 'n', 'gen', 'run', 'last', 'items')
if not member or not known[1] then
  return redis.status_reply('FENCED')
end
local current, state = member:match('^(%S+) (%S+)')
if current ~= incarnation or state == 'dead' then
  return redis.status_reply('FENCED')
end
local time = redis.call('TIME')
if deadline > 0 and tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000 > deadline then
  return {known[1], time[1], time[2], {}, 'LATE'} -- this store was frozen: nobody expects the effect any more
end

local n, last = tonumber(known[1]), known[4]
if known[3] ~= run then -- the store may have lost writes
  n = math.max(n, floor) + 1048576
  redis.call('HSET', head, 'gen', string.format('%.0f', math.max(tonumber(known[2]), generation) + 1), 'run', run)
end
n = math.max(n, floor)

local accepted, refused = {}, {}
local i = 11
while i <= #ARGV do
  local user, expected, flags, record, tail, parts = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  local stored = redis.call('HGET', users, user)
  i = i + 6
  if (stored and stored:sub(1, 8) or '') == expected then
    n = n + 1
    local number = struct.pack('>I8', n)
    local version = number
    if flags:sub(1, 1) == '-' then -- others see no difference
      version = stored and stored:sub(9, 16) or struct.pack('>I8', 0)
    end
    if flags:sub(2, 2) == 'k' then
      redis.call('HSET', users, user, number .. version .. record)
    elseif stored then
      redis.call('HDEL', users, user)
    end
    for part = i, i + 2 * parts - 1, 2 do
      if ARGV[part + 1] == '' then
        redis.call('HDEL', KEYS[tonumber(ARGV[part])], user)
      else
        redis.call('HSET', KEYS[tonumber(ARGV[part])], user, ARGV[part + 1])
      end
    end
    accepted[#accepted + 1] = '\149\207' .. version .. tail -- MessagePack: five elements, the first one of 64 bits
  else
    refused[#refused + 1] = user
  end
  i = i + 2 * parts
end

if #accepted > 0 or kind ~= 'items' then
  if #accepted == 0 then
    n = n + 1
  end
  local number = string.format('%.0f', n)
  redis.call('XADD', log, number .. '-0', 'a', slot .. ' ' .. incarnation, 'b', serial, 'k', kind, 'p', last, 'd', body,
    'e', '\220' .. struct.pack('>I2', #accepted) .. table.concat(accepted))
  local before = tonumber(known[5])
  local items = before + math.max(#accepted, 1)
  redis.call('HSET', head, 'n', number, 'last', number, 'items', items)
  -- The log is trimmed by items. Numbers do not count them, because they jump. Every `step` items, head gets a mark, and
  -- the entries before the 20th last mark are deleted.
  local mark = math.floor(items / step)
  if mark > math.floor(before / step) then
    local oldest = redis.call('HGET', head, 'mark' .. (mark + 1) % 21)
    redis.call('HSET', head, 'mark' .. mark % 21, number)
    if oldest then
      redis.call('XTRIM', log, 'MINID', '~', oldest)
    end
  end
else
  redis.call('HSET', head, 'n', string.format('%.0f', n))
end
return {string.format('%.0f', n), time[1], time[2], refused, ''}
