import { redirect } from "next/navigation";
import { Friend } from "@/components/friend";
import { currentPerson } from "@/lib/people";

export default async function Friends() {
  const me = await currentPerson();
  if (!me) redirect("/login");
  return (
    <>
      <h1>Friends</h1>
      <ul>
        {me.friends.map(({ id, name, lastSeen }) => (
          <Friend key={id} id={id} name={name} stored={lastSeen} />
        ))}
      </ul>
    </>
  );
}
