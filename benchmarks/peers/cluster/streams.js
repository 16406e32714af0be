// Socket.IO with its adapter for Redis Streams: who is online, as its guide to private messages does it.
// Arguments: port, URL of the store. GET / returns the users who are online on all nodes.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const [port, store] = process.argv.slice(2);
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
const io = new Server(http, { adapter: createAdapter(redis) });

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
