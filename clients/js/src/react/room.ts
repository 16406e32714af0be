"use client";

import { useCallback, useEffect, useMemo, useRef, useState } from "react";
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
  /** Why the server refused this member, such as `ROOM_FULL`; null if it did not. */
  readonly error: PresenceError | null;
  /** The members except this user. */
  readonly others: ReadonlyMap<string, Member>;
}

/** Return a room with its members. With `join`, this user is a member while the component is mounted. */
export function useRoom(name: string, options: RoomOptions = {}): RoomState {
  const room = useStore(useCallback((client: PresenceClient) => client.room(name), [name]));
  const me = useStore(self, idOf);
  const membership = useMembership(name, options, room.joined);
  const { members } = room;
  const others = useMemo(() => new Map([...members].filter(([key]) => key !== me)), [members, me]);
  return useMemo(() => ({ ...room, ...membership, others }), [room, membership, others]);
}

function useMembership(
  name: string,
  { join = false, data }: RoomOptions,
  isJoined: boolean,
): Pick<RoomState, "setData" | "error"> {
  const client = usePresenceClient();
  const text = JSON.stringify(data);
  const membership = useRef<Membership | null>(null);
  const latest = useRef(text);
  const [error, setError] = useState<PresenceError | null>(null);
  useEffect(() => {
    if (latest.current === text) return;
    latest.current = text;
    const joined = membership.current;
    const answer = (refused: PresenceError | null) => joined === membership.current && setError(refused);
    joined?.setData(JSON.parse(text ?? "null")).then(() => answer(null), answer); // null removes the data
  }, [text]);
  useEffect(() => {
    if (!join) return;
    const joined = client.join(name, latest.current && JSON.parse(latest.current));
    membership.current = joined;
    joined.joined.catch((refused) => joined === membership.current && setError(refused)); // not after leaving
    return () => {
      membership.current = null;
      setError(null);
      joined.leave();
    };
  }, [client, name, join]);
  useEffect(() => {
    if (isJoined) setError(null); // such as with a newer token
  }, [isJoined]);
  const setData = useCallback<Membership["setData"]>(async (next) => {
    if (!membership.current) throw new PresenceError("NOT_A_MEMBER", "pass { join: true } to useRoom");
    await membership.current.setData(next);
  }, []);
  return useMemo(() => ({ setData, error }), [setData, error]);
}

const idOf = (own: Self | null) => own && String(own.userId);
