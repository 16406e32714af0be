/**
 * Rooms as far as they are known: members and their number.
 *
 * A server that has just started does not know yet who returns. Members of before whom it does not name are
 * *unconfirmed*: they stay until they return, leave, or the server has settled.
 */

import { createKeyed } from "./keyed.js";
import type { Member, Room } from "./room.js";
import type { RoomChanges, RoomSnapshot } from "./wire.js";

export type Rooms = ReturnType<typeof createRooms>;

export function createRooms() {
  const joined = new Set<string>();
  /** Unconfirmed members, by room. */
  const unconfirmed = new Map<string, Set<string>>();
  const rooms = createKeyed<Room>((name) => ({
    name,
    known: false,
    joined: joined.has(name),
    mode: "full",
    count: 0,
    members: new Map(),
  }));

  const set = (message: RoomSnapshot | RoomChanges, before: Room["members"], known: boolean): void => {
    const { room: name, mode, count } = message;
    const members = new Map<string, Member>(mode === "counts" ? [] : before);
    const kept = new Set(mode === "counts" ? [] : unconfirmed.get(name));
    for (const { userId, joinedAt, data } of message.members ?? []) {
      const key = String(userId);
      members.set(key, { userId, joinedAt, data: data as Member["data"] });
      kept.delete(key);
    }
    for (const userId of (message as RoomChanges).left ?? []) {
      members.delete(String(userId));
      kept.delete(String(userId));
    }
    unconfirmed.set(name, kept);
    rooms.update([[name, { name, known, joined: joined.has(name), mode, count: count + kept.size, members }]]);
  };

  return {
    ...rooms,
    hasMember: (key: string) => [...rooms.known.values()].some(({ members }) => members.has(key)),
    /** Apply a snapshot with the members of all its pages. `keeps`: earlier members stay, unconfirmed. */
    replace(message: RoomSnapshot, keeps: boolean) {
      const { members } = rooms.get(message.room);
      unconfirmed.set(message.room, new Set(keeps ? members.keys() : []));
      set(message, keeps ? members : new Map(), true);
    },
    /** Whether no member is unconfirmed. */
    isConfirmed: () => [...unconfirmed.values()].every(({ size }) => !size),
    /** The server knows who has returned: unconfirmed members have left. */
    settled() {
      for (const [name, kept] of unconfirmed) {
        if (!kept.size) continue;
        const { members: before, count, ...room } = rooms.get(name);
        const members = new Map([...before].filter(([key]) => !kept.has(key)));
        rooms.update([[name, { ...room, members, count: count - kept.size }]]);
      }
      unconfirmed.clear();
    },
    /** Apply changes. Return whether the room has left mode `counts`: its members must be requested again. */
    change(message: RoomChanges): boolean {
      const { known, mode, members } = rooms.get(message.room);
      if (!known) return false; // left meanwhile
      const returns = mode === "counts" && message.mode !== "counts";
      set(message, members, !returns);
      return returns;
    },
    joined: () => [...joined],
    setJoined(name: string, isMember: boolean) {
      if (isMember === joined.has(name)) return;
      if (isMember) joined.add(name);
      else joined.delete(name);
      rooms.update([[name, { ...rooms.get(name), joined: isMember }]]);
    },
    /** Forget rooms, so that they are unknown again. */
    forget(isForgotten: (name: string) => boolean) {
      const names = [...rooms.known.keys()].filter(isForgotten);
      for (const name of names) unconfirmed.delete(name);
      rooms.update(names.map((name) => [name, undefined]));
    },
  };
}
