import { redirect } from "next/navigation";
import { Members } from "@/components/members";
import { currentPerson } from "@/lib/people";

export default async function Lobby() {
  if (!(await currentPerson())) redirect("/login");
  return (
    <>
      <h1>Lobby</h1>
      <Members />
    </>
  );
}
