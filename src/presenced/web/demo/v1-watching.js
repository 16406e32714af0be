/** The users that one connection watches. */

/**
 * @typedef {import("./client.js").Presence} Presence
 * @typedef {import("./v1-desired-state.js").DesiredWatch} DesiredWatch
 */

export class Watching {
  #client;
  #changed;
  #watch;
  #stop = () => {};
  /** Whether a snapshot of everyone has arrived. */
  #knowsEveryone = false;

  /**
   * @param {import("./client.js").PresenceClient} client
   * @param {DesiredWatch} watch
   * @param {() => void} changed
   */
  constructor(client, watch, changed) {
    this.#client = client;
    this.#changed = changed;
    this.#watch = watch;
    this.begin(watch);
  }

  /**
   * Watch other users.
   *
   * @param {DesiredWatch} watch
   */
  begin(watch) {
    const stop = this.#stop;
    this.#watch = watch;
    this.#knowsEveryone = false;
    this.#stop = this.#store?.subscribe(this.#changed) ?? (() => {});
    stop(); // afterwards, so that users of both subscriptions stay known
  }

  /** The users, without offline ones if everyone is watched. @returns {readonly Presence[]} */
  get people() {
    const { target, users, countOnly } = this.#watch;
    if (countOnly || target === "nobody") return [];
    return [...(target === "everyone" ? this.#client.everyone : this.#client.users(users)).get().values()];
  }

  /** Number of users who are online; null until it is known. */
  get onlineCount() {
    const { target, countOnly } = this.#watch;
    if (countOnly && target === "everyone") return this.#client.count("everyone").get();
    return this.people.filter(({ online }) => online).length;
  }

  /** Everyone, as soon as all of them are known; null if not everyone is watched by name. */
  get everyone() {
    return this.#knowsEveryone ? this.#client.everyone.get() : null;
  }

  /** A snapshot of everyone has arrived. */
  everyoneIsKnown() {
    const { target, countOnly } = this.#watch;
    this.#knowsEveryone = target === "everyone" && !countOnly;
    this.#changed();
  }

  /** The client forgets what it knows. */
  forget() {
    this.#knowsEveryone = false;
  }

  get #store() {
    const { target, users, countOnly } = this.#watch;
    if (target === "nobody") return null;
    if (target === "users") return this.#client.users(users);
    return countOnly ? this.#client.count("everyone") : this.#client.everyone;
  }
}
