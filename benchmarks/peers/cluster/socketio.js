// Socket.IO with one of its adapters for Redis: who is online, as its guide to private messages does it.
// Arguments: port, URL of the store, "streams" for the adapter for Redis Streams or "pubsub" for the other one. GET / returns the users who are online on all nodes.
import { createServer } from "node:http";
import { createAdapter as createPubSubAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const [port, store, kind] = process.argv.slice(2);
const redis = createClient({ url: store });
await redis.connect();

const http = createServer(async (_, response) => {
  try {
    const sockets = await io.fetchSockets();
    response.end(JSON.stringify([...new Set(sockets.map((socket) => socket.data.userId))]));
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
});
const adapter =
  kind === "streams"
    ? createStreamsAdapter(redis)
    : createPubSubAdapter(redis, await redis.duplicate().connect());
const io = new Server(http, { adapter });

io.on("connection", (socket) => {
  const { userId } = socket.handshake.auth;
  socket.data.userId = userId;
  socket.join(userId);
  socket.broadcast.emit("user connected", userId);
  socket.on("disconnect", async () => {
    const others = await io.in(userId).fetchSockets();
    if (others.length === 0) socket.broadcast.emit("user disconnected", userId);
  });
});
http.listen(Number(port), "127.0.0.1");
