import { io } from "socket.io-client";
import { show } from "./list.js";
import { friends, me, url } from "./page.js";

const socket = io(url, { auth: { userId: me } });
socket.on("users", (online) => {
  for (const id of friends) show(id, online.includes(id) ? "online" : "offline");
});
socket.on("user connected", (id) => show(id, "online"));
socket.on("user disconnected", (id) => show(id, "offline"));
