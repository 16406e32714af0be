/**
 * Scopes, and how they are wanted or agreed to.
 *
 * A scope is `everyone`, `user ID` or `room NAME`. A set of bits belongs to it.
 */

export const COUNT = 1;
export const FULL = 2;
/** A member also receives the room in full. */
export const JOIN = 4;

export const EVERYONE = "everyone";
export const USER = "user ";
export const ROOM = "room ";

/** Return the name of the user or room of a scope. */
export function nameOf(scope: string): string {
  return scope.slice(scope.indexOf(" ") + 1);
}

export function bitsOf(bits: ReadonlyMap<string, number>, scope: string): number {
  return bits.get(scope) ?? 0;
}

/** Set the bits of a scope. Without bits, it leaves the map. */
export function setBits(bits: Map<string, number>, scope: string, value: number): void {
  if (value) bits.set(scope, value);
  else bits.delete(scope);
}
