// A set of users in Redis, kept by hand: a hash counts the connections of each user, and a channel announces changes.
// Arguments: port, URL of the store. GET / returns the users who are online on all nodes.
import { createServer } from "node:http";
import { createClient } from "redis";
import { WebSocketServer } from "ws";

const [port, store] = process.argv.slice(2);
const redis = await createClient({ url: store }).connect();
const news = await redis.duplicate().connect();

const http = createServer(async (_, response) => response.end(JSON.stringify(await redis.hKeys("online"))));
const sockets = new WebSocketServer({ server: http });

await news.subscribe("presence", (message) => {
  for (const socket of sockets.clients) socket.send(message);
});

sockets.on("connection", async (socket, request) => {
  const userId = new URL(request.url, "ws://localhost").searchParams.get("userId");
  const count = await redis.hIncrBy("online", userId, 1);
  if (count === 1) await redis.publish("presence", JSON.stringify({ type: "user connected", userId }));
  socket.on("close", async () => {
    if ((await redis.hIncrBy("online", userId, -1)) > 0) return;
    await redis.hDel("online", userId);
    await redis.publish("presence", JSON.stringify({ type: "user disconnected", userId }));
  });
});
http.listen(Number(port), "127.0.0.1");
