// Clients of one kind of server: COUNT users at the first port, who do not reconnect, and a watcher at the second one.
// Arguments: kind, first port, second port, count. Prints "ready" once all are connected, and then a line for
// each notice to the watcher that a user left.
import { io } from "socket.io-client";
import WebSocket from "ws";

const [kind, port, other, count] = process.argv.slice(2);
let told = 0;

function left() {
  told += 1;
  console.log(`left ${told}`);
}

function connect(to, userId, onLeft = () => {}) {
  return new Promise((resolve) => {
    if (kind === "streams" || kind === "pubsub") {
      const socket = io(`http://127.0.0.1:${to}`, { auth: { userId }, transports: ["websocket"], reconnection: false });
      socket.on("connect", resolve);
      socket.on("user disconnected", onLeft);
      return;
    }
    const classic = kind === "presenced";
    const socket = new WebSocket(`ws://127.0.0.1:${to}${classic ? "/ws-online-status" : "/"}?userId=${userId}`);
    if (!classic) socket.on("open", resolve);
    socket.on("error", () => {});
    socket.on("message", (data) => {
      const { type } = JSON.parse(data);
      if (type === "CONNECTION_ESTABLISHED") resolve();
      if (type === "USER_OFFLINE" || type === "user disconnected") onLeft();
    });
  });
}

await connect(other, "watcher", left);
for (let number = 0; number < Number(count); number += 1) await connect(port, `user-${number}`);
console.log("ready");
