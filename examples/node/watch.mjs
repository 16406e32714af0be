// watch.mjs: prints who is online, as user USER_ID.
import WebSocket from "ws";

const { PRESENCE_URL = "ws://localhost:3001/ws-online-status", USER_ID = "robot", TOKEN } = process.env;
const FINAL_CODES = [1000, 1002, 1007, 1009, 4400, 4401, 4402, 4403, 4410]; // reconnecting would fail again
const LONGEST_DELAY_MS = 30_000;
const SLACK_MS = 10_000;

const users = new Map();
let session = "";
let position = "";
let attempt = 0;
let retryAfterMs = 0;

function connect() {
  const query = new URLSearchParams({ device: "server", ...(TOKEN ? {} : { userId: USER_ID }) });
  if (session) query.set("session", session);
  if (position) query.set("position", position);
  const headers = TOKEN ? { authorization: `Bearer ${TOKEN}` } : {};
  const socket = new WebSocket(`${PRESENCE_URL}?${query}`, "presenced.v1", { headers, handshakeTimeout: 10_000 });

  // The server pings in this interval. A connection without a ping is dead, although no error says so.
  let intervalMs = 30_000;
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => socket.terminate(), intervalMs + SLACK_MS);
  };

  socket.on("open", heard);
  socket.on("ping", heard);
  socket.on("message", (data) => {
    const message = JSON.parse(data);
    if (message.type === "CONNECTION_ESTABLISHED") {
      attempt = 0;
      intervalMs = message.heartbeatInterval * 1000;
      session = message.sessionId;
      heard();
      if (!message.resumed) users.clear(); // a snapshot follows
      console.log(message.resumed ? "resumed" : "connected");
    }
    if (message.type === "GOING_AWAY") retryAfterMs = message.retryAfter * 1000;
    if (message.type === "PRESENCE_SNAPSHOT" && message.page === 1) users.clear();
    for (const user of message.users ?? []) {
      if (users.get(user.userId)?.version >= user.version) continue;
      users.set(user.userId, user);
      console.log(user.userId, user.status, user.text ?? "");
    }
    if (message.type === "PRESENCE_CHANGES") position = message.position;
  });
  socket.on("error", (error) => console.error(error.message)); // "close" follows
  socket.on("close", (code, reason) => {
    clearTimeout(timer);
    console.log("closed", code, String(reason));
    if (FINAL_CODES.includes(code)) return;
    if (code === 4409) session = position = ""; // another connection has the session
    const delay = retryAfterMs || Math.min(LONGEST_DELAY_MS, 500 * 2 ** attempt) * (0.5 + Math.random() / 2);
    retryAfterMs = 0;
    attempt += 1;
    setTimeout(connect, delay);
  });
}

connect();
