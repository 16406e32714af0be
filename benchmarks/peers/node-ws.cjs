// What the first users run: Node and `ws`, written the classic way. One pass over all clients for each change of
// status, a line in the log for each event, a ping every 30 s.
//
// usage: node node-ws.cjs PORT
'use strict';

const { createServer } = require('node:http');
const { WebSocketServer } = require('../../tests/js/node_modules/ws');

const HEARTBEAT_MS = 30_000;
const clients = new Map(); // user id -> Set of sockets

function broadcast(userId, type) {
  const message = JSON.stringify({ type, userId, timestamp: new Date().toISOString() });
  let told = 0;
  for (const [id, sockets] of clients) {
    if (id === userId) continue;
    for (const socket of sockets) {
      if (socket.readyState !== 1) continue;
      socket.send(message);
      told += 1;
    }
  }
  console.log(`WS: User ${userId} is ${type}, told ${told} clients`);
}

function connect(socket, request) {
  const userId = Number(new URL(request.url, 'http://localhost').searchParams.get('userId'));
  if (!userId) return socket.close(1008, 'userId required');
  console.log(`WS: User ${userId} connected`);
  const sockets = clients.get(userId) ?? new Set();
  clients.set(userId, sockets.add(socket));
  socket.alive = true;
  socket.on('pong', () => { socket.alive = true; });
  socket.on('error', (error) => console.log(`WS: ${error.message}`));
  socket.on('close', () => {
    console.log(`WS: User ${userId} disconnected`);
    sockets.delete(socket);
    if (sockets.size > 0) return;
    clients.delete(userId);
    broadcast(userId, 'USER_OFFLINE');
  });
  const now = new Date();
  socket.send(JSON.stringify({
    type: 'CONNECTION_ESTABLISHED', userId, timestamp: now.toISOString(), connectionId: `${userId}-${now.getTime()}`,
  }));
  if (sockets.size === 1) broadcast(userId, 'USER_ONLINE');
}

const server = createServer();
const service = new WebSocketServer({ server, path: '/ws-online-status' });
service.on('connection', connect);
setInterval(() => {
  for (const socket of service.clients) {
    if (!socket.alive) {
      socket.terminate();
      continue;
    }
    socket.alive = false;
    socket.ping();
  }
}, HEARTBEAT_MS);
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
