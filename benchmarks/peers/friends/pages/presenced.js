import { createPresence } from "presenced";
import { show } from "./list.js";
import { friends, me, url } from "./page.js";

const presence = createPresence({ url, userId: me });
presence.connect();
for (const id of friends) {
  const user = presence.user(id);
  user.subscribe(() => show(id, user.get().status));
}
