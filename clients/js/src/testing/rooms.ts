import { PresenceError } from "../error.js";
import type { Registered } from "../index.js";
import type { UserId } from "../presence.js";
import type { Membership, Room } from "../room.js";
import { type Cell, found } from "./cell.js";
import { roomOf } from "./values.js";

/** The rooms of a fake client, and the memberships of its user. */
export class FakeRooms {
  private readonly cells = new Map<string, Cell<Room>>();
  private readonly memberships = new Map<string, number>();
  private readonly me: UserId;

  constructor(me: UserId) {
    this.me = me;
  }

  room(name: string): Cell<Room> {
    return found(this.cells, name, () => roomOf(name, { known: false }));
  }

  forget(): void {
    this.memberships.clear();
    for (const [name, cell] of this.cells) cell.set(roomOf(name, { known: false }));
  }

  join(name: string, now: number, data?: Registered<"member">): Membership {
    let member = true;
    this.memberships.set(name, (this.memberships.get(name) ?? 0) + 1);
    this.enter(name, now, data);
    return {
      joined: Promise.resolve(),
      setData: async (next) => {
        if (!member) throw new PresenceError("NOT_A_MEMBER", `not a member of ${name}`);
        this.enter(name, now, next);
      },
      leave: () => {
        if (!member) return;
        member = false;
        const left = (this.memberships.get(name) ?? 0) - 1;
        this.memberships.set(name, left);
        if (left === 0) this.exit(name);
      },
    };
  }

  private enter(name: string, now: number, data: Registered<"member"> | undefined): void {
    const cell = this.room(name);
    const room = cell.get();
    const members = new Map(room.members);
    const earlier = members.get(String(this.me));
    if (room.mode !== "counts") {
      members.set(String(this.me), { userId: this.me, joinedAt: earlier?.joinedAt ?? now, data });
    }
    const count = room.count + (room.joined || earlier ? 0 : 1);
    cell.set({ ...room, known: true, joined: true, members, count });
  }

  private exit(name: string): void {
    const cell = this.room(name);
    const room = cell.get();
    const members = new Map(room.members);
    members.delete(String(this.me));
    cell.set({ ...room, joined: false, members, count: room.count - 1 });
  }
}
