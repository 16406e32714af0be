"use client";

import { LastSeen, OnlineDot, usePresence } from "presenced/react";

interface Props {
  id: string;
  name: string;
  stored: Date | null; // last seen, from the database of the application
}

export function Friend({ id, name, stored }: Props) {
  const { text } = usePresence(id);
  return (
    <li>
      <OnlineDot userId={id} />
      <span className="who">
        {name} {text && <q>{text}</q>}
      </span>
      <LastSeen userId={id} fallback={stored?.getTime()} />
    </li>
  );
}
