import Pusher from "pusher-js";
import { show } from "./list.js";
import { authUrl, friends, me, url } from "./page.js";

const { hostname, port } = new URL(url);
const pusher = new Pusher("key", {
  cluster: "",
  wsHost: hostname,
  wsPort: port,
  forceTLS: false,
  enabledTransports: ["ws"],
  channelAuthorization: { endpoint: authUrl, params: { userId: me } },
});
const channel = pusher.subscribe("presence-friends");
channel.bind("pusher:subscription_succeeded", (members) => {
  for (const id of friends) show(id, members.get(id) ? "online" : "offline");
});
channel.bind("pusher:member_added", ({ id }) => show(id, "online"));
channel.bind("pusher:member_removed", ({ id }) => show(id, "offline"));
