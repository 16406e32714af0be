import { redirect } from "next/navigation";
import { disconnect, queryUsers } from "@/lib/presenced";
import { currentUser, logOut } from "@/lib/session";
import { USERS } from "@/lib/users";
import { People } from "./people";

async function leave() {
  "use server";
  const user = await currentUser();
  await logOut();
  if (user) await disconnect(user.id);
  redirect("/login");
}

export default async function Page() {
  const user = await currentUser();
  if (!user) redirect("/login");
  const initial = await queryUsers(USERS.map(({ id }) => id));
  const url = process.env.PRESENCE_URL ?? "ws://localhost:3001/ws-online-status";
  return (
    <main>
      <h1>People</h1>
      <People key={user.id} url={url} users={USERS} initial={initial} />
      <form action={leave}>
        <button>Log out {user.name}</button>
      </form>
    </main>
  );
}
