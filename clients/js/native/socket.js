/** The server's end of a connection. */
class Socket {
  static opened = [];
  readyState = 0;
  sent = [];
  closed = false;

  constructor(url) {
    this.url = url;
    Socket.opened.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
    this.closed = true;
  }

  /** Accept the connection and send the first messages. */
  accept() {
    this.readyState = 1;
    this.onopen();
    this.say({
      type: "CONNECTION_ESTABLISHED",
      userId: "me",
      sessionId: "session",
      resumed: false,
      epoch: "epoch",
      serverTime: Date.now(),
      heartbeatInterval: 30,
      resumeWindow: 120,
      settling: 0,
      limits: { maxMessageSize: 65536, maxWatchedUsers: 1000, requestsPerSecond: 10, requestBurst: 50 },
    });
    this.say({ type: "SELF", status: "online", chosen: "auto" });
    this.say({ type: "PRESENCE_CHANGES", position: "epoch-1", users: [] });
  }

  say(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }

  types() {
    return this.sent.map(({ type, state }) => (state ? `${type} ${state}` : type));
  }
}

module.exports = { Socket };
