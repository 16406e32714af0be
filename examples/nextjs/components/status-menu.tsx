"use client";

import type { Choice, PresenceError } from "presenced";
import { usePresenceClient, useSelf } from "presenced/react";
import { useActionState, useRef } from "react";
import { signOut } from "@/app/actions";

const STATUSES = { auto: "Automatic", online: "Online", away: "Away", busy: "Busy", invisible: "Invisible" };
const PERIODS = [
  { seconds: 0, label: "until I change it" },
  { seconds: 1800, label: "for 30 minutes" },
  { seconds: 14400, label: "for 4 hours" },
  { seconds: 86400, label: "for a day" },
];
const TIME = { weekday: "short", hour: "numeric", minute: "2-digit" } as const;

export function StatusMenu({ name }: { name: string }) {
  const menu = useRef<HTMLDetailsElement>(null);
  const [self, { setStatus }] = useSelf();
  const client = usePresenceClient();
  const status = self?.status ?? "unknown";
  const chosen = self?.chosen ?? "auto";
  const { text, until } = self?.choice ?? { text: "", until: 0 };
  const [error, save, isSaving] = useActionState(async (_: string, form: FormData) => {
    const status = form.get("status") as Choice["status"];
    const period = form.get("expires");
    const expiresIn = period === "kept" ? Math.max(1, (until - client.now()) / 1000) : Number(period);
    try {
      await setStatus({ status, text: String(form.get("text")), ...(expiresIn && { expiresIn }) });
    } catch (refused) {
      return (refused as PresenceError).message;
    }
    menu.current?.removeAttribute("open");
    return "";
  }, "");

  return (
    <details ref={menu}>
      <summary aria-label={`My status: ${status}`}>
        <span className="presenced-dot" data-status={status} />
        <span>{name}</span>
      </summary>
      <div className="card">
        <form action={save} key={`${chosen} ${text} ${until}`}>
          <fieldset>
            <legend>Status</legend>
            {Object.entries(STATUSES).map(([value, label]) => (
              <label key={value}>
                <input type="radio" name="status" value={value} defaultChecked={value === chosen} /> {label}
              </label>
            ))}
          </fieldset>
          <label>
            Text <input name="text" defaultValue={text} maxLength={140} placeholder="In a meeting" />
          </label>
          <label>
            Keep it{" "}
            <select name="expires">
              {until > 0 && <option value="kept">until {new Date(until).toLocaleString("en", TIME)}</option>}
              {PERIODS.map(({ seconds, label }) => (
                <option key={seconds} value={seconds}>
                  {label}
                </option>
              ))}
            </select>
          </label>
          <button disabled={isSaving}>Save</button>
          <p role="alert">{error}</p>
        </form>
        <form action={signOut} onSubmit={() => client.close()}>
          <button className="plain">Sign out</button>
        </form>
      </div>
    </details>
  );
}
