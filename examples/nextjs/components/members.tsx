"use client";

import { Facepile, OnlineDot, usePresence, useRoom } from "presenced/react";

/** The people in the lobby. While this is shown, the user is one of them. */
export function Members() {
  const { known, members, error } = useRoom("lobby", { join: true });
  if (error) return <p role="alert">{error.message}</p>;
  if (!known) return <p>Entering …</p>;
  return (
    <>
      <Facepile room="lobby" />
      <ul>
        {[...members.keys()].map((id) => (
          <Member key={id} id={id} />
        ))}
      </ul>
    </>
  );
}

function Member({ id }: { id: string }) {
  const { display, text } = usePresence(id);
  return (
    <li>
      <OnlineDot userId={id} />
      <span className="who">
        {display?.name ?? id} {text && <q>{text}</q>}
      </span>
    </li>
  );
}
