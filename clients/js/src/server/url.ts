import { badParameter } from "./problem.js";

/** Encode a name in a path. URLs cannot contain `.` and `..` there: they would name another endpoint. */
export function segment(key: string, value: unknown): string {
  const text = String(value ?? "");
  if (/^\.{0,2}$/.test(text)) throw badParameter(`${key} is "${text}"`);
  return encodeURIComponent(text);
}

/** Return the query of a URL. Absent values are left out, and each item of a list is a parameter of its own. */
export function query(values: object): string {
  const pairs = Object.entries(values).flatMap(([key, value]) =>
    [value ?? []].flat().map((one: unknown) => `${key}=${encodeURIComponent(String(one))}`),
  );
  return pairs.length ? `?${pairs.join("&")}` : "";
}
