// presence.js: one connection to presenced for the whole page.

const KEEP_SESSION = 4001; // close code: the client will return to this session
const FINAL_CODES = [1000, 1002, 1007, 1009, 4400, 4402, 4403, 4410]; // reconnecting would fail again
const LONGEST_DELAY_MS = 30_000;
const OPENING_MS = 10_000;
const ANSWER_MS = 5_000;

export function createPresence({
  url, // ws://localhost:3001/ws-online-status; wss:// for a page from https://
  userId, // needed if the server does not authenticate
  getToken, // otherwise: returns a new token or ticket for each connection, or a promise of one
  device = "web",
  watch = "everyone", // or "none", with WATCH in requests
  requests = () => [], // requests for each connection, such as WATCH and JOIN
  onMessage = () => {}, // called with every message
}) {
  const listeners = new Set();
  let state = { connection: "closed", reason: "", ready: false, self: null, users: new Map() };
  let records = new Map(); // the newest record of each user
  let unconfirmed = new Map(); // records from before a restart of the server
  let socket = null;
  let session = "";
  let position = "";
  let activity = "";
  let attempt = 0;
  let turn = 0; // changes whenever the current attempt is given up
  let mayRenew = true; // whether to try a new token after a refusal
  let incomplete = false; // whether the users of `requests` are still to come
  let asleep = false;
  let retryAfterMs = 0;
  let retryTimer, answerTimer, probeTimer, settlingTimer, releaseTimer;
  let pageEvents;

  function publish(changes) {
    state = { ...state, ...changes };
    for (const listener of [...listeners]) listener();
  }

  function publishUsers() {
    publish({ connection: "open", ready: true, users: new Map([...unconfirmed, ...records]) });
  }

  async function connect() {
    giveUp(KEEP_SESSION);
    const mine = turn;
    publish({ connection: "connecting", reason: "" });
    const protocols = ["presenced.v1"];
    try {
      if (getToken) protocols.push(`presenced.token.${await getToken()}`);
    } catch {
      if (mine === turn) lost(1006, "no token");
      return;
    }
    if (mine !== turn) return; // closed or asleep meanwhile
    const opened = new WebSocket(`${url}?${query()}`, protocols);
    opened.onmessage = (event) => opened === socket && receive(JSON.parse(event.data));
    opened.onclose = (event) => opened === socket && lost(event.code, event.reason);
    socket = opened;
    expectMessage(OPENING_MS);
  }

  function query() {
    const parameters = new URLSearchParams({ device, watch });
    if (userId !== undefined) parameters.set("userId", String(userId));
    if (session) parameters.set("session", session);
    if (position) parameters.set("position", position);
    if (activity) parameters.set("activity", activity);
    const { self } = state;
    if (self && self.chosen !== "auto") {
      parameters.set("status", self.chosen); // an invisible user stays invisible after a crash of the server
      const { until } = self.claimed ? (self.choice ?? {}) : self;
      if (until) parameters.set("until", String(until));
    }
    return parameters;
  }

  function receive(message) {
    clearTimeout(answerTimer);
    switch (message.type) {
      case "CONNECTION_ESTABLISHED":
        attempt = 0;
        mayRenew = true;
        if (!message.resumed) startOver(message.settling);
        sendRequests(message.resumed);
        if (activity) send({ type: "ACTIVITY", state: activity });
        session = message.sessionId;
        probeTimer = setInterval(probe, Math.max(10, message.heartbeatInterval) * 1000);
        break;
      case "SELF":
        publish({ self: message });
        break;
      case "PRESENCE_SNAPSHOT":
        incomplete = false;
        if (message.watch === "everyone" && message.page === 1) records = new Map();
        message.users.forEach(apply);
        break;
      case "PRESENCE_CHANGES":
        message.users.forEach(apply);
        position = message.position;
        if (!incomplete) publishUsers(); // snapshots are complete now
        break;
      case "AUTH_EXPIRING":
        if (getToken) Promise.resolve(getToken()).then((token) => send({ type: "AUTH", token }), () => {});
        break;
      case "GOING_AWAY":
        retryAfterMs = message.retryAfter * 1000;
        break;
      case "ERROR":
        console.warn(`presenced: ${message.name}: ${message.message}`);
        if (incomplete) publishUsers(); // the refused request may have been the one for the users
        incomplete = false;
    }
    onMessage(message);
  }

  function apply(record) {
    const key = String(record.userId);
    if (record.since === 0 && unconfirmed.has(key)) return; // the server does not know the user yet
    if ((records.get(key)?.version ?? -1) < record.version) records.set(key, record);
  }

  // Repeats all requests, because some may be lost. The others have no effect.
  function sendRequests(resumed) {
    const all = requests();
    // Until the answer, a new session knows no users. Showing them all as offline would be wrong.
    incomplete = !resumed && all.some(asksForUsers);
    all.forEach(send);
  }

  function asksForUsers({ type, mode, everyone, users }) {
    return type === "WATCH" && mode !== "count" && (everyone || (Array.isArray(users) && users.length > 0));
  }

  // The server sends everything again. If it has just started, it does not know yet who will return.
  function startOver(settling) {
    clearTimeout(settlingTimer);
    unconfirmed = settling ? state.users : new Map();
    records = new Map();
    position = "";
    if (!settling) return;
    settlingTimer = setTimeout(() => {
      unconfirmed = new Map();
      if (state.connection === "open") publishUsers();
    }, settling * 1000);
  }

  function lost(code, reason) {
    giveUp(KEEP_SESSION);
    // A token may have expired: a new one is tried once.
    const isFinal = code === 4401 ? !(getToken && mayRenew) : FINAL_CODES.includes(code);
    if (code === 4401) mayRenew = false;
    if (isFinal) {
      publish({ connection: "failed", reason });
      return;
    }
    if (code === 4409) session = position = ""; // another connection has the session
    const backOff = Math.min(LONGEST_DELAY_MS, 500 * 2 ** attempt) * (0.5 + Math.random() / 2);
    // After a revocation, tokens whose `iat` is in whole seconds are refused until the next second.
    const delay = retryAfterMs || backOff + (code === 4401 ? 1_000 : 0);
    retryAfterMs = 0;
    attempt += 1;
    retryTimer = setTimeout(connect, delay);
    publish({ connection: "waiting", reason });
  }

  function giveUp(code) {
    turn += 1;
    clearTimeout(retryTimer);
    clearTimeout(answerTimer);
    clearInterval(probeTimer);
    const old = socket;
    socket = null; // its events count no longer
    old?.close(code);
  }

  // Returns whether the message could be sent.
  function send(message) {
    if (socket?.readyState !== WebSocket.OPEN) return false;
    socket.send(JSON.stringify(message));
    return true;
  }

  // Browsers notice a dead network only after minutes.
  function probe() {
    if (socket?.readyState !== WebSocket.OPEN) return;
    send({ type: "PING" });
    expectMessage(ANSWER_MS);
  }

  function expectMessage(ms) {
    clearTimeout(answerTimer);
    answerTimer = setTimeout(() => lost(1006, "no answer"), ms);
  }

  // The browser keeps or freezes the page. It would answer pings, and the user would stay online.
  function sleep() {
    if (asleep || state.connection === "failed") return;
    asleep = true;
    giveUp(KEEP_SESSION);
    publish({ connection: "waiting" });
  }

  function wake() {
    if (!asleep) return;
    asleep = false;
    connect();
  }

  // The page is visible again, or has a network again.
  function check() {
    if (asleep || document.visibilityState !== "visible") return;
    if (state.connection === "waiting") connect();
    else probe();
  }

  function open() {
    pageEvents = new AbortController();
    const { signal } = pageEvents;
    addEventListener("pagehide", (event) => event.persisted && sleep(), { signal });
    addEventListener("pageshow", (event) => event.persisted && wake(), { signal });
    addEventListener("online", check, { signal });
    document.addEventListener("freeze", sleep, { signal });
    document.addEventListener("resume", wake, { signal });
    document.addEventListener("visibilitychange", check, { signal });
    connect();
  }

  // Deliberate: the user goes offline immediately, unless another tab or device is connected.
  function close() {
    clearTimeout(releaseTimer);
    clearTimeout(settlingTimer);
    pageEvents?.abort();
    giveUp(1000);
    session = position = "";
    asleep = false;
    mayRenew = true;
    records = new Map();
    unconfirmed = new Map();
    publish({ connection: "closed", reason: "", ready: false, self: null, users: new Map() });
  }

  return {
    getState: () => state,
    send,
    close,
    setIdle(idle) {
      activity = idle ? "idle" : "active";
      send({ type: "ACTIVITY", state: activity });
    },
    // The first subscription connects. A second after the last one ends, the connection is closed.
    subscribe(listener) {
      clearTimeout(releaseTimer);
      listeners.add(listener);
      if (state.connection === "closed") open();
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) releaseTimer = setTimeout(close, 1_000);
      };
    },
  };
}
