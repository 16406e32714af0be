"use client";

import { useCallback, useEffect, useMemo, useRef } from "react";
import type { PresenceClient } from "../client.js";
import { PresenceError } from "../error.js";
import type { Registered } from "../index.js";
import type { Member, Membership, Room } from "../room.js";
import type { Self } from "../self.js";
import { usePresenceClient } from "./provider.js";
import { self } from "./self.js";
import { useStore } from "./store.js";

export interface RoomOptions {
  /** Be a member while mounted. */
  join?: boolean;
  /** The member's data, compared by value. */
  data?: Registered<"member">;
}

export interface RoomState extends Room {
  /** Replace the member's data. Rejects unless this hook has joined. */
  readonly setData: Membership["setData"];
  /** The members except this user. */
  readonly others: ReadonlyMap<string, Member>;
}

/** Return a room with its members. With `join`, this user is a member while the component is mounted. */
export function useRoom(name: string, options: RoomOptions = {}): RoomState {
  const room = useStore(useCallback((client: PresenceClient) => client.room(name), [name]));
  const me = useStore(self, idOf);
  const setData = useMembership(name, options);
  const { members } = room;
  const others = useMemo(() => new Map([...members].filter(([key]) => key !== me)), [members, me]);
  return useMemo(() => ({ ...room, setData, others }), [room, setData, others]);
}

function useMembership(name: string, { join = false, data }: RoomOptions): Membership["setData"] {
  const client = usePresenceClient();
  const text = JSON.stringify(data);
  const membership = useRef<Membership | null>(null);
  const latest = useRef(text);
  useEffect(() => {
    if (latest.current === text) return;
    latest.current = text;
    ignore(membership.current?.setData(JSON.parse(text ?? "null"))); // null removes the data
  }, [text]);
  useEffect(() => {
    if (!join) return;
    const joined = client.join(name, latest.current && JSON.parse(latest.current));
    ignore(joined.joined); // `joined` of the room shows it
    membership.current = joined;
    return () => {
      membership.current = null;
      joined.leave();
    };
  }, [client, name, join]);
  return useCallback(async (next) => {
    if (!membership.current) throw new PresenceError("NOT_A_MEMBER", "pass { join: true } to useRoom");
    await membership.current.setData(next);
  }, []);
}

function ignore(promise: Promise<void> | undefined): void {
  promise?.catch(() => {});
}

const idOf = (own: Self | null) => own && String(own.userId);
