/**
 * One tab: its locks, its role, and the socket that its client gets instead of a real one.
 *
 *     alone --hello--> follower --lock--> leader --frozen, closed, failed--> alone
 *
 * The tab with the Web Lock is the leader: it has the real socket. Each other tab waits for the lock, and its client
 * talks to the leader over the channel. Another lock per tab tells the leader when the tab is gone, however it ended.
 */

import type { SharedClient } from "../client.js";
import { KEEP_SESSION } from "../codes.js";
import type { Host, Signal, SocketLike } from "../host.js";
import type { Message } from "../outbox.js";
import { setBits } from "../scope.js";
import { type Bits, type Channel, type Means, openChannel, topicOf } from "./channel.js";
import { createFollower } from "./follower.js";
import { createLeader, type Leader } from "./leader.js";
import { relevant } from "./relevant.js";
import type { Tab } from "./shared-tab.js";

/** Create the environment of a client that shares its connection. */
export function createTab(name: string, host: Host, client: () => SharedClient, { locks, Channel }: Means): Host {
  const listeners = new Set<(signal: Signal) => void>();
  const union = new Map<string, number>();
  let shared: SharedClient;
  let topic = "";
  let channel: Channel | undefined;
  let socket: SocketLike | undefined;
  let leader: Leader | undefined;
  let ending = new AbortController();
  let seeking = ending;
  let endings: (() => void)[] = [];
  let isAlone = false;
  let isRestarting = false;

  const fire = (event: "onopen" | "onmessage" | "onclose", detail: object): void =>
    (socket?.[event] as ((detail: object) => void) | undefined)?.(detail);

  const tab: Tab = {
    host,
    name,
    id: "",
    url: "",
    protocols: [],
    given: "",
    position: "",
    self: "",
    isActive: true,
    post: (message) => channel?.post(message),
    agreement: () => ({ bits: [...shared.agreed], data: [...shared.sentData] }),
    isOpening: () => socket?.readyState === 0,
    isWaiting: () => shared.connection.get().state === "waiting",
    hasNoToken: () => shared.connection.get().error?.code === "TOKEN_FAILED",
    open() {
      if (socket) Object.assign(socket, { readyState: 1 });
      fire("onopen", {});
    },
    begin(data) {
      tab.given = JSON.parse(data).sessionId;
      fire("onmessage", { data });
    },
    deliver(message, text) {
      if (message.type === "PRESENCE_CHANGES") tab.position = String(message.position);
      if (message.type === "SELF") tab.self = text;
      const data = relevant(shared, message, text);
      if (data) fire("onmessage", { data });
    },
    end: (code, reason) => fire("onclose", { code, reason }),
    restart() {
      isRestarting = true;
      for (const listener of listeners) listener("restored");
      isRestarting = false;
    },
    connectAlone() {
      isAlone = true;
      quit();
      tab.restart();
    },
  };

  const add = (changes: Bits): void => {
    for (const [scope, bits] of changes) setBits(union, scope, bits);
  };

  const follower = createFollower(
    tab,
    () => {
      seeking.abort();
      seek({ steal: true });
    },
    add,
  );

  /** Stop sharing. A tab that may return has some time to do so. */
  const quit = (mayReturn = false): void => {
    if (!channel) return;
    if (!mayReturn) tab.post({ kind: "bye", from: tab.id });
    leader?.stop();
    follower.closed(false);
    for (const call of endings) call();
    endings = [];
    union.clear();
    channel.close();
    channel = leader = socket = undefined;
    tab.given = "";
  };

  /** Hold a lock until the end, once it is granted. */
  const hold = (lock: string, options: LockOptions, granted: () => void): Promise<unknown> => {
    const { signal } = ending;
    return locks.request(lock, options, () => {
      if (signal.aborted) return undefined;
      granted();
      return new Promise<void>((resolve) => endings.push(resolve));
    });
  };

  const lead = (): void => {
    follower.closed(false);
    const { signal } = ending;
    leader = createLeader(tab, union, (id, gone) => {
      locks.request(`${topic} ${id}`, { signal }, gone).catch(() => {}); // this tab has ended before
    });
    try {
      if (tab.isOpening()) leader.dial();
      else tab.restart();
    } catch {
      tab.restart(); // `openSocket` throws again, and the client says why
    }
  };

  const seek = (options: LockOptions): void => {
    seeking = new AbortController();
    const { signal } = seeking;
    hold(topic, options.steal ? options : { signal }, lead).catch(() => {
      if (signal.aborted || !channel) return;
      if (!leader)
        tab.connectAlone(); // the browser does not allow it
      else {
        // Another tab had no answer from this one, and leads now.
        leader.stop();
        leader = undefined;
        tab.given = "";
        seek({});
        tab.restart();
      }
    });
  };

  const start = (): void => {
    shared = client();
    tab.id = host.random().toString(36).slice(2);
    topic = topicOf(tab.url, name);
    ending = new AbortController();
    channel = openChannel(Channel, topic, (message) => {
      if ("by" in message) leader || follower.received(message);
      else leader?.received(message);
    });
    const stop = shared.connection.subscribe(() => {
      if (/idle|closed|failed/.test(shared.connection.get().state)) quit();
    });
    endings.push(
      stop,
      () => ending.abort(),
      () => seeking.abort(),
    );
    // Followers are known to the leader by this lock, so it comes first.
    hold(`${topic} ${tab.id}`, {}, () => {
      seek({});
      if (tab.isOpening()) follower.hello();
    }).catch(tab.connectAlone);
  };

  const openSocket = (): SocketLike => {
    const isOther = () => socket !== own;
    const own: SocketLike = {
      readyState: 0,
      onopen: null,
      onmessage: null,
      onclose: null,
      onerror: null,
      send(text) {
        if (isOther()) return;
        const request = JSON.parse(text) as Message;
        if (request.type === "ACTIVITY") tab.isActive = request.state === "active";
        if (leader) leader.send(request, text);
        else follower.send(request);
      },
      close(code = KEEP_SESSION) {
        if (isOther()) return;
        socket = undefined;
        if (leader) leader.close(code);
        else {
          tab.given = "";
          follower.closed(own.readyState === 1 && code === KEEP_SESSION && !isRestarting);
        }
      },
    };
    socket = own;
    return own;
  };

  return {
    ...host,
    openSocket(url, protocols) {
      if (isAlone) return host.openSocket(url.replace(/&session=[^&]*~[^&]*(&position=[^&]*)?/, ""), protocols);
      tab.isActive = /activity=active/.test(url);
      Object.assign(tab, { url, protocols });
      const opened = openSocket();
      if (!channel) start();
      else if (leader) leader.dial();
      else follower.hello();
      return opened;
    },
    onSignal(listener) {
      listeners.add(listener);
      const stop = host.onSignal((signal) => {
        if (signal === "frozen") quit(true); // a frozen page keeps its lock, and cannot answer
        listener(signal);
      });
      return () => {
        listeners.delete(listener);
        stop();
      };
    },
  };
}
