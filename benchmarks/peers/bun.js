// The same service with Bun's own WebSocket server and its native topics, as its documentation recommends.
//
// usage: bun bun.js PORT
const connections = new Map(); // user id -> number of sockets

function message(type, userId, more) {
  return JSON.stringify({ type, userId, timestamp: new Date().toISOString(), ...more });
}

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request) {
    const userId = Number(new URL(request.url).searchParams.get("userId"));
    if (userId && server.upgrade(request, { data: { userId } })) return undefined;
    return new Response("userId required", { status: 400 });
  },
  websocket: {
    open(socket) {
      const { userId } = socket.data;
      socket.send(message("CONNECTION_ESTABLISHED", userId, { connectionId: `${userId}-${Date.now()}` }));
      socket.subscribe("presence");
      const before = connections.get(userId) ?? 0;
      connections.set(userId, before + 1);
      if (before === 0) socket.publish("presence", message("USER_ONLINE", userId));
    },
    message() {},
    close(socket) {
      const { userId } = socket.data;
      const left = connections.get(userId) - 1;
      if (left > 0) return connections.set(userId, left);
      connections.delete(userId);
      server.publish("presence", message("USER_OFFLINE", userId));
    },
  },
});
