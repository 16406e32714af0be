import { connection } from "next/server";
import { LoginForm } from "@/components/login-form";
import { prisma } from "@/lib/database";

export default async function Login() {
  await connection(); // the people are those of now, not of the build
  const people = await prisma.person.findMany({ select: { id: true, name: true }, orderBy: { name: "asc" } });
  return (
    <>
      <h1>Sign in</h1>
      <LoginForm people={people} />
    </>
  );
}
