"use client";

import { useState } from "react";
import type { Status, UserRecord } from "@/lib/presence";
import { PresenceProvider, usePresence, usePresenceState } from "@/lib/use-presence";
import type { User } from "@/lib/users";

interface Props {
  url: string;
  users: User[];
  initial: UserRecord[]; // from the server, until the page is connected
}

async function getToken(): Promise<string> {
  const response = await fetch("/api/presence-ticket", { method: "POST" });
  if (!response.ok) throw new Error(`no ticket: ${response.status}`);
  return (await response.json()).ticket;
}

export function People({ url, users, initial }: Props) {
  const requests = () => [{ type: "WATCH", users: users.map(({ id }) => id) }];
  return (
    <PresenceProvider options={() => ({ url, getToken, watch: "none", requests })}>
      <ul>
        {users.map((user) => (
          <Person key={user.id} user={user} initial={initial.find(({ userId }) => userId === user.id)} />
        ))}
      </ul>
      <StatusForm />
    </PresenceProvider>
  );
}

function Person({ user, initial }: { user: User; initial?: UserRecord }) {
  const record = usePresenceState(({ ready, users }) => (ready ? users.get(user.id) : initial));
  const status: Status | "unknown" = record?.status ?? "unknown";
  return (
    <li data-status={status}>
      {user.name}: {status}
      {record?.text && ` (${record.text})`}
    </li>
  );
}

function StatusForm() {
  const presence = usePresence();
  const connection = usePresenceState((state) => state.connection);
  const chosen = usePresenceState((state) => state.self?.chosen ?? "auto");
  const [text, setText] = useState("");
  return (
    <p>
      <label>
        My status{" "}
        <select
          disabled={connection !== "open"}
          value={chosen}
          onChange={(event) => presence.send({ type: "SET_STATUS", status: event.target.value, text })}
        >
          <option value="auto">automatic</option>
          <option value="away">away</option>
          <option value="busy">busy</option>
          <option value="invisible">invisible</option>
        </select>
      </label>{" "}
      <input value={text} maxLength={140} placeholder="Text" onChange={(event) => setText(event.target.value)} />
    </p>
  );
}
