/**
 * What just happened among the people of the demonstration, in words.
 *
 * The story says only what was observed: who saw a change is reported by the viewers' clients, and times are measured.
 */

import { capital, count, inOrder, list, milliseconds, object, plural, possessive, quoted, seconds } from "./words.js";

/**
 * @typedef {import("./client.js").Presence} Presence
 *
 * @typedef {object} Character The part of a person that the story needs.
 * @property {string} name
 * @property {string} pronoun `she` or `he`.
 * @property {string} userId
 * @property {string} condition
 * @property {(other: { userId: string }) => Presence | null} sees
 *
 * @typedef {object} Absence
 * @property {"cut" | "reload"} kind
 * @property {number} at
 * @property {ReadonlyMap<string, string>} known What the absent person knew of the others, by name.
 * @property {Set<string>} noticedBy Names of viewers who saw the person go offline.
 * @property {number} noticedAfterMs
 *
 * @typedef {object} Scene
 * @property {"start" | "connect" | "leave" | "status" | "wait" | "cut" | "reload" | "back" | "other"} kind
 * @property {Character | null} who
 * @property {number} at
 * @property {Set<string>} seenBy Names of viewers who saw the change.
 * @property {number} seenAfterMs
 * @property {string} words Words of the scene itself.
 * @property {string} more Words after what others saw.
 */

export class Story {
  #people;
  #changed;
  #now;
  /** @type {Map<Character, Absence>} */
  #absences = new Map();
  /** @type {Scene} */
  #scene = { kind: "start", who: null, at: 0, seenBy: new Set(), seenAfterMs: 0, words: "", more: "" };

  /**
   * @param {readonly Character[]} people
   * @param {() => void} changed
   * @param {() => number} now
   */
  constructor(people, changed, now) {
    this.#people = people;
    this.#changed = changed;
    this.#now = now;
  }

  /**
   * @param {Character} who
   */
  connected(who) {
    this.#begin("connect", who);
  }

  /**
   * @param {Character} who
   */
  signedOut(who) {
    this.#absences.delete(who);
    this.#begin("leave", who, `${who.name} signed out.`);
  }

  /**
   * @param {Character} who
   * @param {string} status
   * @param {string} text
   */
  choseStatus(who, status, text) {
    const said = text ? `: ${quoted(text)}` : "";
    if (who.condition === "cut") {
      this.#begin("wait", who, `${who.name} has no network. ${capital(possessive(who))} status is sent later.`);
    } else if (status === "invisible") {
      this.#begin("status", who, `${who.name} is invisible: ${who.pronoun} sees the others, and they see ${object(who)} offline.`);
    } else {
      this.#begin("status", who, `${who.name} is ${status === "auto" ? "online" : status}${said}.`);
    }
  }

  /**
   * @param {Character} who
   * @param {string} reason
   */
  refused(who, reason) {
    this.#begin("other", who, `${who.name}'s status was refused: ${reason}.`);
  }

  /**
   * The connection of a person breaks.
   *
   * @param {Character} who
   * @param {"cut" | "reload"} kind
   */
  broke(who, kind) {
    const known = new Map(this.#others(who).map((other) => [other.name, described(who.sees(other))]));
    this.#absences.set(who, { kind, at: this.#now(), known, noticedBy: new Set(), noticedAfterMs: 0 });
    this.#begin(kind, who);
  }

  /**
   * The network of a person works again. The client reconnects by itself.
   *
   * @param {Character} who
   */
  restored(who) {
    this.#begin("wait", who, `${who.name}'s network works again.`);
  }

  /**
   * A person is connected again, and knows everything again.
   *
   * @param {Character} who
   */
  back(who) {
    const absence = this.#absences.get(who);
    if (!absence) return; // the server restarted, or the whole page was reloaded
    this.#absences.delete(who);
    const wasReturning = this.#scene.who === who && this.#scene.kind === "wait";
    const after = seconds(this.#now() - absence.at);
    const missed = this.#others(who).flatMap((other) => {
      const now = described(who.sees(other));
      return now === absence.known.get(other.name) ? [] : [`${other.name} is ${now}`];
    });
    const caughtUp = missed.length ? ` ${capital(who.pronoun)} missed something, and has caught up: ${list(missed)}.` : "";
    const broke = absence.kind === "cut" ? `${who.name}'s connection broke.` : `${who.name} reloaded ${possessive(who)} page.`;
    if (absence.noticedBy.size) {
      const { seenBy } = this.#scene; // others may see the return before the person knows everything again
      this.#begin("back", who, `${who.name} is back after ${after}.`);
      this.#scene.more = caughtUp;
      if (wasReturning) for (const name of seenBy) this.#scene.seenBy.add(name);
    } else if (!this.#viewers(who).length) {
      this.#begin("other", who, `${broke} ${capital(who.pronoun)} was back after ${after}, and nobody else was there.${caughtUp}`);
    } else {
      this.#begin("other", who, `${broke} Nobody noticed: ${who.pronoun} was back after ${after}.${caughtUp}`);
    }
  }

  /**
   * A person saw another one change.
   *
   * @param {Character} viewer
   * @param {Presence} current
   */
  saw(viewer, current) {
    const who = this.#people.find(({ userId }) => userId === String(current.userId));
    if (!who || this.#absences.has(viewer)) return; // who was absent only catches up
    const absence = this.#absences.get(who);
    if (absence && current.status === "offline") {
      absence.noticedBy.add(viewer.name);
      absence.noticedAfterMs ||= this.#now() - absence.at;
      if (this.#scene.who !== who || this.#scene.kind !== absence.kind) this.#begin(absence.kind, who);
    }
    const scene = this.#scene;
    if (scene.who === who) {
      scene.seenBy.add(viewer.name);
      scene.seenAfterMs = this.#now() - scene.at;
    } else if (!absence && scene.kind !== "connect" && scene.kind !== "start") {
      this.#begin("other", who, `${who.name} is ${current.status} now.`);
    }
    this.#changed();
  }

  /** What just happened. */
  get text() {
    const { kind, who, words, more, seenBy, seenAfterMs } = this.#scene;
    if (!who || !this.#people.some(({ condition }) => condition !== "out")) {
      const people = count(this.#people.length);
      return `${words} ${people} people, each with a device of their own. Connect them, and see what the others notice.`.trim();
    }
    const absence = this.#absences.get(who);
    const viewers = this.#viewers(who).map(({ name }) => name);
    const saw = list(inOrder(viewers, seenBy));
    switch (kind) {
      case "connect":
        return this.#presentText();
      case "cut":
        if (absence?.noticedBy.size) {
          const told = list(inOrder(viewers, absence.noticedBy)) || "the others";
          return `${who.name} stayed away, so ${told} now see${plural(absence.noticedBy.size)} ${object(who)} offline, ${seconds(absence.noticedAfterMs)} after ${possessive(who)} connection broke.`;
        }
        return viewers.length
          ? `${who.name}'s network is cut. ${list(viewers)} still see${plural(viewers.length)} ${object(who)} online: the server waits a few seconds, because most people come back.`
          : `${who.name}'s network is cut. Nobody else is here to notice.`;
      case "reload":
        if (!viewers.length || absence?.noticedBy.size) return `${who.name} reloads ${possessive(who)} page.`;
        return `${who.name} reloads ${possessive(who)} page. ${list(viewers)} see${plural(viewers.length)} no change.`;
      case "leave":
      case "status":
        return saw ? `${words} ${saw} saw it ${milliseconds(seenAfterMs)} later.` : words;
      case "back":
        return saw ? `${words} ${saw} see${plural(seenBy.size)} ${object(who)} again.${more}` : `${words}${more}`;
      default:
        return words;
    }
  }

  #presentText() {
    const here = this.#people.filter(({ condition }) => condition !== "out");
    const names = list(here.map(({ name }) => name));
    if (here.some(({ condition }) => condition === "connecting")) return `${names}: connecting …`;
    const missing = this.#people.filter(({ condition }) => condition === "out");
    if (missing.length) return `${names} ${here.length === 1 ? "is" : "are"} online. Connect ${list(missing.map(({ name }) => name))}, too.`;
    return `${names} are online. Each device shows how its owner sees the others. Now cut somebody's network.`;
  }

  /**
   * @param {Scene["kind"]} kind
   * @param {Character} who
   * @param {string} [words]
   */
  #begin(kind, who, words = "") {
    this.#scene = { kind, who, at: this.#now(), seenBy: new Set(), seenAfterMs: 0, words, more: "" };
    this.#changed();
  }

  /**
   * @param {Character} who
   */
  #others(who) {
    return this.#people.filter((other) => other !== who);
  }

  /**
   * @param {Character} who
   */
  #viewers(who) {
    return this.#others(who).filter(({ condition }) => condition === "here");
  }
}

/**
 * @param {Presence | null} presence
 */
function described(presence) {
  if (!presence) return "offline";
  return presence.text ? `${presence.status} (${quoted(presence.text)})` : presence.status;
}
