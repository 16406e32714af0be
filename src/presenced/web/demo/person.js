/** A person of the demonstration: one client of presenced on a device of their own. */

import { createPresence } from "./client.js";
import { loadForTab, saveForTab } from "./browser-storage.js";
import { Network } from "./network.js";

/**
 * @typedef {import("./client.js").PresenceClient} PresenceClient
 * @typedef {import("./client.js").Presence} Presence
 * @typedef {import("./client.js").Choice} Choice
 * @typedef {import("./client.js").LogEntry} LogEntry
 *
 * @typedef {object} Profile
 * @property {string} name
 * @property {string} pronoun
 * @property {string} device
 *
 * @typedef {"out" | "connecting" | "here" | "cut" | "reloading"} Condition
 *
 * @typedef {object} Hooks
 * @property {(person: Person) => void} changed Anything on display changed.
 * @property {(viewer: Person, current: Presence, previous: Presence) => void} saw A person saw another one change.
 * @property {(person: Person) => void} back The connection is back, and the person knows everything again.
 */

/** Time for which a reloaded page stays empty, so that people can see it. */
const RELOAD_MS = 700;

/** The person whose page is being left, while the event for that is dispatched. @type {Person | null} */
let leaving = null;

export class Person {
  isReloading = false;
  network = new Network();
  /** @type {PresenceClient | null} Null while signed out, and during a reload. */
  client = null;
  /** @type {(() => void)[]} */
  #ends = [];
  #hooks;
  /** @type {readonly string[]} */
  #others = [];

  /**
   * @param {Profile} profile
   * @param {string} userId
   * @param {Hooks} hooks
   */
  constructor(profile, userId, hooks) {
    this.name = profile.name;
    this.pronoun = profile.pronoun;
    this.device = profile.device;
    this.userId = userId;
    this.#hooks = hooks;
  }

  /** @returns {Condition} */
  get condition() {
    if (this.isReloading) return "reloading";
    if (!this.client) return "out";
    if (this.network.isCut) return "cut";
    return this.client.connection.get().stale ? "connecting" : "here";
  }

  /** The person's own status, which others may not see; null until it is known. */
  get self() {
    return this.client?.self.get() ?? null;
  }

  /**
   * Return another person as this one sees them; null if they are unknown.
   *
   * @param {{ userId: string }} other
   * @returns {Presence | null}
   */
  sees(other) {
    const presence = this.client?.user(other.userId).get();
    return presence && presence.status !== "unknown" ? presence : null;
  }

  /**
   * Sign in, and see these users.
   *
   * @param {readonly string[]} others
   */
  connect(others) {
    if (this.client) return;
    this.#others = others;
    this.network.restore();
    this.#open();
  }

  /** Sign out: offline immediately. */
  signOut() {
    this.network.restore();
    this.client?.close();
    this.#end();
    this.#hooks.changed(this);
  }

  cutNetwork() {
    this.network.cut();
    this.#hooks.changed(this);
  }

  restoreNetwork() {
    this.network.restore();
    this.reconnect();
    this.#hooks.changed(this);
  }

  /** Connect now if the client waits for its next attempt. */
  reconnect() {
    if (this.client?.connection.get().state === "waiting") this.client.retry();
  }

  /** Leave the page and load it again: a new client, which finds what the old one saved. */
  reload() {
    const old = this.client;
    if (!old || this.isReloading) return;
    // Every client of this tab hears the event. Only the one of this person saves its session.
    leaving = this;
    dispatchEvent(new PageTransitionEvent("pagehide", { persisted: false }));
    leaving = null;
    this.isReloading = true;
    this.network.cut(); // the browser ends the connection of a page that it unloads
    this.#end();
    old.close(); // reaches nobody: its network is gone
    this.#hooks.changed(this);
    setTimeout(() => {
      this.isReloading = false;
      this.network = new Network();
      this.#open();
    }, RELOAD_MS);
  }

  /**
   * @param {Choice} choice
   */
  async setStatus(choice) {
    await this.client?.setStatus(choice);
  }

  #open() {
    const { network } = this;
    const client = createPresence({
      userId: this.userId,
      device: this.device,
      activity: false, // the person, not the mouse, decides
      host: {
        openSocket: (url, protocols) => network.open(url, protocols),
        load: (key) => loadForTab(key)[0] ?? null,
        save: (key, value) => {
          const isLeft = leaving ? leaving === this : !this.isReloading;
          if (isLeft) saveForTab(key, value === null ? [] : [value]);
        },
      },
    });
    const changed = () => this.#hooks.changed(this);
    this.client = client;
    this.#ends = [
      client.users([this.userId, ...this.#others]).subscribe(changed),
      client.watch(this.#others, (current, previous) => this.#hooks.saw(this, current, previous)),
      client.self.subscribe(changed),
      client.connection.subscribe(changed),
      client.on("reconnected", () => this.#hooks.back(this)),
    ];
    client.connect();
    changed();
  }

  #end() {
    for (const end of this.#ends.splice(0)) end();
    this.client = null;
  }
}
