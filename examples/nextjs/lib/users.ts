/** Users of the application. Replace them by your own table. */
export const USERS = [
  { id: "ada", name: "Ada Lovelace" },
  { id: "alan", name: "Alan Turing" },
  { id: "grace", name: "Grace Hopper" },
];

export type User = (typeof USERS)[number];
