import { createPresence } from "presenced";
import { me, root, url } from "./page.js";

const dots = new Map();
let before = new Map();

const presence = createPresence({ url, userId: me });
presence.everyone.subscribe(() => {
  const users = presence.everyone.get();
  for (const [id, user] of users) if (user !== before.get(id)) draw(id, user.status);
  for (const id of before.keys()) if (!users.has(id)) draw(id, "offline");
  before = users;
});
presence.connect();

function draw(id, status) {
  let dot = dots.get(id);
  if (!dot) {
    dot = document.createElement("span");
    dots.set(id, dot);
    const item = document.createElement("li");
    item.append(dot, ` ${id}`);
    root.append(item);
  }
  dot.dataset.status = status;
}
