/** The rooms of one connection: the ones it is a member of, and the ones it only watches. */

/**
 * @typedef {import("./v1-desired-state.js").DesiredRoom} DesiredRoom
 *
 * @typedef {object} Entry
 * @property {import("./client.js").Membership | null} membership Null if the room is only watched.
 * @property {() => void} stop Stop watching the room.
 */

export class Memberships {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  #client;
  #changed;

  /**
   * @param {import("./client.js").PresenceClient} client
   * @param {() => void} changed
   */
  constructor(client, changed) {
    this.#client = client;
    this.#changed = changed;
  }

  /**
   * Join a room, or only watch it.
   *
   * @param {DesiredRoom} room
   * @returns {Promise<void>} Ends with the server's answer.
   */
  async enter({ name, joined, data }) {
    const stop = this.#client.room(name).subscribe(this.#changed);
    const membership = joined ? this.#client.join(name, parsed(data)) : null;
    this.#entries.set(name, { membership, stop });
    await membership?.joined;
  }

  /**
   * Replace the member's data.
   *
   * @param {DesiredRoom} room
   */
  async setData({ name, data }) {
    await this.#entries.get(name)?.membership?.setData(parsed(data));
  }

  /**
   * @param {string} name
   */
  leave(name) {
    const entry = this.#entries.get(name);
    entry?.membership?.leave();
    entry?.stop();
    this.#entries.delete(name);
  }
}

/**
 * @param {string} json JSON, or an empty string.
 */
function parsed(json) {
  return json ? JSON.parse(json) : undefined;
}
