/**
 * One WebSocket in a worker. Terminating the worker ends the connection as closing the tab does (code 1001). A page
 * itself can only close a WebSocket deliberately.
 *
 * It is a classic worker, because a module worker takes Chromium ten times as long to start. After a reload, users have
 * to be back within the grace period.
 */
{
  /** @type {WebSocket | null} */
  let socket = null;

  /** @param {import("./network.js").WorkerEvent} event */
  const report = (event) => self.postMessage(event);

  self.addEventListener("message", (/** @type {MessageEvent<import("./network.js").WorkerCommand>} */ event) => {
    if ("open" in event.data) {
      socket = new WebSocket(event.data.open, event.data.protocols);
      socket.addEventListener("open", () => report({ kind: "open" }));
      socket.addEventListener("message", ({ data }) => report({ kind: "message", text: String(data) }));
      socket.addEventListener("close", ({ code, reason }) => report({ kind: "close", code, reason }));
    } else if ("send" in event.data) {
      if (socket?.readyState === WebSocket.OPEN) socket.send(event.data.send);
    } else {
      socket?.close(event.data.close);
    }
  });
}
