/** Rooms as far as they are known: members and their number. */

import { createKeyed } from "./keyed.js";
import type { Member, Room } from "./room.js";
import type { RoomChanges, RoomSnapshot } from "./wire.js";

export type Rooms = ReturnType<typeof createRooms>;

export function createRooms() {
  const joined = new Set<string>();
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
    for (const { userId, joinedAt, data } of message.members ?? []) {
      members.set(String(userId), { userId, joinedAt, data: data as Member["data"] });
    }
    for (const userId of (message as RoomChanges).left ?? []) members.delete(String(userId));
    rooms.update([[name, { name, known, joined: joined.has(name), mode, count, members }]]);
  };

  return {
    ...rooms,
    hasMember: (key: string) => [...rooms.known.values()].some(({ members }) => members.has(key)),
    /** Apply a snapshot with the members of all its pages. */
    replace: (message: RoomSnapshot) => set(message, new Map(), true),
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
      rooms.update([...rooms.known.keys()].filter(isForgotten).map((name) => [name, undefined]));
    },
  };
}
