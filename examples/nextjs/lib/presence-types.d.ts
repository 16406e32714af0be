import "presenced";

declare module "presenced" {
  interface Register {
    display: { name: string }; // what `newTicket` puts into each ticket
  }
}
