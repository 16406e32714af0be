import "server-only";

import { cache } from "react";
import { prisma } from "./database";
import { sessionUser } from "./session";

/** Return the person who is signed in, with friends. One request of a page reads the database once. */
export const currentPerson = cache(async () => {
  const id = await sessionUser();
  if (!id) return null;
  return prisma.person.findUnique({ where: { id }, include: { friends: { orderBy: { name: "asc" } } } });
});
