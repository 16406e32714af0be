"use client";

import { useActionState } from "react";
import { signIn } from "@/app/actions";

export function LoginForm({ people }: { people: { id: string; name: string }[] }) {
  const [error, action, isPending] = useActionState(signIn, "");
  return (
    <form action={action} className="card">
      <label>
        Person
        <select name="person">
          {people.map(({ id, name }) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label>
        Password <input name="password" type="password" autoComplete="current-password" required />
      </label>
      <button disabled={isPending}>Sign in</button>
      <p role="alert">{error}</p>
    </form>
  );
}
