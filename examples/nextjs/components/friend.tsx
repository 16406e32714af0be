"use client";

import { LastSeen, OnlineDot, usePresence } from "presenced/react";

interface Props {
  id: string;
  name: string;
  stored: Date | null; // last seen, from the database of the application
}

export function Friend({ id, name, stored }: Props) {
  const { text, lastSeen, online } = usePresence(id);
  return (
    <li>
      <OnlineDot userId={id} />
      <span className="who">
        {name} {text && <q>{text}</q>}
      </span>
      {stored && !lastSeen && !online ? <Stored at={stored} /> : <LastSeen userId={id} />}
    </li>
  );
}

/** The time that the webhook stored, if presenced has none or cannot be reached. */
function Stored({ at }: { at: Date }) {
  const time = at.toLocaleString("en", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
  return <time dateTime={at.toISOString()}>{time}</time>;
}
