/** Rooms as far as they are known: members and their number. */

import type { RecordOf, UserId } from "./presence.js";
import type { Member, Room } from "./room.js";
import { KeyedListeners } from "./store.js";

export interface MemberRecord {
  readonly userId: UserId;
  readonly joinedAt: number;
  readonly presence?: RecordOf;
  readonly data?: unknown;
}

/** ROOM_SNAPSHOT with all its pages, or ROOM_CHANGES. */
export interface RoomNews {
  readonly room: string;
  readonly mode: Room["mode"];
  readonly count: number;
  readonly members?: readonly MemberRecord[];
  readonly left?: readonly UserId[];
}

export class Rooms {
  readonly #rooms = new Map<string, Room>();
  readonly #joined = new Set<string>();
  readonly #listeners = new KeyedListeners();

  get(name: string): Room {
    const room = this.#rooms.get(name) ?? this.#unknown(name);
    this.#rooms.set(name, room);
    return room;
  }

  subscribe(name: string, listener: () => void): () => void {
    const remove = this.#listeners.add(name, listener);
    return () => {
      remove();
      this.#dropUnknown(name);
    };
  }

  hasMember(key: string): boolean {
    for (const { members } of this.#rooms.values()) if (members.has(key)) return true;
    return false;
  }

  replace(news: RoomNews): void {
    this.#set(news, new Map(), true);
  }

  /** Apply changes. Return whether the room has left mode `counts`: its members must be requested again. */
  change(news: RoomNews): boolean {
    const room = this.#rooms.get(news.room);
    if (!room?.known) return false; // left meanwhile
    const returns = room.mode === "counts" && news.mode !== "counts";
    this.#set(news, new Map(room.members), !returns);
    return returns;
  }

  setJoined(name: string, joined: boolean): void {
    if (joined === this.#joined.has(name)) return;
    if (joined) this.#joined.add(name);
    else this.#joined.delete(name);
    this.#publish({ ...this.get(name), joined });
  }

  /** Forget these rooms, so that they are unknown again. */
  forget(isForgotten: (name: string) => boolean = () => true): void {
    for (const name of [...this.#rooms.keys()].filter(isForgotten)) {
      if (this.#rooms.get(name)?.known) this.#publish(this.#unknown(name));
      this.#dropUnknown(name);
    }
  }

  #set(
    { room, mode, count, members: news = [], left = [] }: RoomNews,
    members: Map<string, Member>,
    known: boolean,
  ): void {
    if (mode === "counts") members.clear();
    for (const { userId, joinedAt, data } of news) {
      members.set(String(userId), { userId, joinedAt, data: data as Member["data"] });
    }
    for (const userId of left) members.delete(String(userId));
    this.#publish({ name: room, known, joined: this.#joined.has(room), mode, count, members });
  }

  #publish(room: Room): void {
    this.#rooms.set(room.name, room);
    this.#listeners.notify(room.name);
  }

  #dropUnknown(name: string): void {
    if (!this.#listeners.has(name) && !this.#rooms.get(name)?.known) this.#rooms.delete(name);
  }

  #unknown(name: string): Room {
    return { name, known: false, joined: this.#joined.has(name), mode: "full", count: 0, members: new Map() };
  }
}
