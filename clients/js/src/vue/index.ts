/** Presence for Vue: composables below a component that calls `providePresence`. */

import type { ComputedRef, ShallowRef } from "vue";
import {
  computed,
  inject,
  type MaybeRefOrGetter,
  onMounted,
  onUnmounted,
  provide,
  shallowRef,
  toValue,
  watch,
} from "vue";
import type { PresenceClient, PresenceOptions } from "../client.js";
import type { Connection } from "../connection.js";
import { PresenceError } from "../error.js";
import { createPresence, type Registered } from "../index.js";
import type { Presence, UserId } from "../presence.js";
import type { Member, Membership, Room } from "../room.js";
import type { Self } from "../self.js";
import type { Store } from "../store.js";

const KEY = Symbol.for("presenced.vue"); // one for the ES and the CommonJS module of this file

/** Share a client with all components below, and keep it connected while mounted. */
export function providePresence(options: PresenceOptions | { client: PresenceClient } = {}): PresenceClient {
  const client = "client" in options ? options.client : createPresence(options);
  let release = () => {};
  provide(KEY, client);
  onMounted(() => {
    release = client.connect();
  });
  onUnmounted(() => release());
  return client;
}

export function usePresenceClient(): PresenceClient {
  const client = inject<PresenceClient | null>(KEY, null);
  if (!client) throw new Error("missing providePresence() in a component above");
  return client;
}

/** Return the value of any store of the client, such as `useStore(() => client.users(props.ids))`. */
export function useStore<T>(choose: () => Store<T>): Readonly<ShallowRef<T>> {
  const value = shallowRef(choose().get());
  const follow = (store: Store<T>, _: unknown, onCleanup: (end: () => void) => void) => {
    const read = () => {
      value.value = store.get();
    };
    read();
    onCleanup(store.subscribe(read));
  };
  watch(choose, follow, { immediate: true });
  return value;
}

/** Return what is known of a user. Null: unknown. */
export function usePresence(id: MaybeRefOrGetter<UserId | null>): Readonly<ShallowRef<Presence>> {
  const client = usePresenceClient();
  const nobody: Store<Presence> = { get: () => client.user("").get(), subscribe: () => () => {} };
  return useStore(() => {
    const user = toValue(id);
    return user === null ? nobody : client.user(user);
  });
}

export interface RoomOptions {
  /** Be a member while mounted. */
  join?: boolean;
  data?: Registered<"member">;
}

export interface RoomState {
  readonly room: Readonly<ShallowRef<Room>>;
  /** Why the server refused this member, such as `ROOM_FULL`; null if it did not. */
  readonly error: Readonly<ShallowRef<PresenceError | null>>;
  /** The members except this user. */
  readonly others: ComputedRef<ReadonlyMap<string, Member>>;
  /** Replace the member's data. Rejects unless this component has joined. */
  readonly setData: Membership["setData"];
}

/** Return a room with its members. With `join`, this user is a member while the component is mounted. */
export function useRoom(name: MaybeRefOrGetter<string>, options: MaybeRefOrGetter<RoomOptions> = {}): RoomState {
  const client = usePresenceClient();
  const room = useStore(() => client.room(toValue(name)));
  const self = useStore(() => client.self);
  const error = shallowRef<PresenceError | null>(null);
  let membership: Membership | null = null;
  const answer = (joined: Membership, refused: PresenceError | null) => {
    if (joined === membership) error.value = refused; // not after leaving
  };
  const enter = ([room, join]: readonly [string, boolean], _: unknown, onCleanup: (end: () => void) => void) => {
    if (!join) return;
    const joined = client.join(room, toValue(options).data);
    membership = joined;
    joined.joined.catch((refused) => answer(joined, refused));
    onCleanup(() => {
      membership = null;
      error.value = null;
      joined.leave();
    });
  };
  watch([() => toValue(name), () => toValue(options).join === true] as const, enter, { immediate: true });
  watch(
    () => JSON.stringify(toValue(options).data) ?? "null", // compared by value; null removes the data
    (data) => {
      const joined = membership;
      joined?.setData(JSON.parse(data)).then(
        () => answer(joined, null),
        (refused) => answer(joined, refused),
      );
    },
  );
  watch(
    () => room.value.joined,
    (isJoined) => {
      if (isJoined) error.value = null; // such as with a newer token
    },
  );
  return {
    room,
    error,
    others: computed(() => {
      const me = String(self.value?.userId);
      return new Map([...room.value.members].filter(([key]) => key !== me));
    }),
    async setData(data) {
      if (!membership) throw new PresenceError("NOT_A_MEMBER", "pass { join: true } to useRoom");
      await membership.setData(data);
    },
  };
}

export interface SelfState extends Pick<PresenceClient, "setStatus" | "setActive"> {
  /** The user's own state; null until it is known. */
  readonly self: Readonly<ShallowRef<Self | null>>;
}

export function useSelf(): SelfState {
  const client = usePresenceClient();
  return {
    self: useStore(() => client.self),
    setStatus: (choice, signal) => client.setStatus(choice, signal),
    setActive: (active) => client.setActive(active),
  };
}

export function useConnection(): Readonly<ShallowRef<Connection>> {
  const client = usePresenceClient();
  return useStore(() => client.connection);
}
