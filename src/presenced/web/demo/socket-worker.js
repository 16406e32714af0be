/**
 * Holds one WebSocket, so that the page can lose it the way a browser does: terminating this worker ends the
 * connection as closing the tab would (code 1001), while `WebSocket.close` in the page could only end it politely.
 *
 * A classic worker: a module worker takes Chromium ten times as long to start, and users come back in time or not.
 */
{
  /** @type {WebSocket | null} */
  let socket = null;

  /** @param {import("./connection.js").Report} report */
  const tell = (report) => self.postMessage(report);

  self.addEventListener("message", (/** @type {MessageEvent<import("./connection.js").Order>} */ event) => {
    if ("open" in event.data) {
      socket = new WebSocket(event.data.open, event.data.protocols);
      socket.addEventListener("open", () => tell({ kind: "open" }));
      socket.addEventListener("message", ({ data }) => tell({ kind: "message", text: String(data) }));
      socket.addEventListener("close", ({ code, reason }) => tell({ kind: "close", code, reason }));
    } else if ("send" in event.data) {
      if (socket?.readyState === WebSocket.OPEN) socket.send(event.data.send);
    } else {
      socket?.close(event.data.close);
    }
  });
}
