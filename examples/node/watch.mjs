// watch.mjs: prints who is online, as user USER_ID.
import { createPresence } from "presenced";
import { WebSocket } from "ws"; // Node.js 20 has none of its own

const { PRESENCE_URL = "ws://localhost:3001", USER_ID = "robot", TOKEN } = process.env;

const presence = createPresence({
  url: PRESENCE_URL,
  ...(TOKEN ? { token: TOKEN } : { userId: USER_ID }),
  device: "server",
  host: { openSocket: (url, protocols) => new WebSocket(url, protocols) },
});

let before = presence.everyone.get();
presence.everyone.subscribe(() => {
  const users = presence.everyone.get(); // everyone who is not offline
  for (const [id, { status, text }] of users) {
    const known = before.get(id);
    if (known?.status !== status || known.text !== text) console.log(id, status, text);
  }
  for (const id of before.keys()) if (!users.has(id)) console.log(id, "offline");
  before = users;
});

presence.on("reconnected", ({ outcome }) => console.log(outcome));
presence.on("connection", ({ state, error }) => {
  console.log(state, error?.message ?? "");
  if (state === "failed") process.exitCode = 1; // error.hint says what to do; a supervisor may start it again
});

presence.connect();
