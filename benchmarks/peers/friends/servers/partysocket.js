import { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]) });
const connections = new Map(); // user id -> number of connections

function broadcast(message) {
  for (const client of server.clients) client.send(JSON.stringify(message));
}

server.on("connection", (socket, request) => {
  const userId = new URL(request.url, "http://localhost").searchParams.get("userId");
  if (!userId) return socket.close(1008);
  const before = connections.get(userId) ?? 0;
  connections.set(userId, before + 1);
  if (before === 0) broadcast({ type: "online", userId });
  socket.send(JSON.stringify({ type: "users", users: [...connections.keys()] }));

  socket.isAlive = true;
  socket.on("pong", () => {
    socket.isAlive = true;
  });
  socket.on("error", console.error);
  socket.on("close", () => {
    const left = connections.get(userId) - 1;
    connections.set(userId, left);
    if (left > 0) return;
    connections.delete(userId);
    broadcast({ type: "offline", userId });
  });
});

setInterval(() => {
  for (const socket of server.clients) {
    if (!socket.isAlive) {
      socket.terminate();
      continue;
    }
    socket.isAlive = false;
    socket.ping();
  }
}, 30_000);
