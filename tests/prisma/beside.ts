// An application's own users, with what presenced knows of them.

import { PrismaPg } from "@prisma/adapter-pg";
import { PrismaClient } from "./generated/prisma/client.js";

const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env["DATABASE_URL"] }) });
const users = await prisma.user.findMany({ include: { presence: true }, orderBy: { id: "asc" } });
console.log(JSON.stringify(users.map(({ name, presence }) => [name, presence?.status ?? null])));
await prisma.$disconnect();
