import { LoginForm } from "@/components/login-form";
import { prisma } from "@/lib/database";

export const dynamic = "force-dynamic"; // the people are those of now, not of the build

export default async function Login() {
  const people = await prisma.person.findMany({ select: { id: true, name: true }, orderBy: { name: "asc" } });
  return (
    <>
      <h1>Sign in</h1>
      <LoginForm people={people} />
    </>
  );
}
