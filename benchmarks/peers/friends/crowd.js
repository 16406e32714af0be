// The friends: one client of the named library for each line `join ID` on standard input, until `leave ID`.

import { createInterface } from "node:readline";
import { WebSocket as PartySocket } from "partysocket";
import { createPresence } from "presenced";
import Pusher from "pusher-js";
import { io } from "socket.io-client";
import { WebSocket } from "ws";

const [, , library, url, authUrl] = process.argv;
const { hostname, port } = new URL(url);

const openers = {
  presenced(userId) {
    const openSocket = (address, protocols) => new WebSocket(address, protocols);
    const presence = createPresence({ url, userId, activity: false, host: { openSocket } });
    presence.connect();
    return () => presence.close();
  },
  "socket-io"(userId) {
    const socket = io(url, { auth: { userId } });
    return () => socket.close();
  },
  partysocket(userId) {
    const socket = new PartySocket(`${url.replace("http", "ws")}/?userId=${userId}`, [], { WebSocket });
    return () => socket.close();
  },
  pusher(userId) {
    const pusher = new Pusher("key", {
      cluster: "",
      wsHost: hostname,
      wsPort: port,
      forceTLS: false,
      enabledTransports: ["ws"],
      channelAuthorization: { endpoint: authUrl, params: { userId } },
    });
    pusher.subscribe("presence-friends");
    return () => pusher.disconnect();
  },
};

const closers = new Map();
const orders = createInterface({ input: process.stdin });
orders.on("line", (line) => {
  const [command, userId] = line.split(" ");
  if (command === "join") closers.set(userId, openers[library](userId));
  else closers.get(userId)();
});
orders.on("close", () => process.exit());
