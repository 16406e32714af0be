import { redirect } from "next/navigation";
import { Suspense } from "react";
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

export default function Page() {
  return (
    <main>
      <h1>People</h1>
      <Suspense fallback={<p>Loading …</p>}>
        <PeopleWithPresence />
      </Suspense>
    </main>
  );
}

async function PeopleWithPresence() {
  const user = await currentUser();
  if (!user) redirect("/login");
  const initial = await queryUsers(USERS.map(({ id }) => id));
  const url = process.env.PRESENCE_URL ?? "ws://localhost:3001/ws-online-status";
  return (
    <>
      <People key={user.id} url={url} users={USERS} initial={initial} />
      <form action={leave}>
        <button>Log out {user.name}</button>
      </form>
    </>
  );
}
