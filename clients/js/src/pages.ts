/** Pages of snapshots: their records appear together, so they are collected until the last page arrives. */

interface Page {
  /** Number of this page, from 1. */
  readonly page: number;
  readonly pages: number;
}

/** Add a page to the incomplete snapshot of its scope. Return the records of all pages if this is the last one. */
export function collect<T>(
  incomplete: Map<string, unknown[]>,
  scope: string,
  { page, pages }: Page,
  records: readonly T[],
): T[] | undefined {
  const earlier = page > 1 ? (incomplete.get(scope) as T[] | undefined) : [];
  const all = [...(earlier ?? []), ...records];
  incomplete.set(scope, all);
  if (page < pages) return undefined;
  incomplete.delete(scope);
  return all;
}
