#!lua flags=allow-oom
-- Remember revoked users and tokens, and delete some of those whose time is over. Return the cursor for the next ones.
-- Fields are "<kind> <subject>", and values "<at> <until>" in epoch seconds.
local revoked, now, cursor = KEYS[1], tonumber(ARGV[1]), ARGV[2]
for i = 3, #ARGV, 2 do
  local before = redis.call('HGET', revoked, ARGV[i])
  if not before or tonumber(before:match('^%S+')) < tonumber(ARGV[i + 1]:match('^%S+')) then
    redis.call('HSET', revoked, ARGV[i], ARGV[i + 1])
  end
end
-- Each write looks at a few others, so those whose time is over never become many.
local page = redis.call('HSCAN', revoked, cursor, 'COUNT', 16)
for i = 1, #page[2], 2 do
  if tonumber(page[2][i + 1]:match('%S+$')) <= now then
    redis.call('HDEL', revoked, page[2][i])
  end
end
return page[1]
