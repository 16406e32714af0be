import { WebSocket } from "partysocket";
import { show } from "./list.js";
import { friends, me, url } from "./page.js";

const socket = new WebSocket(`${url.replace("http", "ws")}/?userId=${me}`);
socket.addEventListener("message", ({ data }) => {
  const { type, userId, users } = JSON.parse(data);
  if (type === "users") {
    for (const id of friends) show(id, users.includes(id) ? "online" : "offline");
  } else {
    show(userId, type);
  }
});
