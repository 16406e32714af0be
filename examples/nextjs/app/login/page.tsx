import { redirect } from "next/navigation";
import { logIn } from "@/lib/session";
import { USERS } from "@/lib/users";

async function enter(form: FormData) {
  "use server";
  await logIn(String(form.get("user")));
  redirect("/");
}

export default function Login() {
  return (
    <main>
      <h1>Log in</h1>
      <form action={enter}>
        <label>
          User{" "}
          <select name="user">
            {USERS.map(({ id, name }) => (
              <option key={id} value={id}>
                {name}
              </option>
            ))}
          </select>
        </label>{" "}
        <button>Log in</button>
      </form>
    </main>
  );
}
