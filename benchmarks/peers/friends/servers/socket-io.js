import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { cors: { origin: "*" } });

io.use((socket, next) => {
  const { userId } = socket.handshake.auth;
  if (!userId) return next(new Error("invalid user id"));
  socket.data.userId = userId;
  next();
});

io.on("connection", async (socket) => {
  const { userId } = socket.data;
  socket.join(userId);
  socket.on("disconnect", async () => {
    const others = await io.in(userId).fetchSockets();
    if (others.length === 0) socket.broadcast.emit("user disconnected", userId);
  });
  socket.broadcast.emit("user connected", userId);
  const sockets = await io.fetchSockets();
  socket.emit(
    "users",
    sockets.map(({ data }) => data.userId),
  );
});

http.listen(Number(process.argv[2]), "127.0.0.1");
