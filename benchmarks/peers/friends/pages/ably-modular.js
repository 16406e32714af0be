import { BaseRealtime, FetchRequest, RealtimePresence, WebSocketTransport } from "ably/modular";
import { show } from "./list.js";
import { friends, me } from "./page.js";

const client = new BaseRealtime({
  key: "app.key:secret",
  clientId: me,
  plugins: { WebSocketTransport, FetchRequest, RealtimePresence },
});
const { presence } = client.channels.get("friends");
await presence.subscribe(async () => {
  const members = await presence.get();
  const online = new Set(members.map(({ clientId }) => clientId));
  for (const id of friends) show(id, online.has(id) ? "online" : "offline");
});
await presence.enter();
