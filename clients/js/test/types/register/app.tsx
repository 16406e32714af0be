/** An application that imports `presenced/react` only, and registers the types of its data. */

import { Facepile, usePresence, usePresences, useRoom, useSelf } from "presenced/react";
import { fakePresence } from "presenced/testing";

declare module "presenced" {
  interface Register {
    display: { name: string };
    data: { mood: "good" | "bad" };
    member: { seat: number };
  }
}

export function App() {
  const name: string | undefined = usePresence(7).display?.name;
  const moods: ("good" | "bad" | undefined)[] = usePresences([7, "bo"], (all) =>
    [...all.values()].map((user) => user.data?.mood),
  );
  const room = useRoom("lobby", { join: true, data: { seat: 1 } });
  const seats: (number | undefined)[] = [...room.others.values()].map((member) => member.data?.seat);
  const [self, { setStatus }] = useSelf();
  const choose = () => setStatus({ status: "busy", data: { mood: "bad" }, expiresIn: 60 });
  const faces = <Facepile room="lobby">{(user) => user.display?.name.toUpperCase()}</Facepile>;
  return { name, moods, seats, mood: self?.data?.mood, choose, faces };
}

export function Mistakes() {
  // @ts-expect-error display data has no such field
  const nick = usePresence(7).display?.nick;
  // @ts-expect-error a seat is a number
  const room = useRoom("lobby", { join: true, data: { seat: "one" } });
  // @ts-expect-error a mood is good or bad
  room.setData({ mood: "great" });
  // @ts-expect-error a room or ids, not both
  const both = <Facepile room="lobby" userIds={[7]} />;
  // @ts-expect-error there is no such status
  fakePresence({ 7: "idle" });
  return { nick, both };
}
